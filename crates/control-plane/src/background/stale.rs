//! Hosts without a heartbeat for 90 s become unreachable, and their running sandboxes missing.

use std::sync::Arc;

use wrenn_api::{
    Reason,
    audit::{AuditAction, AuditActor, AuditStatus},
};
use wrenn_database::{
    Error as DbError, audit_host, audit_sandbox, hosts_mark_unreachable, sandboxes_mark_missing,
};

use crate::{app::Result, state::App};

pub(super) async fn pass(app: Arc<App>) -> Result<()> {
    let mut tx = app.db.begin().await.map_err(DbError::from)?;
    let mut missing = Vec::new();
    for host in hosts_mark_unreachable(&mut *tx).await? {
        let (actor, down) = (AuditActor::System, AuditAction::MarkedDown);
        audit_host(&mut *tx, host, actor, down, AuditStatus::Warning).await?;
        let sandboxes = sandboxes_mark_missing(&mut *tx, host).await?;
        let reason = Some(Reason::HostUnreachable.as_str());
        for id in &sandboxes {
            let (missing, warning) = (AuditAction::Missing, AuditStatus::Warning);
            audit_sandbox(&mut *tx, *id, missing, warning, reason).await?;
        }
        tracing::warn!(host_id = %host, sandboxes = sandboxes.len(), "a host is unreachable");
        missing.extend(sandboxes);
    }
    tx.commit().await.map_err(DbError::from)?;
    for id in missing {
        app.bus.sandbox_changed(id);
    }
    Ok(())
}
