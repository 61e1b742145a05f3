//! Removal of what has served its time: idempotency keys, stopped sandboxes, spent tokens, ended
//! sessions, old mail.

use std::sync::Arc;

use wrenn_database::{
    host_tokens_prune, idempotency_prune, mail_prune, sandboxes_prune, sessions_prune,
};

use crate::{app::Result, state::App};

pub(super) async fn pass(app: Arc<App>) -> Result<()> {
    idempotency_prune(&app.db).await?;
    sandboxes_prune(&app.db).await?;
    host_tokens_prune(&app.db).await?;
    sessions_prune(&app.db).await?;
    mail_prune(&app.db).await?;
    Ok(())
}
