//! A host that is not to be trusted any more.

use secrecy::SecretString;
use wrenn_api::{
    Reason,
    audit::{AuditAction, AuditResource, AuditStatus},
};
use wrenn_database::{
    AuditFacts, Error as DbError, NewAudit, PgPool, audit_insert, audit_sandbox,
    host_revoke as credentials_void, sandboxes_mark_missing,
};
use wrenn_ids::HostId;

use super::{OperatorError, Result, redis, row};
use crate::auth::one_time;

/// Voids a host's certificate, its tokens, and a registration token that waits for it. It is nobody until it registers
/// anew; what ran on it is missing meanwhile. Answers how many sandboxes that are.
///
/// # Errors
/// No such host, or a service is away. When it is Redis, all is void but the registration token.
pub async fn host_revoke(db: &PgPool, redis_url: &SecretString, host: HostId) -> Result<usize> {
    let mut tx = db.begin().await.map_err(DbError::from)?;
    if !credentials_void(&mut tx, host).await? {
        return Err(OperatorError::Unknown(format!("host {host}")));
    }
    let sandboxes = sandboxes_mark_missing(&mut *tx, host).await?;
    let reason = Some(Reason::HostUnreachable.as_str());
    for id in &sandboxes {
        let (missing, warning) = (AuditAction::Missing, AuditStatus::Warning);
        audit_sandbox(&mut *tx, *id, missing, warning, reason).await?;
    }
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
