//! API keys; only their SHA-256 is stored.

use sqlx::{FromRow, PgExecutor, Row as _, postgres::PgRow};
use uuid::Uuid;
use wrenn_ids::{KeyId, SandboxId, TeamId, UserId};

use crate::{Result, SandboxRow, sandbox::columns};

/// Who acts, proved by a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyActor {
    /// The key.
    pub key_id: KeyId,
    /// What people call it.
    pub name: String,
    /// The team it acts for.
    pub team_id: TeamId,
    /// Whether that team brings its own hosts.
    pub is_byoc: bool,
}

#[derive(FromRow)]
struct KeyRow {
    key_id: Uuid,
    key_name: String,
    key_team_id: Uuid,
    key_is_byoc: bool,
}

impl From<KeyRow> for KeyActor {
    fn from(row: KeyRow) -> Self {
        Self {
            key_id: KeyId::from_uuid(row.key_id),
            name: row.key_name,
            team_id: TeamId::from_uuid(row.key_team_id),
            is_byoc: row.key_is_byoc,
        }
    }
}

macro_rules! key {
    () => {
        "k.id AS key_id, k.name AS key_name, k.team_id AS key_team_id, t.is_byoc AS key_is_byoc"
    };
}

macro_rules! live_key {
    () => {
        " WHERE k.key_hash = $1 AND k.revoked_at IS NULL"
    };
}

/// The live key with this hash, of a live team. This is the proof behind every request with a key.
///
/// # Errors
/// The statement fails.
pub async fn api_key_actor(executor: impl PgExecutor<'_>, hash: &[u8]) -> Result<Option<KeyActor>> {
    let row: Option<KeyRow> = sqlx::query_as(concat!(
        "SELECT ",
        key!(),
        " FROM api_keys k JOIN live_teams t ON t.id = k.team_id",
        live_key!()
    ))
    .bind(hash)
    .fetch_optional(executor)
    .await?;
    Ok(row.map(KeyActor::from))
}

/// As [`api_key_actor`], with a sandbox if the key's team has it: what most requests of programs need, in one
/// statement.
///
/// # Errors
/// The statement fails.
pub async fn api_key_actor_with_sandbox(
    executor: impl PgExecutor<'_>,
    hash: &[u8],
    sandbox: SandboxId,
) -> Result<Option<(KeyActor, Option<SandboxRow>)>> {
    let row: Option<PgRow> = sqlx::query(concat!(
        "SELECT ",
        key!(),
        ", s.* FROM api_keys k JOIN live_teams t ON t.id = k.team_id
         LEFT JOIN LATERAL (SELECT ",
        columns!(),
        " FROM sandboxes WHERE sandboxes.id = $2 AND sandboxes.team_id = k.team_id) s ON true",
        live_key!()
    ))
    .bind(hash)
    .bind(sandbox.as_uuid())
    .fetch_optional(executor)
    .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    let key = KeyRow::from_row(&row)?.into();
    let found: Option<Uuid> = row.try_get("id")?;
    let sandbox = match found {
        Some(_) => Some(SandboxRow::from_row(&row)?),
        None => None,
    };
    Ok(Some((key, sandbox)))
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
