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

/// A key, as its team sees it.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct ApiKeyRow {
    /// Identity.
    pub id: Uuid,
    /// The team that it acts for.
    pub team_id: Uuid,
    /// What people call it.
    pub name: String,
    /// Its first characters.
    pub key_prefix: String,
    /// Who made it.
    pub created_by: Option<Uuid>,
    /// Their address.
    pub creator_email: Option<String>,
    /// Milliseconds since the epoch.
    pub last_used_at: Option<i64>,
    /// Milliseconds since the epoch.
    pub created_at: i64,
}

/// The live keys of a team, newest first; with `only`, that one.
///
/// # Errors
/// The statement fails.
pub async fn api_key_list(
    executor: impl PgExecutor<'_>,
    team: TeamId,
    only: Option<KeyId>,
) -> Result<Vec<ApiKeyRow>> {
    Ok(sqlx::query_as(
        "SELECT k.id, k.team_id, k.name, k.key_prefix, k.created_by, u.email AS creator_email,
                (extract(epoch FROM k.last_used_at) * 1000)::bigint AS last_used_at,
                (extract(epoch FROM k.created_at) * 1000)::bigint AS created_at
         FROM api_keys k LEFT JOIN users u ON u.id = k.created_by AND u.status <> 'deleted'
         WHERE k.team_id = $1 AND k.revoked_at IS NULL AND ($2::uuid IS NULL OR k.id = $2)
         ORDER BY k.created_at DESC, k.id DESC",
    )
    .bind(team.as_uuid())
    .bind(only.map(KeyId::as_uuid))
    .fetch_all(executor)
    .await?)
}

/// Revokes a key of the team; false when there is no such live key.
///
/// # Errors
/// The statement fails.
pub async fn api_key_revoke(
    executor: impl PgExecutor<'_>,
    team: TeamId,
    id: KeyId,
) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE api_keys SET revoked_at = now()
         WHERE id = $1 AND team_id = $2 AND revoked_at IS NULL",
    )
    .bind(id.as_uuid())
    .bind(team.as_uuid())
    .execute(executor)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Revokes the keys of the team that a person made; answers how many.
///
/// # Errors
/// The statement fails.
pub async fn api_keys_revoke_of(
    executor: impl PgExecutor<'_>,
    team: TeamId,
    user: UserId,
) -> Result<u64> {
    let done = sqlx::query(
        "UPDATE api_keys SET revoked_at = now()
         WHERE team_id = $1 AND created_by = $2 AND revoked_at IS NULL",
    )
    .bind(team.as_uuid())
    .bind(user.as_uuid())
    .execute(executor)
    .await?;
    Ok(done.rows_affected())
}
