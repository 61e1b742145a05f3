//! Erases what identified people, 15 days after they deleted their accounts.

use std::sync::Arc;

use wrenn_database::{Error as DbError, audit_anonymise, users_purge};

use crate::{app::Result, state::App};

/// Days in which an administrator can still tell who it was.
pub(crate) const AFTER_DAYS: i32 = 15;

pub(super) async fn pass(app: Arc<App>) -> Result<()> {
    loop {
        let mut tx = app.db.begin().await.map_err(DbError::from)?;
        let gone = users_purge(&mut tx, AFTER_DAYS).await?;
        for user in &gone {
            audit_anonymise(&mut *tx, *user).await?;
        }
        tx.commit().await.map_err(DbError::from)?;
        if gone.is_empty() {
            return Ok(());
        }
    }
}
