//! Remembered outcomes of requests with an idempotency key.

use sqlx::PgExecutor;
use uuid::Uuid;
use wrenn_ids::TeamId;

use crate::Result;

/// What an earlier request with the same key led to.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct IdempotentOutcome {
    /// SHA-256 of its body.
    pub body_hash: Vec<u8>,
    /// What it made.
    pub resource_id: Option<Uuid>,
}

/// The remembered outcome, if it is younger than 24 h.
///
/// # Errors
/// The statement fails.
pub async fn idempotency_get(
    executor: impl PgExecutor<'_>,
    team: TeamId,
    route: &str,
    key: &str,
) -> Result<Option<IdempotentOutcome>> {
    Ok(sqlx::query_as(
        "SELECT body_hash, resource_id FROM idempotency_keys
         WHERE team_id = $1 AND route = $2 AND key = $3 AND expires_at > now()",
    )
    .bind(team.as_uuid())
    .bind(route)
    .bind(key)
    .fetch_optional(executor)
    .await?)
}

/// Remembers an outcome for 24 h, in the transaction that brings it about; false when a younger one
/// is remembered already.
///
/// # Errors
/// The statement fails.
pub async fn idempotency_insert(
    executor: impl PgExecutor<'_>,
    team: TeamId,
    route: &str,
    key: &str,
    body_hash: &[u8],
    resource: Uuid,
) -> Result<bool> {
    let done = sqlx::query(
        "INSERT INTO idempotency_keys AS k (team_id, route, key, body_hash, resource_id, expires_at)
         VALUES ($1, $2, $3, $4, $5, now() + interval '24 hours')
         ON CONFLICT (team_id, route, key) DO UPDATE
         SET body_hash = excluded.body_hash, resource_id = excluded.resource_id,
             expires_at = excluded.expires_at, created_at = now()
         WHERE k.expires_at <= now()",
    )
    .bind(team.as_uuid())
    .bind(route)
    .bind(key)
    .bind(body_hash)
    .bind(resource)
    .execute(executor)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Forgets expired outcomes.
///
/// # Errors
/// The statement fails.
pub async fn idempotency_prune(executor: impl PgExecutor<'_>) -> Result<u64> {
    Ok(
        sqlx::query("DELETE FROM idempotency_keys WHERE expires_at <= now()")
            .execute(executor)
            .await?
            .rows_affected(),
    )
}
