//! Sends the mail that waits: when the database says that there is some, and when another attempt is due. Five
//! attempts, further and further apart.

use std::{sync::Arc, time::Duration};

use wrenn_database::{MailNews, mail_claim, mail_due_in_ms, mail_postpone, mail_sent};

use crate::{
    app::{Result, mail},
    mail::Mailer,
    state::App,
};

/// Attempts before a mail is given up.
const MOST: i32 = 5;
/// How long no news is no mail.
const STILL: Duration = Duration::from_secs(60);
/// Pause after a pass that failed, and while nobody brings news.
const AGAIN: Duration = Duration::from_secs(2);

/// Runs until shutdown, where mail is sent at all.
pub(super) async fn send_for_ever(app: Arc<App>) {
    let Some(mailer) = &app.mail else {
        return;
    };
    let mut news = None;
    loop {
        // Listened for before the look: what comes in between is news.
        if news.is_none() {
            news = MailNews::listen(&app.db)
                .await
                .inspect_err(|error| tracing::debug!(%error, "no news of mail"))
                .ok();
        }
        let mut rest = AGAIN;
        super::supervise("mailer", async {
            rest = pass(&app, mailer).await?;
            Ok(())
        })
        .await;
        if news.is_none() {
            rest = rest.min(AGAIN);
        }
        let told = async {
            match &mut news {
                Some(listener) => listener.next().await,
                None => std::future::pending().await,
            }
        };
        let told = tokio::select! {
            () = app.stop.cancelled() => return,
            told = told => told,
            () = tokio::time::sleep(rest) => Ok(()),
        };
        if let Err(error) = told {
            tracing::debug!(%error, "the news of mail ended");
            news = None;
        }
    }
}

/// Sends what is due; answers how long nothing else is, as far as is known.
async fn pass(app: &App, mailer: &Mailer) -> Result<Duration> {
    while let Some(row) = mail_claim(&app.db, MOST).await? {
        if app.stop.is_cancelled() {
            return Ok(AGAIN);
        }
        let (subject, text) = mail::written(app, &row)?;
        match mailer.send(&row.recipient, subject, text).await {
            Ok(()) => mail_sent(&app.db, row.id).await?,
            Err(error) => {
                tracing::warn!(mail_id = %row.id, attempt = row.attempts, cause = ?error, "a mail was not sent");
                // 10, 40, 90, 160 s.
                mail_postpone(&app.db, row.id, 10 * row.attempts * row.attempts).await?;
            }
        }
    }
    let due = mail_due_in_ms(&app.db, MOST).await?;
    let due = due.map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or(0)));
    Ok(due.map_or(STILL, |due| due.clamp(Duration::from_millis(100), STILL)))
}
