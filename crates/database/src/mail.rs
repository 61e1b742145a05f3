//! Mail that waits to be sent, and the word that there is some.

use std::collections::BTreeMap;

use sqlx::{PgExecutor, PgPool, postgres::PgListener, types::Json};
use uuid::Uuid;

use crate::Result;

/// What PostgreSQL calls the news of a mail; the statement below says it too.
const CHANNEL: &str = "wrenn_mail";

/// A mail as it waits.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct MailRow {
    /// Identity; what is sealed in the parameters is sealed to it.
    pub id: Uuid,
    /// Address.
    pub recipient: String,
    /// Which text.
    pub template: String,
    /// What the text names.
    pub params: Json<BTreeMap<String, String>>,
    /// How often it was tried, this time included.
    pub attempts: i32,
}

/// Puts a mail into the outbox, in the transaction of what it is about. With its end every [`MailNews`] hears
/// of it.
///
/// # Errors
/// The statement fails.
pub async fn mail_insert(
    executor: impl PgExecutor<'_>,
    id: Uuid,
    recipient: &str,
    template: &str,
    params: &BTreeMap<String, String>,
) -> Result<()> {
    sqlx::query(
        "WITH put AS (
             INSERT INTO mail_outbox (id, recipient, template, params) VALUES ($1, $2, $3, $4))
         SELECT pg_notify('wrenn_mail', '')",
    )
    .bind(id)
    .bind(recipient)
    .bind(template)
    .bind(Json(params))
    .execute(executor)
    .await?;
    Ok(())
}

/// Hears of mail, on a connection of the pool that it keeps.
#[derive(Debug)]
pub struct MailNews(PgListener);

impl MailNews {
    /// Begins to listen.
    ///
    /// # Errors
    /// The database is away.
    pub async fn listen(pool: &PgPool) -> Result<Self> {
        let mut listener = PgListener::connect_with(pool).await?;
        listener.listen(CHANNEL).await?;
        Ok(Self(listener))
    }

    /// Waits for the next mail; also when it is not known whether there was one, because the connection was lost.
    ///
    /// # Errors
    /// The database is away.
    pub async fn next(&mut self) -> Result<()> {
        self.0.try_recv().await?;
        Ok(())
    }
}

/// Milliseconds until the next mail is due, negative when one is; `None`: none waits.
///
/// # Errors
/// The statement fails.
pub async fn mail_due_in_ms(
    executor: impl PgExecutor<'_>,
    most_attempts: i32,
) -> Result<Option<i64>> {
    Ok(sqlx::query_scalar(
        "SELECT (extract(epoch FROM min(next_attempt_at) - now()) * 1000)::bigint FROM mail_outbox
         WHERE sent_at IS NULL AND attempts < $1",
    )
    .bind(most_attempts)
    .fetch_one(executor)
    .await?)
}

/// Takes a mail that is due; nobody else gets it for a minute, and then only if it was not sent.
///
/// # Errors
/// The statement fails.
pub async fn mail_claim(
    executor: impl PgExecutor<'_>,
    most_attempts: i32,
) -> Result<Option<MailRow>> {
    Ok(sqlx::query_as(
        "UPDATE mail_outbox SET attempts = attempts + 1, next_attempt_at = now() + interval '1 minute'
         WHERE id = (SELECT id FROM mail_outbox
                     WHERE sent_at IS NULL AND next_attempt_at <= now() AND attempts < $1
                     ORDER BY next_attempt_at LIMIT 1 FOR UPDATE SKIP LOCKED)
         RETURNING id, recipient, template, params, attempts",
    )
    .bind(most_attempts)
    .fetch_optional(executor)
    .await?)
}

/// The mail is out; what it named is erased.
///
/// # Errors
/// The statement fails.
pub async fn mail_sent(executor: impl PgExecutor<'_>, id: Uuid) -> Result<()> {
    sqlx::query("UPDATE mail_outbox SET sent_at = now(), params = '{}' WHERE id = $1")
        .bind(id)
        .execute(executor)
        .await?;
    Ok(())
}

/// The mail is tried again after `seconds`.
///
/// # Errors
/// The statement fails.
pub async fn mail_postpone(executor: impl PgExecutor<'_>, id: Uuid, seconds: i32) -> Result<()> {
    sqlx::query(
        "UPDATE mail_outbox SET next_attempt_at = now() + make_interval(secs => $2) WHERE id = $1",
    )
    .bind(id)
    .bind(f64::from(seconds))
    .execute(executor)
    .await?;
    Ok(())
}

/// Removes mail older than a day: whatever link it held is void by then.
///
/// # Errors
/// The statement fails.
pub async fn mail_prune(executor: impl PgExecutor<'_>) -> Result<u64> {
    Ok(
        sqlx::query("DELETE FROM mail_outbox WHERE created_at < now() - interval '1 day'")
            .execute(executor)
            .await?
            .rows_affected(),
    )
}
