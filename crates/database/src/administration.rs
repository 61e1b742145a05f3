//! What platform administrators see and change: all teams, all people, and who administers.

use sqlx::{FromRow, PgConnection, PgExecutor};
use uuid::Uuid;
use wrenn_api::Permission;
use wrenn_ids::{TeamId, UserId};

use crate::{Result, user_void_tokens};

/// Rows of a page.
pub const ADMIN_PAGE: i64 = 100;

/// A team, as administrators see it.
#[derive(Debug, Clone, FromRow)]
pub struct AdminTeamRow {
    /// Identity.
    pub id: Uuid,
    /// What people call it.
    pub name: String,
    /// Short name.
    pub slug: String,
    /// Whether it brings its own hosts.
    pub is_byoc: bool,
    /// Limits.
    pub max_sandboxes: i32,
    /// Limits.
    pub max_vcpus: i32,
    /// Limits.
    pub max_memory_mb: i32,
    /// Limits.
    pub max_disk_mb: i32,
    /// People in it.
    pub members: i64,
    /// Sandboxes that have not ended.
    pub sandboxes: i64,
    /// Address of its owner.
    pub owner_email: Option<String>,
    /// Milliseconds since the epoch.
    pub created_at: i64,
}

/// A person, as administrators see them.
#[derive(Debug, Clone, FromRow)]
pub struct AdminUserRow {
    /// Identity.
    pub id: Uuid,
    /// Address.
    pub email: String,
    /// What people call them.
    pub name: String,
    /// `inactive`, `active` or `disabled`.
    pub status: String,
    /// Whether they administer everything.
    pub is_admin: bool,
    /// What else they administer.
    pub permissions: Vec<String>,
    /// Live teams that they are in.
    pub teams: i64,
    /// Milliseconds since the epoch.
    pub created_at: i64,
}

/// A part of a text, for LIKE, in which nothing is a wild card.
fn containing(text: &str) -> String {
    let text = text.trim().to_lowercase();
    let literal = text
        .replace('\\', "\\\\")
        .replace('%', "\\%")
        .replace('_', "\\_");
    format!("%{literal}%")
}

/// A page of all live teams, by name, and how many there are. `page` counts from 1.
///
/// # Errors
/// A statement fails.
pub async fn admin_teams(
    connection: &mut PgConnection,
    search: &str,
    page: i64,
) -> Result<(Vec<AdminTeamRow>, i64)> {
    let total = sqlx::query_scalar(
        "SELECT count(*) FROM live_teams WHERE lower(name) LIKE $1 OR slug LIKE $1",
    )
    .bind(containing(search))
    .fetch_one(&mut *connection)
    .await?;
    let rows = sqlx::query_as(
        "SELECT t.id, t.name, t.slug, t.is_byoc, t.max_sandboxes, t.max_vcpus, t.max_memory_mb,
                t.max_disk_mb,
                (SELECT count(*) FROM users_teams m WHERE m.team_id = t.id) AS members,
                (SELECT count(*) FROM sandboxes s WHERE s.team_id = t.id
                   AND s.status NOT IN ('stopping', 'stopped', 'error')) AS sandboxes,
                (SELECT u.email FROM users_teams m JOIN users u ON u.id = m.user_id
                 WHERE m.team_id = t.id AND m.role = 'owner') AS owner_email,
                (extract(epoch FROM t.created_at) * 1000)::bigint AS created_at
         FROM live_teams t WHERE lower(t.name) LIKE $1 OR t.slug LIKE $1
         ORDER BY lower(t.name), t.id LIMIT $2 OFFSET $3",
    )
    .bind(containing(search))
    .bind(ADMIN_PAGE)
    .bind((page - 1) * ADMIN_PAGE)
    .fetch_all(connection)
    .await?;
    Ok((rows, total))
}

/// A page of all people who have not deleted their account, by address, and how many there are.
///
/// # Errors
/// A statement fails.
pub async fn admin_users(
    connection: &mut PgConnection,
    search: &str,
    page: i64,
) -> Result<(Vec<AdminUserRow>, i64)> {
    let total = sqlx::query_scalar(
        "SELECT count(*) FROM users
         WHERE status <> 'deleted' AND (lower(email) LIKE $1 OR lower(name) LIKE $1)",
    )
    .bind(containing(search))
    .fetch_one(&mut *connection)
    .await?;
    let rows = sqlx::query_as(
        "SELECT u.id, u.email, u.name, u.status, u.is_admin,
                ARRAY(SELECT p.permission FROM admin_permissions p
                      WHERE p.user_id = u.id ORDER BY 1) AS permissions,
                (SELECT count(*) FROM users_teams m JOIN live_teams t ON t.id = m.team_id
                 WHERE m.user_id = u.id) AS teams,
                (extract(epoch FROM u.created_at) * 1000)::bigint AS created_at
         FROM users u
         WHERE u.status <> 'deleted' AND (lower(u.email) LIKE $1 OR lower(u.name) LIKE $1)
         ORDER BY lower(u.email), u.id LIMIT $2 OFFSET $3",
    )
    .bind(containing(search))
    .bind(ADMIN_PAGE)
    .bind((page - 1) * ADMIN_PAGE)
    .fetch_all(connection)
    .await?;
    Ok((rows, total))
}

/// Sets whether a live team brings its own hosts; false when there is no such team.
///
/// # Errors
/// The statement fails.
pub async fn team_set_byoc(
    executor: impl PgExecutor<'_>,
    team: TeamId,
    is_byoc: bool,
) -> Result<bool> {
    let done = sqlx::query("UPDATE teams SET is_byoc = $2 WHERE id = $1 AND deleted_at IS NULL")
        .bind(team.as_uuid())
        .bind(is_byoc)
        .execute(executor)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Lets a person in again; false when there is no account to let in.
///
/// # Errors
/// The statement fails.
pub async fn user_enable(executor: impl PgExecutor<'_>, user: UserId) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE users SET status = 'active', updated_at = now() WHERE id = $1 AND status <> 'deleted'",
    )
    .bind(user.as_uuid())
    .execute(executor)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Shuts a person out: their tokens and sessions end, what they own stays. False when there is no such
/// account.
///
/// # Errors
/// A statement fails.
pub async fn user_disable(connection: &mut PgConnection, user: UserId) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE users SET status = 'disabled', updated_at = now()
         WHERE id = $1 AND status <> 'deleted'",
    )
    .bind(user.as_uuid())
    .execute(&mut *connection)
    .await?;
    user_void_tokens(connection, user).await?;
    Ok(done.rows_affected() == 1)
}

/// Makes a person an administrator of everything, or of nothing but their permissions; false when there is
/// no such account.
///
/// # Errors
/// The statement fails.
pub async fn user_set_admin(
    executor: impl PgExecutor<'_>,
    user: UserId,
    is_admin: bool,
) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE users SET is_admin = $2, updated_at = now() WHERE id = $1 AND status <> 'deleted'",
    )
    .bind(user.as_uuid())
    .bind(is_admin)
    .execute(executor)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Replaces what a person administers; false when there is no such account.
///
/// # Errors
/// A statement fails.
pub async fn user_set_permissions(
    connection: &mut PgConnection,
    user: UserId,
    permissions: &[Permission],
) -> Result<bool> {
    let known: Option<Uuid> =
        sqlx::query_scalar("SELECT id FROM users WHERE id = $1 AND status <> 'deleted' FOR UPDATE")
            .bind(user.as_uuid())
            .fetch_optional(&mut *connection)
            .await?;
    if known.is_none() {
        return Ok(false);
    }
    sqlx::query("DELETE FROM admin_permissions WHERE user_id = $1")
        .bind(user.as_uuid())
        .execute(&mut *connection)
        .await?;
    let texts: Vec<&str> = permissions.iter().map(|part| part.as_str()).collect();
    sqlx::query(
        "INSERT INTO admin_permissions (user_id, permission)
         SELECT DISTINCT $1::uuid, p FROM unnest($2::text[]) p",
    )
    .bind(user.as_uuid())
    .bind(texts)
    .execute(connection)
    .await?;
    Ok(true)
}
