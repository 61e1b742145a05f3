//! Sends the mail that waits: five attempts, further and further apart.

use std::sync::Arc;

use wrenn_database::{mail_claim, mail_postpone, mail_sent};

use crate::{
    app::{Result, mail},
    state::App,
};

/// Attempts before a mail is given up.
const MOST: i32 = 5;
/// Mails of one pass.
const AT_ONCE: usize = 32;

pub(super) async fn pass(app: Arc<App>) -> Result<()> {
    let Some(mailer) = &app.mail else {
        return Ok(());
    };
    for _ in 0..AT_ONCE {
        let Some(row) = mail_claim(&app.db, MOST).await? else {
            return Ok(());
        };
        let (subject, text) = mail::written(&app, &row)?;
        match mailer.send(&row.recipient, subject, text).await {
            Ok(()) => mail_sent(&app.db, row.id).await?,
            Err(error) => {
                tracing::warn!(mail_id = %row.id, attempt = row.attempts, cause = ?error, "a mail was not sent");
                // 10, 40, 90, 160 s.
                mail_postpone(&app.db, row.id, 10 * row.attempts * row.attempts).await?;
            }
        }
    }
    Ok(())
}
