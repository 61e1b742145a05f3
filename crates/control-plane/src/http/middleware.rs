//! What happens to every request: path aliases, request id, log line, metrics, deadline.

use std::time::{Duration, Instant};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, Uri},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tracing::Instrument;
use wrenn_api::{ErrorCode, grammar};

use super::error::ApiError;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Id of a request, given by the caller or made here.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(pub(crate) String);

/// One request: its id, its span, its metrics.
pub(super) async fn observe(mut request: Request, next: Next) -> Response {
    let given = request
        .headers()
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok());
    let id = match given {
        Some(id) if grammar::is_request_id(id) => id.to_owned(),
        _ => uuid::Uuid::new_v4().to_string(),
    };
    request.extensions_mut().insert(RequestId(id.clone()));
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "unmatched".to_owned(), |path| path.as_str().to_owned());
    let method = request.method().to_string();
    // The path only: a query string may carry a token.
    let span =
        tracing::info_span!("request", request_id = %id, %method, path = request.uri().path());
    let started = Instant::now();
    let mut response = next.run(request).instrument(span.clone()).await;
    let elapsed = started.elapsed();
    let status = response.status().as_u16();
    span.in_scope(|| tracing::debug!(status, ms = elapsed.as_millis() as u64, "request"));
    metrics::histogram!(
        "wrenn_http_seconds", "route" => route, "method" => method, "code" => status.to_string()
    )
    .record(elapsed.as_secs_f64());
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// Ends a request at the deadline of its route. What it began goes on.
pub(super) async fn deadline(
    State(limit): State<Duration>,
    request: Request,
    next: Next,
) -> Response {
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let text = "the server did not finish in time; what was begun goes on";
            ApiError::new(ErrorCode::DeadlineExceeded, text).into_response()
        }
    }
}

/// Aliases, before routing: one leading `/api` is dropped, and old names become canonical ones.
pub(crate) fn rewrite<B>(mut request: axum::http::Request<B>) -> axum::http::Request<B> {
    let path = request.uri().path();
    let Some(canonical) = canonical(path) else {
        return request;
    };
    let query = request
        .uri()
        .query()
        .map(|query| format!("?{query}"))
        .unwrap_or_default();
    let mut parts = request.uri().clone().into_parts();
    if let Ok(path) = format!("{canonical}{query}").parse() {
        parts.path_and_query = Some(path);
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    request
}

/// The canonical form of a path, when it is an alias.
fn canonical(path: &str) -> Option<String> {
    let under = |prefix: &str, path: &str| -> Option<String> {
        let rest = path.strip_prefix(prefix)?;
        (rest.is_empty() || rest.starts_with('/')).then(|| rest.to_owned())
    };
    let stripped = under("/api", path).map(|rest| {
        if rest.is_empty() {
            "/".to_owned()
        } else {
            rest
        }
    });
    let path = stripped.as_deref().unwrap_or(path);
    let aliases = [
        ("/v1/capsules", "/v1/sandboxes"),
        ("/v1/admin/capsules", "/v1/admin/sandboxes"),
        ("/auth/oauth", "/v1/auth/oauth"),
        ("/health", "/healthz"),
    ];
    let renamed = aliases
        .iter()
        .find_map(|(alias, name)| under(alias, path).map(|rest| format!("{name}{rest}")));
    renamed.or(stripped)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, expected: Option<&str>) {
        assert_eq!(canonical(path).as_deref(), expected, "{path}");
    }

    #[test]
    fn aliases_become_canonical_and_nothing_else_changes() {
        check("/v1/sandboxes", None);
        check("/v1/capsules", Some("/v1/sandboxes"));
        check("/v1/capsules/sb-1/exec", Some("/v1/sandboxes/sb-1/exec"));
        check("/v1/capsulesx", None);
        check("/api/v1/sandboxes", Some("/v1/sandboxes"));
        check("/api/v1/capsules/x", Some("/v1/sandboxes/x"));
        check("/api", Some("/"));
        check("/apix", None);
        check("/api/api/v1", Some("/api/v1"));
        check("/health", Some("/healthz"));
        check("/api/health", Some("/healthz"));
        check("/healthz", None);
        check("/auth/oauth/github", Some("/v1/auth/oauth/github"));
    }
}
