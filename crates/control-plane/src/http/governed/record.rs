//! The record of one operation: who, what, and what came of it.
//!
//! It is a row from the moment before the operation begins, and completed from its answer.

use std::collections::BTreeMap;

use axum::{http::StatusCode, response::Response};
use wrenn_api::{
    ErrorCode,
    audit::{AuditAction, AuditActor, AuditResource, AuditScope, AuditStatus},
};
use wrenn_database::{
    AuditEnd, AuditFacts, NewAudit, Principal, audit_complete, audit_insert, audit_start,
};
use wrenn_ids::{AuditId, HostId, TeamId};

use crate::{
    app::{self, Caller, Member, TeamActor},
    state::App,
};

/// Who is proven to act, as limits and records know them.
#[derive(Debug, Clone)]
pub(in crate::http) struct Who {
    actor: AuditActor,
    pub(super) id: String,
    name: Option<String>,
    /// Whose log it goes into; `None`: the platform's.
    pub(super) team: Option<TeamId>,
}

impl Who {
    pub(in crate::http) fn actor(actor: &TeamActor) -> Self {
        let (kind, id) = match actor.principal() {
            Principal::User(id) => (AuditActor::User, id.to_string()),
            Principal::ApiKey(id) => (AuditActor::ApiKey, id.to_string()),
        };
        Self {
            actor: kind,
            id,
            name: Some(actor.name().to_owned()),
            team: Some(actor.team()),
        }
    }

    pub(in crate::http) fn member(member: &Member) -> Self {
        Self {
            team: Some(member.team),
            ..Self::caller(&member.caller)
        }
    }

    pub(in crate::http) fn caller(caller: &Caller) -> Self {
        Self {
            actor: AuditActor::User,
            id: caller.id.to_string(),
            name: Some(caller.name.clone()),
            team: None,
        }
    }

    /// The same, whose log the record goes into.
    pub(in crate::http) fn in_log_of(mut self, team: TeamId) -> Self {
        self.team = Some(team);
        self
    }

    pub(in crate::http) fn host(host: HostId) -> Self {
        Self {
            actor: AuditActor::Host,
            id: host.to_string(),
            name: None,
            team: None,
        }
    }
}

/// What only the handler knows of what it did; a part of its answer that is not sent.
#[derive(Debug, Clone, Default)]
pub(in crate::http) struct Subject {
    resource_id: Option<String>,
    actor: Option<(String, String)>,
    team: Option<TeamId>,
    facts: BTreeMap<String, String>,
}

impl Subject {
    /// It was done to this.
    pub(in crate::http) fn of(id: impl ToString) -> Self {
        Self {
            resource_id: Some(id.to_string()),
            ..Self::default()
        }
    }

    /// It belongs into the log of this team.
    pub(in crate::http) fn in_team(mut self, team: TeamId) -> Self {
        self.team = Some(team);
        self
    }

    /// This one did it.
    pub(in crate::http) fn by(mut self, id: impl ToString, name: &str) -> Self {
        self.actor = Some((id.to_string(), name.to_owned()));
        self
    }

    /// A fact; never a secret, a body or an address.
    pub(in crate::http) fn fact(mut self, name: &str, value: impl ToString) -> Self {
        self.facts.insert(name.to_owned(), value.to_string());
        self
    }
}

/// What is done, to which kind of thing, and who may read of it.
pub(super) type What = (AuditResource, AuditAction, AuditScope);

/// A row that says that something begins.
///
/// `who`: `None` where nobody is proven yet; then the platform's log has it until the end knows better.
fn row<'a>(
    id: AuditId,
    who: Option<&'a Who>,
    (resource, action, scope): What,
    target: Option<&'a str>,
    request_id: &'a str,
) -> NewAudit<'a> {
    let unproven = match resource {
        AuditResource::Host => AuditActor::Host,
        _ => AuditActor::User,
    };
    NewAudit {
        id,
        team: who.and_then(|who| who.team).unwrap_or(TeamId::ZERO),
        actor: who.map_or(unproven, |who| who.actor),
        actor_id: who.map(|who| &*who.id),
        actor_name: who.and_then(|who| who.name.as_deref()),
        resource,
        resource_id: target,
        action,
        scope,
        request_id,
    }
}

/// Writes that an operation begins.
///
/// # Errors
/// The database is away: then it must not begin.
pub(super) async fn start(
    app: &App,
    who: Option<&Who>,
    what: What,
    target: Option<&str>,
    request_id: &str,
) -> app::Result<AuditId> {
    let id = AuditId::new();
    audit_start(&app.db, &row(id, who, what, target, request_id))
        .await
        .map_err(app::Error::unavailable)?;
    app.checkpoint("audit.started").await;
    Ok(id)
}

/// Writes of something that begins and of whose end nobody waits.
///
/// # Errors
/// As [`start`].
pub(super) async fn note(
    app: &App,
    who: &Who,
    what: What,
    target: &str,
    request_id: &str,
) -> app::Result<()> {
    let new = row(AuditId::new(), Some(who), what, Some(target), request_id);
    let facts = AuditFacts::from([("phase".to_owned(), "completed".to_owned())]);
    audit_insert(&app.db, &new, AuditStatus::Info, &facts)
        .await
        .map_err(app::Error::unavailable)
}

/// What the record needs of an answer.
pub(super) struct Answered {
    status: StatusCode,
    code: Option<ErrorCode>,
    subject: Subject,
}

impl Answered {
    pub(super) fn of(response: &Response) -> Self {
        let extensions = response.extensions();
        Self {
            status: response.status(),
            code: extensions.get().copied(),
            subject: extensions.get().cloned().unwrap_or_default(),
        }
    }
}

/// Completes a row by the answer of what it began with.
pub(super) async fn complete(app: &App, id: AuditId, action: AuditAction, answer: &Answered) {
    app.checkpoint("audit.before_completion").await;
    let subject = &answer.subject;
    let mut facts: AuditFacts = subject.facts.clone();
    facts.insert("phase".to_owned(), "completed".to_owned());
    facts.insert("http_status".to_owned(), answer.status.as_u16().to_string());
    if let Some(code) = answer.code {
        facts.insert("code".to_owned(), code.to_string());
    }
    let opened = matches!(action, AuditAction::ExecOpen | AuditAction::PtyOpen);
    let status = match answer.status {
        status if status.is_client_error() || status.is_server_error() => AuditStatus::Error,
        _ if opened => AuditStatus::Info,
        _ => AuditStatus::Success,
    };
    let actor = subject.actor.as_ref();
    let end = AuditEnd {
        status,
        facts: &facts,
        resource_id: subject.resource_id.as_deref(),
        actor: actor.map(|(id, name)| (id.as_str(), name.as_str())),
        team: subject.team,
    };
    // Without a completion the row says so, and the sweeper writes that its end is unknown.
    if let Err(error) = audit_complete(&app.db, id, &end).await {
        tracing::warn!(audit_id = %id, cause = ?error, "an audit row was not completed");
    }
}
