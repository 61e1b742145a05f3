//! Sessions of browsers and command lines: what renews their short tokens.
//!
//! Only SHA-256 of refresh tokens is stored: of the one that is good, and of the one before it.

use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;
use wrenn_ids::{SessionId, TeamId, UserId};

use crate::Result;

/// A new session.
#[derive(Debug)]
pub struct NewSession<'a> {
    /// Identity.
    pub id: SessionId,
    /// Whose.
    pub user: UserId,
    /// `browser` or `cli`.
    pub kind: &'a str,
    /// What the client calls itself.
    pub client: &'a str,
    /// Where it came from.
    pub ip: &'a str,
    /// The team that its tokens act for.
    pub team: Option<TeamId>,
    /// SHA-256 of its refresh token.
    pub refresh_hash: &'a [u8],
    /// Days until it ends.
    pub days: i32,
}

/// Opens a session.
///
/// # Errors
/// The statement fails.
pub async fn session_insert(executor: impl PgExecutor<'_>, new: &NewSession<'_>) -> Result<()> {
    sqlx::query(
        "INSERT INTO user_sessions (id, user_id, kind, client, ip, team_id, refresh_hash, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, now() + make_interval(days => $8))",
    )
    .bind(new.id.as_uuid())
    .bind(new.user.as_uuid())
    .bind(new.kind)
    .bind(new.client)
    .bind(new.ip)
    .bind(new.team.map(TeamId::as_uuid))
    .bind(new.refresh_hash)
    .bind(new.days)
    .execute(executor)
    .await?;
    Ok(())
}

/// A session that a refresh token belongs to.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct SessionRow {
    id: Uuid,
    user_id: Uuid,
    team_id: Option<Uuid>,
    /// `browser` or `cli`.
    pub kind: String,
    /// SHA-256 of the refresh token that is good.
    pub refresh_hash: Vec<u8>,
    /// Milliseconds since that token was made.
    pub rotated_ms_ago: i64,
}

impl SessionRow {
    /// Identity.
    #[must_use]
    pub const fn id(&self) -> SessionId {
        SessionId::from_uuid(self.id)
    }

    /// Whose.
    #[must_use]
    pub const fn user(&self) -> UserId {
        UserId::from_uuid(self.user_id)
    }

    /// The team that its tokens act for.
    #[must_use]
    pub fn team(&self) -> Option<TeamId> {
        self.team_id.map(TeamId::from_uuid)
    }
}

/// The live session whose refresh token, or the one before it, has this hash; locked until the
/// transaction ends.
///
/// # Errors
/// The statement fails.
pub async fn session_lock_by_token(
    connection: &mut PgConnection,
    hash: &[u8],
) -> Result<Option<SessionRow>> {
    Ok(sqlx::query_as(
        "SELECT id, user_id, team_id, kind, refresh_hash,
                (extract(epoch FROM clock_timestamp() - rotated_at) * 1000)::bigint AS rotated_ms_ago
         FROM user_sessions
         WHERE (refresh_hash = $1 OR prev_hash = $1) AND ended_at IS NULL AND expires_at > now()
         FOR UPDATE",
    )
    .bind(hash)
    .fetch_optional(connection)
    .await?)
}

/// Replaces a session's refresh token; the one before stays known.
///
/// # Errors
/// The statement fails.
pub async fn session_rotate(
    executor: impl PgExecutor<'_>,
    session: SessionId,
    refresh_hash: &[u8],
    days: i32,
) -> Result<()> {
    sqlx::query(
        "UPDATE user_sessions
         SET prev_hash = refresh_hash, refresh_hash = $2, rotated_at = clock_timestamp(),
             expires_at = now() + make_interval(days => $3)
         WHERE id = $1",
    )
    .bind(session.as_uuid())
    .bind(refresh_hash)
    .bind(days)
    .execute(executor)
    .await?;
    Ok(())
}

/// Has a session's tokens act for another team.
///
/// # Errors
/// The statement fails.
pub async fn session_set_team(
    executor: impl PgExecutor<'_>,
    session: SessionId,
    team: TeamId,
) -> Result<()> {
    sqlx::query("UPDATE user_sessions SET team_id = $2 WHERE id = $1")
        .bind(session.as_uuid())
        .bind(team.as_uuid())
        .execute(executor)
        .await?;
    Ok(())
}

/// Ends a session of this person; false when there is none.
///
/// # Errors
/// The statement fails.
pub async fn session_end(
    executor: impl PgExecutor<'_>,
    user: UserId,
    session: SessionId,
) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE user_sessions SET ended_at = now()
         WHERE id = $1 AND user_id = $2 AND ended_at IS NULL",
    )
    .bind(session.as_uuid())
    .bind(user.as_uuid())
    .execute(executor)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// A session in its owner's list.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct SessionListed {
    id: Uuid,
    /// `browser` or `cli`.
    pub kind: String,
    /// What the client calls itself.
    pub client: String,
    /// Where it came from.
    pub ip: String,
    /// Milliseconds since the epoch.
    pub created_at: i64,
    /// Milliseconds since the epoch.
    pub last_used_at: i64,
}

impl SessionListed {
    /// Identity.
    #[must_use]
    pub const fn id(&self) -> SessionId {
        SessionId::from_uuid(self.id)
    }
}

/// A person's live sessions, newest first, at most 200.
///
/// # Errors
/// The statement fails.
pub async fn session_list(
    executor: impl PgExecutor<'_>,
    user: UserId,
) -> Result<Vec<SessionListed>> {
    Ok(sqlx::query_as(
        "SELECT id, kind, client, ip,
                (extract(epoch FROM created_at) * 1000)::bigint AS created_at,
                (extract(epoch FROM rotated_at) * 1000)::bigint AS last_used_at
         FROM user_sessions WHERE user_id = $1 AND ended_at IS NULL AND expires_at > now()
         ORDER BY created_at DESC, id DESC LIMIT 200",
    )
    .bind(user.as_uuid())
    .fetch_all(executor)
    .await?)
}

/// Removes sessions that ended a while ago, 1,000 at a time.
///
/// # Errors
/// The statement fails.
pub async fn sessions_prune(executor: impl PgExecutor<'_>) -> Result<u64> {
    Ok(sqlx::query(
        "DELETE FROM user_sessions WHERE id IN (
             SELECT id FROM user_sessions
             WHERE expires_at < now() OR ended_at < now() - interval '1 day' LIMIT 1000)",
    )
    .execute(executor)
    .await?
    .rows_affected())
}
