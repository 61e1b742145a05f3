//! Teams as their people see them, and who is in them.
//!
//! Whoever changes who is in a team, or what they are there, locks the team first ([`team_lock`]).

use sqlx::{FromRow, PgConnection, PgExecutor};
use uuid::Uuid;
use wrenn_api::Role;
use wrenn_ids::{TeamId, UserId};

use crate::Result;

/// A team.
#[derive(Debug, Clone, FromRow)]
pub struct TeamRow {
    /// Identity.
    pub id: Uuid,
    /// What people call it.
    pub name: String,
    /// Short name that never changes.
    pub slug: String,
    /// Whether it brings its own hosts.
    pub is_byoc: bool,
    /// Milliseconds since the epoch.
    pub created_at: i64,
    /// Role of the person that was asked for.
    pub role: Option<String>,
}

/// A person in a team.
#[derive(Debug, Clone, FromRow)]
pub struct MemberRow {
    /// Who.
    pub user_id: Uuid,
    /// What people call them.
    pub name: String,
    /// Address.
    pub email: String,
    /// Role.
    pub role: String,
    /// Milliseconds since the epoch.
    pub joined_at: i64,
}

/// The live teams that a person is in, the oldest membership first.
///
/// # Errors
/// The statement fails.
pub async fn team_list_of_user(
    executor: impl PgExecutor<'_>,
    user: UserId,
) -> Result<Vec<TeamRow>> {
    Ok(sqlx::query_as(
        "SELECT t.id, t.name, t.slug, t.is_byoc, m.role,
                (extract(epoch FROM t.created_at) * 1000)::bigint AS created_at
         FROM users_teams m JOIN live_teams t ON t.id = m.team_id
         WHERE m.user_id = $1 ORDER BY m.created_at, t.id",
    )
    .bind(user.as_uuid())
    .fetch_all(executor)
    .await?)
}

/// A live team, with the role of this person in it.
///
/// # Errors
/// The statement fails.
pub async fn team_get(
    executor: impl PgExecutor<'_>,
    team: TeamId,
    user: UserId,
) -> Result<Option<TeamRow>> {
    Ok(sqlx::query_as(
        "SELECT t.id, t.name, t.slug, t.is_byoc, m.role,
                (extract(epoch FROM t.created_at) * 1000)::bigint AS created_at
         FROM live_teams t LEFT JOIN users_teams m ON m.team_id = t.id AND m.user_id = $2
         WHERE t.id = $1",
    )
    .bind(team.as_uuid())
    .bind(user.as_uuid())
    .fetch_optional(executor)
    .await?)
}

/// Who is in a team, the owner first.
///
/// # Errors
/// The statement fails.
pub async fn member_list(executor: impl PgExecutor<'_>, team: TeamId) -> Result<Vec<MemberRow>> {
    Ok(sqlx::query_as(
        "SELECT u.id AS user_id, u.name, u.email, m.role,
                (extract(epoch FROM m.created_at) * 1000)::bigint AS joined_at
         FROM users_teams m JOIN users u ON u.id = m.user_id
         WHERE m.team_id = $1
         ORDER BY CASE m.role WHEN 'owner' THEN 0 WHEN 'admin' THEN 1 ELSE 2 END, m.created_at, u.id",
    )
    .bind(team.as_uuid())
    .fetch_all(executor)
    .await?)
}

/// Locks a team until the transaction ends; false when it is not live.
///
/// # Errors
/// The statement fails.
pub async fn team_lock(connection: &mut PgConnection, team: TeamId) -> Result<bool> {
    let live: Option<Uuid> =
        sqlx::query_scalar("SELECT id FROM teams WHERE id = $1 AND deleted_at IS NULL FOR UPDATE")
            .bind(team.as_uuid())
            .fetch_optional(connection)
            .await?;
    Ok(live.is_some())
}

/// The active account with this address, kept from changing until the transaction ends.
///
/// # Errors
/// The statement fails.
pub async fn member_candidate(
    connection: &mut PgConnection,
    email: &str,
) -> Result<Option<UserId>> {
    let id: Option<Uuid> = sqlx::query_scalar(
        "SELECT id FROM users WHERE lower(email) = lower($1) AND status = 'active' FOR SHARE",
    )
    .bind(email)
    .fetch_optional(connection)
    .await?;
    Ok(id.map(UserId::from_uuid))
}

/// Changes the role of a member; false when they are none.
///
/// # Errors
/// [`crate::Error::Duplicate`] when the team would have two owners.
pub async fn member_set_role(
    executor: impl PgExecutor<'_>,
    team: TeamId,
    user: UserId,
    role: Role,
) -> Result<bool> {
    let done = sqlx::query("UPDATE users_teams SET role = $3 WHERE team_id = $1 AND user_id = $2")
        .bind(team.as_uuid())
        .bind(user.as_uuid())
        .bind(role.as_str())
        .execute(executor)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Takes a member out of a team; false when they are none.
///
/// # Errors
/// The statement fails.
pub async fn member_delete(
    executor: impl PgExecutor<'_>,
    team: TeamId,
    user: UserId,
) -> Result<bool> {
    let done = sqlx::query("DELETE FROM users_teams WHERE team_id = $1 AND user_id = $2")
        .bind(team.as_uuid())
        .bind(user.as_uuid())
        .execute(executor)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// In how many live teams a person is, their row locked so that the answer holds until the transaction ends.
///
/// # Errors
/// The statement fails.
pub async fn team_count_of_user(connection: &mut PgConnection, user: UserId) -> Result<i64> {
    sqlx::query("SELECT 1 FROM users WHERE id = $1 FOR UPDATE")
        .bind(user.as_uuid())
        .execute(&mut *connection)
        .await?;
    Ok(sqlx::query_scalar(
        "SELECT count(*) FROM users_teams m JOIN live_teams t ON t.id = m.team_id
         WHERE m.user_id = $1",
    )
    .bind(user.as_uuid())
    .fetch_one(connection)
    .await?)
}

/// The live team with this slug.
///
/// # Errors
/// The statement fails.
pub async fn team_by_slug(executor: impl PgExecutor<'_>, slug: &str) -> Result<Option<TeamId>> {
    let id: Option<Uuid> = sqlx::query_scalar("SELECT id FROM live_teams WHERE slug = $1")
        .bind(slug)
        .fetch_optional(executor)
        .await?;
    Ok(id.map(TeamId::from_uuid))
}

/// Renames a live team; false when it is none.
///
/// # Errors
/// The statement fails.
pub async fn team_rename(executor: impl PgExecutor<'_>, team: TeamId, name: &str) -> Result<bool> {
    let done = sqlx::query("UPDATE teams SET name = $2 WHERE id = $1 AND deleted_at IS NULL")
        .bind(team.as_uuid())
        .bind(name)
        .execute(executor)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Limits of a live team.
///
/// # Errors
/// The statement fails.
pub async fn team_quota(
    executor: impl PgExecutor<'_>,
    team: TeamId,
) -> Result<Option<crate::TeamQuota>> {
    Ok(sqlx::query_as(
        "SELECT max_sandboxes, max_vcpus, max_memory_mb, max_disk_mb, is_byoc FROM live_teams
         WHERE id = $1",
    )
    .bind(team.as_uuid())
    .fetch_optional(executor)
    .await?)
}

/// Changes limits of a live team, in the order sandboxes, virtual CPUs, MiB of memory, MiB of disk; absent
/// ones stay. False when there is no such team.
///
/// # Errors
/// The statement fails.
pub async fn team_set_quota(
    executor: impl PgExecutor<'_>,
    team: TeamId,
    [sandboxes, vcpus, memory_mb, disk_mb]: [Option<i32>; 4],
) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE teams SET max_sandboxes = coalesce($2, max_sandboxes),
                max_vcpus = coalesce($3, max_vcpus), max_memory_mb = coalesce($4, max_memory_mb),
                max_disk_mb = coalesce($5, max_disk_mb)
         WHERE id = $1 AND deleted_at IS NULL",
    )
    .bind(team.as_uuid())
    .bind(sandboxes)
    .bind(vcpus)
    .bind(memory_mb)
    .bind(disk_mb)
    .execute(executor)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Sandboxes and ready snapshots of teams that were deleted, at most `limit` of each.
///
/// # Errors
/// The statement fails.
pub async fn teams_leftovers(
    connection: &mut PgConnection,
    limit: i64,
) -> Result<(Vec<wrenn_ids::SandboxId>, Vec<wrenn_ids::TemplateId>)> {
    let sandboxes: Vec<Uuid> = sqlx::query_scalar(
        "SELECT s.id FROM sandboxes s JOIN teams t ON t.id = s.team_id
         WHERE t.deleted_at IS NOT NULL AND s.status NOT IN ('stopping', 'stopped', 'error')
         ORDER BY s.id LIMIT $1",
    )
    .bind(limit)
    .fetch_all(&mut *connection)
    .await?;
    let templates: Vec<Uuid> = sqlx::query_scalar(
        "SELECT p.id FROM templates p JOIN teams t ON t.id = p.team_id
         WHERE t.deleted_at IS NOT NULL AND p.status = 'ready' ORDER BY p.id LIMIT $1",
    )
    .bind(limit)
    .fetch_all(connection)
    .await?;
    Ok((
        sandboxes
            .into_iter()
            .map(wrenn_ids::SandboxId::from_uuid)
            .collect(),
        templates
            .into_iter()
            .map(wrenn_ids::TemplateId::from_uuid)
            .collect(),
    ))
}
