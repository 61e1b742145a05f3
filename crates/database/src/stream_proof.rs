//! Whether open streams may stay open: the proofs of all of them, and what became of their sandboxes, in one
//! statement.

use sqlx::PgExecutor;
use wrenn_ids::{SandboxId, SessionId, TeamId, UserId};

use crate::{Result, State};

/// What a stream was opened with, and on what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamProof {
    /// The team that is acted for. The platform's has no members: those who administer teams act for it.
    pub team: TeamId,
    /// What it reaches into.
    pub sandbox: SandboxId,
    /// Who opened it.
    pub by: StreamOpener,
}

/// Who opened a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamOpener {
    /// The key with this SHA-256.
    Key([u8; 32]),
    /// What stood in a token.
    Token {
        /// Whose it is.
        user: UserId,
        /// The session that renews it.
        session: Option<SessionId>,
        /// Version of their credentials that it was made under.
        version: i32,
    },
}

/// What the database says of a stream now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamStanding {
    /// Whether the authority is still there.
    pub holds: bool,
    /// The sandbox's status; `None`: its row is gone.
    pub sandbox: Option<State>,
}

/// What the database says of these streams, in their order: one statement, however many they are.
///
/// # Errors
/// The statement fails.
pub async fn streams_standing(
    executor: impl PgExecutor<'_>,
    proofs: &[StreamProof],
) -> Result<Vec<StreamStanding>> {
    let count = proofs.len();
    let (mut teams, mut sandboxes) = (Vec::with_capacity(count), Vec::with_capacity(count));
    let (mut keys, mut users) = (Vec::with_capacity(count), Vec::with_capacity(count));
    let (mut sessions, mut versions) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for proof in proofs {
        teams.push(proof.team.as_uuid());
        sandboxes.push(proof.sandbox.as_uuid());
        let (key, user, session, version) = match proof.by {
            StreamOpener::Key(hash) => (Some(hash.to_vec()), None, None, None),
            StreamOpener::Token {
                user,
                session,
                version,
            } => (None, Some(user), session, Some(version)),
        };
        keys.push(key);
        users.push(user.map(UserId::as_uuid));
        sessions.push(session.map(SessionId::as_uuid));
        versions.push(version);
    }
    let rows: Vec<(bool, Option<State>)> = sqlx::query_as(
        "SELECT CASE WHEN p.key_hash IS NOT NULL THEN EXISTS (
                    SELECT 1 FROM api_keys k JOIN live_teams t ON t.id = k.team_id
                    WHERE k.key_hash = p.key_hash AND k.team_id = p.team_id
                      AND k.revoked_at IS NULL)
                ELSE EXISTS (
                    SELECT 1 FROM users u
                    WHERE u.id = p.user_id AND u.status = 'active' AND u.token_version = p.version
                      AND (p.session_id IS NULL OR EXISTS (
                          SELECT 1 FROM user_sessions s
                          WHERE s.id = p.session_id AND s.user_id = u.id AND s.ended_at IS NULL
                            AND s.expires_at > now()))
                      AND CASE WHEN p.team_id = $7 THEN u.is_admin OR EXISTS (
                          SELECT 1 FROM admin_permissions a
                          WHERE a.user_id = u.id AND a.permission = 'teams')
                      ELSE EXISTS (
                          SELECT 1 FROM users_teams m JOIN live_teams t ON t.id = m.team_id
                          WHERE m.user_id = u.id AND m.team_id = p.team_id)
                      END)
                END,
                b.status
         FROM unnest($1::uuid[], $2::uuid[], $3::bytea[], $4::uuid[], $5::uuid[], $6::int[])
              WITH ORDINALITY AS p (team_id, sandbox_id, key_hash, user_id, session_id, version, n)
         LEFT JOIN sandboxes b ON b.id = p.sandbox_id
         ORDER BY p.n",
    )
    .bind(teams)
    .bind(sandboxes)
    .bind(keys)
    .bind(users)
    .bind(sessions)
    .bind(versions)
    .bind(TeamId::ZERO.as_uuid())
    .fetch_all(executor)
    .await?;
    let standing = |(holds, sandbox)| StreamStanding { holds, sandbox };
    Ok(rows.into_iter().map(standing).collect())
}
