//! What governs every request beside its authority: rate limits, and the record of who did what.
//!
//! A layer around the router finds the operation in the [`table`] and puts a [`Governed`] beside the request.
//! The extractor that proves the caller calls [`admit`] as its last act: it takes a token of the caller's
//! bucket and commits the start of the audit row, so that nothing is done that was not written down. The
//! layer completes the row from the answer. An operation that is written down runs in a task of its own:
//! neither it nor its record depend on the client's patience.
//!
//! Refused credentials leave no row: whoever cannot prove anything cannot fill the log.

mod record;
mod table;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    extract::{FromRequestParts, MatchedPath, RawPathParams, Request, State},
    http::{HeaderName, HeaderValue, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tracing::Instrument;
use wrenn_api::{audit::AuditResource, grammar};
use wrenn_ids::AuditId;

pub(super) use self::record::{Subject, Who};
use self::{
    record::{Answered, What},
    table::{Rule, Written},
};
use super::{
    client_ip::{ClientIp, client_ip},
    error::{ApiError, ApiResult},
    middleware::RequestId,
};
use crate::{
    app,
    limits::{Allowance, RateClass},
    state::App,
};

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

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

    /// Writes that it begins.
    async fn start(
        &self,
        app: &App,
        who: Option<&Who>,
        what: What,
        target: Option<&str>,
    ) -> ApiResult<()> {
        let id = record::start(app, who, what, target, &self.request_id).await?;
        self.progress().audit = Some(id);
        Ok(())
    }

    /// Completes the row by the answer.
    async fn complete(&self, app: &App, answer: &Answered) {
        let id = self.progress().audit.take();
        if let (Some(id), Some((_, action, _))) = (id, self.rule.written.what()) {
            record::complete(app, id, action, answer).await;
        }
    }
}

/// Admits a proven caller: takes a token and writes that the operation begins. Repeated calls change nothing.
///
/// # Errors
/// `rate_limited`, or the record cannot be written.
pub(super) async fn admit(parts: &mut Parts, app: &Arc<App>, mut who: Who) -> ApiResult<()> {
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
    let Written::Once(what) = governed.rule.written else {
        return Ok(());
    };
    let target = target(parts, app, what.0).await;
    if who.team.is_none() && governed.rule.path.starts_with("/v1/admin/teams/") {
        who.team = target.as_deref().and_then(|team| team.parse().ok());
    }
    governed
        .start(app, Some(&who), what, target.as_deref())
        .await
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
    match governed.rule.written {
        Written::Unproven(what) => governed.start(app, None, what, None).await,
        Written::Once(_) | Written::Not(_) => Ok(()),
    }
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
    match governed.rule.written {
        Written::Once(what) => record::note(app, who, what, target, &governed.request_id).await,
        Written::Unproven(_) | Written::Not(_) => Ok(()),
    }
}
