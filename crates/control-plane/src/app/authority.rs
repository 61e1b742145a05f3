//! Who acts, as proven values: only the extractors of `http/` make them, from what the database says at
//! that moment.

use wrenn_api::{Permission, Role};
use wrenn_database::{OpActor, Principal, StreamOpener, StreamProof};
use wrenn_ids::{HostId, SandboxId, SessionId, TeamId, UserId};

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
    /// Whether the team brings its own hosts.
    pub(crate) is_byoc: bool,
}

/// Whose hosts somebody may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HostsSeen {
    /// All of them: they administer hosts.
    All,
    /// Those that their team brought.
    OfTeam(TeamId),
}

/// Somebody who looks after a host: they administer hosts, or the team that brought it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HostKeeper {
    pub(crate) host: HostId,
    pub(crate) by: UserId,
    pub(crate) seen: HostsSeen,
}

/// Somebody who asks to add a host.
#[derive(Debug, Clone)]
pub(crate) enum HostAdder {
    /// They administer hosts.
    Platform(Caller),
    /// A member of a team, in whatever role.
    Team(Member),
}

impl HostAdder {
    /// Whose hosts they see.
    pub(crate) fn sees(&self) -> HostsSeen {
        match self {
            Self::Platform(_) => HostsSeen::All,
            Self::Team(member) => HostsSeen::OfTeam(member.team),
        }
    }
}

/// Somebody who acts for a team: a key of it, or a member. For the platform's team, which has no members, whoever
/// administers teams acts.
#[derive(Debug, Clone)]
pub(crate) struct TeamActor {
    team: TeamId,
    principal: Principal,
    name: String,
    /// What a stream shows again while it is open.
    opener: StreamOpener,
    sees_hosts: bool,
}

impl TeamActor {
    /// A key that the database knows, and its hash.
    pub(crate) fn of_key(key: wrenn_database::KeyActor, hash: [u8; 32]) -> Self {
        Self {
            team: key.team_id,
            principal: Principal::ApiKey(key.key_id),
            name: key.name,
            opener: StreamOpener::Key(hash),
            sees_hosts: key.is_byoc,
        }
    }

    /// A person who administers teams, for the platform's.
    pub(crate) fn of_platform(caller: Caller) -> Self {
        Self {
            sees_hosts: true,
            ..Self::person(caller, TeamId::ZERO)
        }
    }

    fn person(caller: Caller, team: TeamId) -> Self {
        let parts = [Permission::Hosts, Permission::Teams];
        Self {
            team,
            principal: Principal::User(caller.id),
            opener: StreamOpener::Token {
                user: caller.id,
                session: caller.session,
                version: caller.token_version,
            },
            sees_hosts: parts.into_iter().any(|part| caller.administers(Some(part))),
            name: caller.name,
        }
    }

    /// The team that it acts for.
    pub(crate) fn team(&self) -> TeamId {
        self.team
    }

    /// Whether that is the platform's.
    pub(crate) fn is_platform(&self) -> bool {
        self.team == TeamId::ZERO
    }

    /// Who it is.
    pub(crate) fn principal(&self) -> Principal {
        self.principal
    }

    /// What people call it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Who it is, as operations remember it.
    pub(crate) fn as_op_actor(&self) -> OpActor {
        OpActor::of(self.principal, &self.name)
    }

    /// Whether it may know on which host a sandbox is: an administrator, or a team with its own hosts.
    pub(crate) fn sees_hosts(&self) -> bool {
        self.sees_hosts
    }

    /// What a stream into this sandbox of the team is open by.
    pub(crate) fn stream_into(&self, sandbox: SandboxId) -> StreamProof {
        StreamProof {
            team: self.team,
            sandbox,
            by: self.opener,
        }
    }
}

impl From<Member> for TeamActor {
    fn from(member: Member) -> Self {
        let person = Self::person(member.caller, member.team);
        Self {
            sees_hosts: person.sees_hosts || member.is_byoc,
            ..person
        }
    }
}
