//! Who acts, as proven values: only the extractors of `http/` make them, from what the database says at
//! that moment.

use wrenn_api::{Permission, Role};
use wrenn_database::{Principal, api_key_actor, user_proof};
use wrenn_ids::{SessionId, TeamId, UserId};

use super::Result;
use crate::state::App;

/// A person with a valid token.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) id: UserId,
    pub(crate) email: String,
    pub(crate) name: String,
    /// The team that the token names; membership is not proven by it.
    pub(crate) team: Option<TeamId>,
    /// The session that renews the token.
    pub(crate) session: Option<SessionId>,
    /// Version of the credentials that the token was made under; the current one.
    pub(crate) token_version: i32,
    /// Whether they administer the whole platform.
    pub(crate) is_admin: bool,
    /// The parts of it that they administer.
    pub(crate) permissions: Vec<Permission>,
}

impl Caller {
    /// Whether they administer this part of the platform, or with `None` all of it.
    pub(crate) fn administers(&self, part: Option<Permission>) -> bool {
        self.is_admin || part.is_some_and(|part| self.permissions.contains(&part))
    }
}

/// A person in a live team of theirs.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) caller: Caller,
    pub(crate) team: TeamId,
    pub(crate) role: Role,
}

/// Somebody who acts for a team: a key of it, or a member.
#[derive(Debug, Clone)]
pub(crate) struct TeamActor {
    team: TeamId,
    principal: Principal,
    name: String,
    proof: Proof,
}

/// What a stream shows again while it is open.
#[derive(Debug, Clone)]
enum Proof {
    /// SHA-256 of a key.
    Key([u8; 32]),
    /// What stood in a token.
    Token {
        user: UserId,
        session: Option<SessionId>,
        version: i32,
    },
}

impl TeamActor {
    /// A key that the database knows, and its hash.
    pub(crate) fn of_key(key: wrenn_database::KeyActor, hash: [u8; 32]) -> Self {
        Self {
            team: key.team_id,
            principal: Principal::ApiKey(key.key_id),
            name: key.name,
            proof: Proof::Key(hash),
        }
    }

    /// The team that it acts for.
    pub(crate) fn team(&self) -> TeamId {
        self.team
    }

    /// Who it is.
    pub(crate) fn principal(&self) -> Principal {
        self.principal
    }

    /// What people call it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether the authority is still there.
    ///
    /// # Errors
    /// The database is away, which proves nothing.
    pub(crate) async fn still_holds(&self, app: &App) -> Result<bool> {
        match &self.proof {
            Proof::Key(hash) => Ok(api_key_actor(&app.db, hash).await?.is_some()),
            Proof::Token {
                user,
                session,
                version,
            } => {
                let proof = user_proof(&app.db, *user, *session, Some(self.team)).await?;
                Ok(proof.is_some_and(|proof| {
                    proof.active
                        && proof.token_version == *version
                        && proof.session_live
                        && proof.role.is_some()
                }))
            }
        }
    }
}

impl From<Member> for TeamActor {
    fn from(member: Member) -> Self {
        let caller = member.caller;
        Self {
            team: member.team,
            principal: Principal::User(caller.id),
            name: caller.name,
            proof: Proof::Token {
                user: caller.id,
                session: caller.session,
                version: caller.token_version,
            },
        }
    }
}
