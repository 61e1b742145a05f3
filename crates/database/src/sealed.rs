//! Values that rest sealed, wherever they are, to be sealed again with a newer key.
//!
//! A sealed value says in its beginning which key sealed it. Each is replaced only if it is still what was read:
//! whoever changed it meanwhile has sealed it by themselves.

use sqlx::PgExecutor;
use uuid::Uuid;

use crate::Result;

/// Where sealed values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sealed {
    /// The environment of a sandbox.
    SandboxEnvs,
    /// The link of a mail that waits.
    MailLink,
}

impl Sealed {
    /// Every place.
    pub const ALL: [Self; 2] = [Self::SandboxEnvs, Self::MailLink];
}

/// Up to `limit` values that do not begin with `prefix`, with their rows, in order of the rows' ids after `after`.
///
/// # Errors
/// The statement fails.
pub async fn sealed_list(
    executor: impl PgExecutor<'_>,
    place: Sealed,
    prefix: &str,
    after: Uuid,
    limit: i64,
) -> Result<Vec<(Uuid, String)>> {
    let statement = match place {
        Sealed::SandboxEnvs => {
            "SELECT id, convert_from(envs, 'UTF8') FROM sandboxes
             WHERE envs IS NOT NULL AND NOT starts_with(convert_from(envs, 'UTF8'), $1) AND id > $2
             ORDER BY id LIMIT $3"
        }
        Sealed::MailLink => {
            "SELECT id, params->>'link' FROM mail_outbox
             WHERE params->>'link' IS NOT NULL AND NOT starts_with(params->>'link', $1) AND id > $2
             ORDER BY id LIMIT $3"
        }
    };
    Ok(sqlx::query_as(statement)
        .bind(prefix)
        .bind(after)
        .bind(limit)
        .fetch_all(executor)
        .await?)
}

/// Replaces a value; false when it is not `before` any more.
///
/// # Errors
/// The statement fails.
pub async fn sealed_replace(
    executor: impl PgExecutor<'_>,
    place: Sealed,
    row: Uuid,
    before: &str,
    after: &str,
) -> Result<bool> {
    let statement = match place {
        Sealed::SandboxEnvs => {
            "UPDATE sandboxes SET envs = convert_to($3, 'UTF8')
             WHERE id = $1 AND envs = convert_to($2, 'UTF8')"
        }
        Sealed::MailLink => {
            "UPDATE mail_outbox SET params = jsonb_set(params, '{link}', to_jsonb($3::text))
             WHERE id = $1 AND params->>'link' = $2"
        }
    };
    let done = sqlx::query(statement)
        .bind(row)
        .bind(before)
        .bind(after)
        .execute(executor)
        .await?;
    Ok(done.rows_affected() == 1)
}
