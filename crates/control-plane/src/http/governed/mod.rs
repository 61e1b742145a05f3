//! What governs every request beside its authority: rate limits, and the record of who did what.
//!
//! A layer around the router finds the operation in the [`table`] and puts a [`Governed`] beside the request.
//! The extractor that proves the caller calls [`admit`] as its last act: it takes a token of the caller's
//! bucket and commits the start of the audit row, so that nothing is done that was not written down. The
//! layer completes the row from the answer. An operation that is written down runs in a task of its own:
//! neither it nor its record depend on the client's patience.
//!
//! Refused credentials leave no row: whoever cannot prove anything cannot fill the log.

mod table;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    extract::{FromRequestParts, MatchedPath, RawPathParams, Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tracing::Instrument;
use wrenn_api::{
    ErrorCode,
    audit::{AuditAction, AuditActor, AuditResource, AuditStatus},
    grammar,
};
use wrenn_database::{
    AuditEnd, AuditFacts, NewAudit, Principal, audit_complete, audit_insert, audit_start,
};
use wrenn_ids::{AuditId, HostId, TeamId};

use self::table::{Rule, Written};
use super::{
    client_ip::{ClientIp, client_ip},
    error::{ApiError, ApiResult},
    middleware::RequestId,
};
use crate::{
    app::{self, Caller, Member, TeamActor},
    limits::{Allowance, RateClass},
    state::App,
};

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// Who is proven to act, as limits and records know them.
#[derive(Debug, Clone)]
pub(super) struct Who {
    actor: AuditActor,
    id: String,
    name: Option<String>,
    /// Whose log it goes into; `None`: the platform's.
    team: Option<TeamId>,
}

impl Who {
    pub(super) fn actor(actor: &TeamActor) -> Self {
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

    pub(super) fn member(member: &Member) -> Self {
        Self {
            team: Some(member.team),
            ..Self::caller(&member.caller)
        }
    }

    pub(super) fn caller(caller: &Caller) -> Self {
        Self {
            actor: AuditActor::User,
            id: caller.id.to_string(),
            name: Some(caller.name.clone()),
            team: None,
        }
    }

    pub(super) fn host(host: HostId) -> Self {
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
pub(super) struct Subject {
    resource_id: Option<String>,
    actor: Option<(String, String)>,
    team: Option<TeamId>,
    facts: BTreeMap<String, String>,
}

impl Subject {
    /// It was done to this.
    pub(super) fn of(id: impl ToString) -> Self {
        Self {
            resource_id: Some(id.to_string()),
            ..Self::default()
        }
    }

    /// It belongs into the log of this team.
    pub(super) fn in_team(mut self, team: TeamId) -> Self {
        self.team = Some(team);
        self
    }

    /// This one did it.
    pub(super) fn by(mut self, id: impl ToString, name: &str) -> Self {
        self.actor = Some((id.to_string(), name.to_owned()));
        self
    }

    /// A fact; never a secret, a body or an address.
    pub(super) fn fact(mut self, name: &str, value: impl ToString) -> Self {
        self.facts.insert(name.to_owned(), value.to_string());
        self
    }
}

/// One request's rule and what came of it so far.
pub(super) struct Governed {
    rule: &'static Rule,
    request_id: String,
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    admitted: bool,
    allowance: Option<Allowance>,
    audit: Option<AuditId>,
}

impl Governed {
    fn progress(&self) -> std::sync::MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn take(&self, app: &App, class: RateClass, key: &str) -> ApiResult<()> {
        let Some(allowance) = app.limits.take(class, key).await else {
            return Ok(());
        };
        self.progress().allowance = Some(allowance);
        match allowance.refused_for {
            Some(after) => Err(ApiError(app::Error::rate_limited(after))),
            None => Ok(()),
        }
    }

    async fn start(&self, app: &App, new: NewAudit<'_>) -> ApiResult<()> {
        audit_start(&app.db, &new)
            .await
            .map_err(app::Error::unavailable)?;
        self.progress().audit = Some(new.id);
        app.checkpoint("audit.started").await;
        Ok(())
    }

    /// Completes the row by the answer.
    async fn complete(&self, app: &App, answer: &Answered) {
        let Some(id) = self.progress().audit.take() else {
            return;
        };
        app.checkpoint("audit.before_completion").await;
        let subject = &answer.subject;
        let mut facts: AuditFacts = subject.facts.clone();
        facts.insert("phase".to_owned(), "completed".to_owned());
        facts.insert("http_status".to_owned(), answer.status.as_u16().to_string());
        if let Some(code) = answer.code {
            facts.insert("code".to_owned(), code.to_string());
        }
        let opened = matches!(
            self.rule.written,
            Written::Once(_, AuditAction::ExecOpen | AuditAction::PtyOpen, _)
        );
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
}

/// What the record needs of an answer.
struct Answered {
    status: StatusCode,
    code: Option<ErrorCode>,
    subject: Subject,
}

impl Answered {
    fn of(response: &Response) -> Self {
        let extensions = response.extensions();
        Self {
            status: response.status(),
            code: extensions.get().copied(),
            subject: extensions.get().cloned().unwrap_or_default(),
        }
    }
}

/// Admits a proven caller: takes a token and writes that the operation begins. Repeated calls change nothing.
///
/// # Errors
/// `rate_limited`, or the record cannot be written.
pub(super) async fn admit(parts: &mut Parts, app: &Arc<App>, who: Who) -> ApiResult<()> {
    let Some(governed) = parts.extensions.get::<Arc<Governed>>().cloned() else {
        return Ok(());
    };
    if std::mem::replace(&mut governed.progress().admitted, true) {
        return Ok(());
    }
    let class = governed.rule.rate;
    match (class, who.team) {
        // Its token was taken before the caller was known.
        (None | Some(RateClass::Credential), _) => {}
        (Some(class @ (RateClass::Lifecycle | RateClass::Data | RateClass::Test)), Some(team)) => {
            governed.take(app, class, &team.to_string()).await?;
        }
        (Some(class), _) => governed.take(app, class, &who.id).await?,
    }
    let Written::Once(resource, action, scope) = governed.rule.written else {
        return Ok(());
    };
    let target = target(parts, app, resource).await;
    let team = who.team.or_else(|| {
        let of_team = governed.rule.path.starts_with("/v1/admin/teams/");
        of_team.then(|| target.as_deref()?.parse().ok()).flatten()
    });
    let new = NewAudit {
        id: AuditId::new(),
        team: team.unwrap_or(TeamId::ZERO),
        actor: who.actor,
        actor_id: Some(&who.id),
        actor_name: who.name.as_deref(),
        resource,
        resource_id: target.as_deref(),
        action,
        scope,
        request_id: &governed.request_id,
    };
    governed.start(app, new).await
}

/// The most particular thing that the path names. Ids that are none are nothing to remember.
async fn target(parts: &mut Parts, app: &Arc<App>, resource: AuditResource) -> Option<String> {
    let params = RawPathParams::from_request_parts(parts, app).await.ok()?;
    let named = |wanted: &str| params.iter().find(|(name, _)| *name == wanted);
    // The team is not the member: who that is, the path says or the handler.
    let names: &[_] = match resource {
        AuditResource::Member => &["user_id"],
        _ => &["id", "name", "team_id"],
    };
    let (_, text) = names.iter().copied().find_map(named)?;
    grammar::is_request_id(text).then(|| text.to_owned())
}

/// The layer: finds the rule, limits by address, and completes the record.
pub(super) async fn govern(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Response {
    let path = request.extensions().get::<MatchedPath>();
    let rule = path.and_then(|path| table::find(request.method(), path.as_str()));
    let Some(rule) = rule else {
        return next.run(request).await;
    };
    let request_id = request.extensions().get::<RequestId>();
    let governed = Arc::new(Governed {
        rule,
        request_id: request_id.map_or_else(String::new, |id| id.0.clone()),
        progress: Mutex::default(),
    });
    let client = client_ip(
        request.headers(),
        request.extensions(),
        &app.trusted_proxies,
    );
    let mut response = match before(&app, &governed, client).await {
        Err(refused) => refused.into_response(),
        Ok(()) => {
            request.extensions_mut().insert(Arc::clone(&governed));
            if let Written::Not(why) = rule.written {
                tracing::trace!(why, "not written down");
                next.run(request).await
            } else {
                recorded(&app, &governed, next.run(request)).await
            }
        }
    };
    if let Some(allowance) = governed.progress().allowance {
        tell(&mut response, allowance);
    }
    response
}

/// What happens before anything is known of the caller but their address.
async fn before(app: &Arc<App>, governed: &Governed, client: ClientIp) -> ApiResult<()> {
    if governed.rule.rate == Some(RateClass::Credential) {
        let key = client.0.to_string();
        governed.take(app, RateClass::Credential, &key).await?;
    }
    let Written::Unproven(resource, action, scope) = governed.rule.written else {
        return Ok(());
    };
    let actor = match resource {
        AuditResource::Host => AuditActor::Host,
        _ => AuditActor::User,
    };
    let new = NewAudit {
        id: AuditId::new(),
        team: TeamId::ZERO,
        actor,
        actor_id: None,
        actor_name: None,
        resource,
        resource_id: None,
        action,
        scope,
        request_id: &governed.request_id,
    };
    governed.start(app, new).await
}

/// Runs an operation that is written down, to its end whatever becomes of the client.
async fn recorded(
    app: &Arc<App>,
    governed: &Arc<Governed>,
    work: impl Future<Output = Response> + Send + 'static,
) -> Response {
    let (app, governed) = (Arc::clone(app), Arc::clone(governed));
    let task = app.clone().tasks.spawn(
        async move {
            let response = work.await;
            let answered = Answered::of(&response);
            // The client does not wait for it.
            app.clone()
                .tasks
                .spawn(async move { governed.complete(&app, &answered).await }.in_current_span());
            response
        }
        .in_current_span(),
    );
    match task.await {
        Ok(response) => response,
        Err(error) => ApiError(app::Error::internal(error)).into_response(),
    }
}

fn tell(response: &mut Response, allowance: Allowance) {
    let seconds = |time: Duration| time.as_millis().div_ceil(1000);
    let headers = response.headers_mut();
    headers.insert(LIMIT, HeaderValue::from(allowance.limit));
    headers.insert(REMAINING, HeaderValue::from(allowance.remaining));
    let reset = u64::try_from(seconds(allowance.reset)).unwrap_or(u64::MAX);
    headers.insert(RESET, HeaderValue::from(reset));
    if let Some(after) = allowance.refused_for {
        let after = u64::try_from(seconds(after)).unwrap_or(u64::MAX).max(1);
        headers.insert(header::RETRY_AFTER, HeaderValue::from(after));
    }
}

/// As [`admit`], for a socket that is open already: who it is was said in its first frame.
///
/// # Errors
/// `rate_limited`, or the record cannot be written.
pub(super) async fn admit_late(
    app: &App,
    governed: &Governed,
    who: &Who,
    target: &str,
) -> app::Result<()> {
    if let (Some(class), Some(team)) = (governed.rule.rate, who.team) {
        let key = team.to_string();
        governed
            .take(app, class, &key)
            .await
            .map_err(|refused| refused.0)?;
    }
    let Written::Once(resource, action, scope) = governed.rule.written else {
        return Ok(());
    };
    let new = NewAudit {
        id: AuditId::new(),
        team: who.team.unwrap_or(TeamId::ZERO),
        actor: who.actor,
        actor_id: Some(&who.id),
        actor_name: who.name.as_deref(),
        resource,
        resource_id: Some(target),
        action,
        scope,
        request_id: &governed.request_id,
    };
    let facts = AuditFacts::from([("phase".to_owned(), "completed".to_owned())]);
    audit_insert(&app.db, &new, AuditStatus::Info, &facts)
        .await
        .map_err(app::Error::unavailable)
}
