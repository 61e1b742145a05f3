//! A host that is not to be trusted any more.

use wrenn_api::{
    Reason,
    audit::{AuditAction, AuditStatus},
};
use wrenn_database::{
    Error as DbError, PgConnection, audit_sandbox, host_revoke, sandboxes_mark_missing,
};
use wrenn_ids::{HostId, SandboxId};

/// Voids a host's certificate and tokens, but one to register with. What runs on it is missing until it registers anew:
/// those sandboxes are answered, `None` when there is no such host.
///
/// # Errors
/// The database is away.
pub(crate) async fn credentials(
    tx: &mut PgConnection,
    host: HostId,
) -> Result<Option<Vec<SandboxId>>, DbError> {
    if !host_revoke(tx, host).await? {
        return Ok(None);
    }
    let sandboxes = sandboxes_mark_missing(&mut *tx, host).await?;
    let reason = Some(Reason::HostUnreachable.as_str());
    for id in &sandboxes {
        let (missing, warning) = (AuditAction::Missing, AuditStatus::Warning);
        audit_sandbox(&mut *tx, *id, missing, warning, reason).await?;
    }
    Ok(Some(sandboxes))
}
