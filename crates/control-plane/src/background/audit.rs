//! Audit rows whose request never said how it ended: after 10 minutes they say that nobody knows.

use std::sync::Arc;

use wrenn_database::audit_sweep;

use crate::{app::Result, state::App};

pub(super) async fn pass(app: Arc<App>) -> Result<()> {
    let unknown = audit_sweep(&app.db).await?;
    if unknown > 0 {
        tracing::warn!(
            rows = unknown,
            "requests were cut off; their audit rows say so"
        );
    }
    Ok(())
}
