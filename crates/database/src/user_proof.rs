//! What the database knows of a person who presents a token: the proof behind every request of people.

use sqlx::PgExecutor;
use uuid::Uuid;
use wrenn_api::{Permission, Role};
use wrenn_ids::{SessionId, TeamId, UserId};

use crate::Result;

/// Facts of one moment about a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserProof {
    /// Address.
    pub email: String,
    /// What people call them.
    pub name: String,
    /// Whether the account may be used.
    pub active: bool,
    /// Tokens of another version are void.
    pub token_version: i32,
    /// Whether the session that was asked about is going on; true when none was asked about.
    pub session_live: bool,
    /// Role in the team that was asked about, when that is live.
    pub role: Option<Role>,
    /// Whether that team brings its own hosts, and they are in it.
    pub is_byoc: bool,
    /// Whether they administer the whole platform.
    pub is_admin: bool,
    /// The parts of the platform that they administer.
    pub permissions: Vec<Permission>,
}

#[derive(sqlx::FromRow)]
struct Row {
    email: String,
    name: String,
    active: bool,
    token_version: i32,
    session_live: bool,
    role: Option<String>,
    is_byoc: bool,
    is_admin: bool,
    permissions: Vec<String>,
}

/// The person, whether this session of theirs goes on, and their role in this team: one statement.
///
/// # Errors
/// The statement fails.
pub async fn user_proof(
    executor: impl PgExecutor<'_>,
    user: UserId,
    session: Option<SessionId>,
    team: Option<TeamId>,
) -> Result<Option<UserProof>> {
    let row: Option<Row> = sqlx::query_as(
        "SELECT u.email, u.name, u.status = 'active' AS active, u.token_version, u.is_admin,
                $2::uuid IS NULL OR EXISTS (
                    SELECT 1 FROM user_sessions s
                    WHERE s.id = $2 AND s.user_id = u.id AND s.ended_at IS NULL
                      AND s.expires_at > now()) AS session_live,
                m.role, coalesce(m.is_byoc, false) AS is_byoc,
                ARRAY(SELECT p.permission FROM admin_permissions p
                      WHERE p.user_id = u.id ORDER BY 1) AS permissions
         FROM users u LEFT JOIN LATERAL (
             SELECT m.role, t.is_byoc FROM users_teams m JOIN live_teams t ON t.id = m.team_id
             WHERE m.user_id = u.id AND m.team_id = $3) m ON true
         WHERE u.id = $1",
    )
    .bind(user.as_uuid())
    .bind(session.map(SessionId::as_uuid))
    .bind(team.map(TeamId::as_uuid) as Option<Uuid>)
    .fetch_optional(executor)
    .await?;
    Ok(row.map(|row| UserProof {
        email: row.email,
        name: row.name,
        active: row.active,
        token_version: row.token_version,
        session_live: row.session_live,
        role: row.role.and_then(|role| role.parse().ok()),
        is_byoc: row.is_byoc,
        is_admin: row.is_admin,
        permissions: row
            .permissions
            .iter()
            .filter_map(|permission| permission.parse().ok())
            .collect(),
    }))
}
