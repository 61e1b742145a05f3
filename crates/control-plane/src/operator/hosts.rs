//! Hosts that are not to be trusted any more, and what they have that nobody knows.

use secrecy::SecretString;
use wrenn_api::audit::{AuditAction, AuditResource, AuditStatus};
use wrenn_database::{
    AuditFacts, Error as DbError, NewAudit, PgPool, audit_insert, quarantine_purge,
};
use wrenn_ids::HostId;

use super::{OperatorError, Result, redis, row};
use crate::{app::host::void, auth::one_time};

/// Voids a host's certificate, its tokens, and a registration token that waits for it. It is nobody until it registers
/// anew; what ran on it is missing meanwhile. Answers how many sandboxes that are.
///
/// # Errors
/// No such host, or a service is away. When it is Redis, all is void but the registration token.
pub async fn host_revoke(db: &PgPool, redis_url: &SecretString, host: HostId) -> Result<usize> {
    let mut tx = db.begin().await.map_err(DbError::from)?;
    let Some(sandboxes) = void::credentials(&mut tx, host).await? else {
        return Err(OperatorError::Unknown(format!("host {host}")));
    };
    let text = host.to_string();
    let new = NewAudit {
        resource: AuditResource::Host,
        resource_id: Some(&text),
        ..row(AuditAction::Revoke)
    };
    let facts = AuditFacts::from([("sandboxes".to_owned(), sandboxes.len().to_string())]);
    audit_insert(&mut *tx, &new, AuditStatus::Success, &facts).await?;
    tx.commit().await.map_err(DbError::from)?;
    let mut redis = redis(redis_url).await?;
    one_time::void_registration(&mut redis, host).await?;
    Ok(sandboxes.len())
}

/// Has every sandbox destroyed that a host has and nobody knows, after its host's next report. Answers how many they
/// are.
///
/// # Errors
/// The database is away.
pub async fn unknown_purge(db: &PgPool) -> Result<u64> {
    let mut tx = db.begin().await.map_err(DbError::from)?;
    let count = quarantine_purge(&mut *tx).await?;
    if count > 0 {
        let new = NewAudit {
            resource: AuditResource::Host,
            ..row(AuditAction::Collect)
        };
        let facts = AuditFacts::from([("unknown_sandboxes".to_owned(), count.to_string())]);
        audit_insert(&mut *tx, &new, AuditStatus::Success, &facts).await?;
    }
    tx.commit().await.map_err(DbError::from)?;
    Ok(count)
}
