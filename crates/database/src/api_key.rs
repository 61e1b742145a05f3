//! API keys; only their SHA-256 is stored.

use sqlx::PgExecutor;
use uuid::Uuid;
use wrenn_ids::{KeyId, TeamId, UserId};

use crate::Result;

/// Who acts, proved by a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyActor {
    /// The key.
    pub key_id: KeyId,
    /// What people call it.
    pub name: String,
    /// The team it acts for.
    pub team_id: TeamId,
}

/// The live key with this hash, of a live team. This is the proof behind every request with a key.
///
/// # Errors
/// The statement fails.
pub async fn api_key_actor(executor: impl PgExecutor<'_>, hash: &[u8]) -> Result<Option<KeyActor>> {
    let row: Option<(Uuid, String, Uuid)> = sqlx::query_as(
        "SELECT k.id, k.name, k.team_id FROM api_keys k JOIN live_teams t ON t.id = k.team_id
         WHERE k.key_hash = $1 AND k.revoked_at IS NULL",
    )
    .bind(hash)
    .fetch_optional(executor)
    .await?;
    Ok(row.map(|(id, name, team)| KeyActor {
        key_id: KeyId::from_uuid(id),
        name,
        team_id: TeamId::from_uuid(team),
    }))
}

/// Adds a key.
///
/// # Errors
/// The statement fails.
pub async fn api_key_insert(
    executor: impl PgExecutor<'_>,
    id: KeyId,
    team: TeamId,
    name: &str,
    hash: &[u8],
    prefix: &str,
    created_by: Option<UserId>,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO api_keys (id, team_id, name, key_hash, key_prefix, created_by)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(id.as_uuid())
    .bind(team.as_uuid())
    .bind(name)
    .bind(hash)
    .bind(prefix)
    .bind(created_by.map(UserId::as_uuid))
    .execute(executor)
    .await?;
    Ok(())
}

/// Whether the team has a live key.
///
/// # Errors
/// The statement fails.
pub async fn api_key_exists(executor: impl PgExecutor<'_>, team: TeamId) -> Result<bool> {
    Ok(sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM api_keys WHERE team_id = $1 AND revoked_at IS NULL)",
    )
    .bind(team.as_uuid())
    .fetch_one(executor)
    .await?)
}

/// Records that these keys were used a moment ago.
///
/// # Errors
/// The statement fails.
pub async fn api_keys_touch(executor: impl PgExecutor<'_>, keys: &[KeyId]) -> Result<()> {
    let ids: Vec<Uuid> = keys.iter().map(|key| key.as_uuid()).collect();
    sqlx::query("UPDATE api_keys SET last_used_at = now() WHERE id = ANY($1)")
        .bind(ids)
        .execute(executor)
        .await?;
    Ok(())
}
