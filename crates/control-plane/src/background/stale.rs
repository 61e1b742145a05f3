//! Hosts without a heartbeat for 90 s become unreachable, and their running sandboxes missing.

use std::sync::Arc;

use wrenn_database::{Error as DbError, hosts_mark_unreachable, sandboxes_mark_missing};

use crate::{app::Result, state::App};

pub(super) async fn pass(app: Arc<App>) -> Result<()> {
    let mut tx = app.db.begin().await.map_err(DbError::from)?;
    let mut missing = Vec::new();
    for host in hosts_mark_unreachable(&mut *tx).await? {
        let sandboxes = sandboxes_mark_missing(&mut *tx, host).await?;
        tracing::warn!(host_id = %host, sandboxes = sandboxes.len(), "a host is unreachable");
        missing.extend(sandboxes);
    }
    tx.commit().await.map_err(DbError::from)?;
    for id in missing {
        app.bus.sandbox_changed(id);
    }
    Ok(())
}
