//! Teams, membership and quotas.

use sqlx::{PgConnection, PgExecutor};
use wrenn_api::Role;
use wrenn_ids::{TeamId, UserId};

use crate::Result;

/// Limits of a team; 0 = unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct TeamQuota {
    /// Sandboxes that are not stopped or in error.
    pub max_sandboxes: i32,
    /// Virtual CPUs of pending, starting and running sandboxes.
    pub max_vcpus: i32,
    /// MiB of pending, starting and running sandboxes.
    pub max_memory_mb: i32,
    /// MiB of sandboxes that are not stopped or in error.
    pub max_disk_mb: i32,
    /// Whether the team brings its own hosts.
    pub is_byoc: bool,
}

/// What a team's sandboxes hold, counted as its quotas count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct QuotaUse {
    /// Sandboxes.
    pub sandboxes: i64,
    /// Virtual CPUs.
    pub vcpus: i64,
    /// MiB.
    pub memory_mb: i64,
    /// MiB.
    pub disk_mb: i64,
}

/// Adds a team.
///
/// # Errors
/// [`crate::Error::Duplicate`] when the slug is taken.
pub async fn team_insert(
    executor: impl PgExecutor<'_>,
    id: TeamId,
    name: &str,
    slug: &str,
) -> Result<()> {
    sqlx::query("INSERT INTO teams (id, name, slug) VALUES ($1, $2, $3)")
        .bind(id.as_uuid())
        .bind(name)
        .bind(slug)
        .execute(executor)
        .await?;
    Ok(())
}

/// Puts a person into a team.
///
/// # Errors
/// [`crate::Error::Duplicate`] when they are in it, or it has an owner already.
pub async fn team_member_insert(
    executor: impl PgExecutor<'_>,
    team: TeamId,
    user: UserId,
    role: &str,
    is_default: bool,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO users_teams (team_id, user_id, role, is_default) VALUES ($1, $2, $3, $4)",
    )
    .bind(team.as_uuid())
    .bind(user.as_uuid())
    .bind(role)
    .bind(is_default)
    .execute(executor)
    .await?;
    Ok(())
}

/// The person's default team, else their first live one.
///
/// # Errors
/// The statement fails.
pub async fn team_default_of_user(
    executor: impl PgExecutor<'_>,
    user: UserId,
) -> Result<Option<TeamId>> {
    let id: Option<uuid::Uuid> = sqlx::query_scalar(
        "SELECT t.id FROM users_teams ut JOIN live_teams t ON t.id = ut.team_id
         WHERE ut.user_id = $1 ORDER BY ut.is_default DESC, ut.created_at LIMIT 1",
    )
    .bind(user.as_uuid())
    .fetch_optional(executor)
    .await?;
    Ok(id.map(TeamId::from_uuid))
}

/// Whether the platform team is there, as every migrated database has it.
///
/// # Errors
/// The statement fails.
pub async fn platform_team_exists(executor: impl PgExecutor<'_>) -> Result<bool> {
    Ok(
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM live_teams WHERE id = $1)")
            .bind(TeamId::ZERO.as_uuid())
            .fetch_one(executor)
            .await?,
    )
}

/// Limits of a live team, its row locked until the transaction ends; `None` when it was deleted.
///
/// # Errors
/// The statement fails.
pub async fn team_lock_quota(
    connection: &mut PgConnection,
    team: TeamId,
) -> Result<Option<TeamQuota>> {
    Ok(sqlx::query_as(
        "SELECT max_sandboxes, max_vcpus, max_memory_mb, max_disk_mb, is_byoc FROM teams
         WHERE id = $1 AND deleted_at IS NULL FOR UPDATE",
    )
    .bind(team.as_uuid())
    .fetch_optional(connection)
    .await?)
}

/// What the team's sandboxes hold now.
///
/// # Errors
/// The statement fails.
pub async fn team_quota_use(executor: impl PgExecutor<'_>, team: TeamId) -> Result<QuotaUse> {
    Ok(sqlx::query_as(
        "SELECT count(*) AS sandboxes,
                coalesce(sum(vcpus) FILTER (WHERE active), 0)::bigint AS vcpus,
                coalesce(sum(memory_mb) FILTER (WHERE active), 0)::bigint AS memory_mb,
                coalesce(sum(disk_size_mb), 0)::bigint AS disk_mb
         FROM (SELECT vcpus, memory_mb, disk_size_mb,
                      status IN ('pending', 'starting', 'resuming', 'running', 'pausing',
                                 'snapshotting') AS active
               FROM sandboxes
               WHERE team_id = $1 AND status NOT IN ('stopped', 'stopping', 'error')) live",
    )
    .bind(team.as_uuid())
    .fetch_one(executor)
    .await?)
}

/// A team's place in somebody's token: the team, and their role in it.
pub type Place = (TeamId, Role);

/// The person's role in a live team.
///
/// # Errors
/// The statement fails.
pub async fn team_role(
    executor: impl PgExecutor<'_>,
    team: TeamId,
    user: UserId,
) -> Result<Option<Role>> {
    let role: Option<String> = sqlx::query_scalar(
        "SELECT m.role FROM users_teams m JOIN live_teams t ON t.id = m.team_id
         WHERE m.team_id = $1 AND m.user_id = $2",
    )
    .bind(team.as_uuid())
    .bind(user.as_uuid())
    .fetch_optional(executor)
    .await?;
    Ok(role.and_then(|role| role.parse().ok()))
}

/// Teams that the person owns, locked until the transaction ends, and whether others are in each.
///
/// # Errors
/// The statement fails.
pub async fn teams_owned_lock(
    connection: &mut PgConnection,
    user: UserId,
) -> Result<Vec<(TeamId, bool)>> {
    let rows: Vec<(uuid::Uuid, bool)> = sqlx::query_as(
        "SELECT t.id, EXISTS (SELECT 1 FROM users_teams o
                              WHERE o.team_id = t.id AND o.user_id <> $1)
         FROM teams t JOIN users_teams m ON m.team_id = t.id
         WHERE m.user_id = $1 AND m.role = 'owner' AND t.deleted_at IS NULL
         ORDER BY t.id FOR UPDATE OF t",
    )
    .bind(user.as_uuid())
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(id, others)| (TeamId::from_uuid(id), others))
        .collect())
}

/// Deletes a team: nobody sees it any more and its keys are dead. What it holds is destroyed in the
/// background. False when it was gone already.
///
/// # Errors
/// The statement fails.
pub async fn team_delete(connection: &mut PgConnection, team: TeamId) -> Result<bool> {
    let done =
        sqlx::query("UPDATE teams SET deleted_at = now() WHERE id = $1 AND deleted_at IS NULL")
            .bind(team.as_uuid())
            .execute(&mut *connection)
            .await?;
    sqlx::query("UPDATE api_keys SET revoked_at = now() WHERE team_id = $1 AND revoked_at IS NULL")
        .bind(team.as_uuid())
        .execute(connection)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Whether a team brings its own hosts; `None` when there is no such team.
///
/// # Errors
/// The statement fails.
pub async fn team_brings_hosts(
    executor: impl PgExecutor<'_>,
    team: TeamId,
) -> Result<Option<bool>> {
    Ok(
        sqlx::query_scalar("SELECT is_byoc FROM live_teams WHERE id = $1")
            .bind(team.as_uuid())
            .fetch_optional(executor)
            .await?,
    )
}
