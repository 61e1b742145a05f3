//! Calls by pages of other origins (the Fetch standard, "CORS protocol"): those that the settings name may call
//! with a token that they have. Only the dashboard's own pages may send our cookie along.
//!
//! This lets browsers read answers; it opens nothing to anybody who is not in a browser.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::{origins::Standing, state::App};

const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE");
/// What our routes read. None of it is a credential that a browser adds by itself.
const HEADERS: HeaderValue = HeaderValue::from_static(
    "authorization, content-type, idempotency-key, last-event-id, x-api-key, x-request-id, x-wrenn-client",
);
/// What scripts may read beside the body.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "idempotency-replayed, retry-after, x-next-cursor, x-ratelimit-limit, x-ratelimit-remaining, \
     x-ratelimit-reset, x-request-id",
);
/// Seconds that a browser remembers what it was told.
const REMEMBERED: HeaderValue = HeaderValue::from_static("600");

/// The layer: answers what browsers ask ahead, and says who may read the answer.
pub(super) async fn cross_origin(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Response {
    let Some(origin) = request.headers().get(header::ORIGIN).cloned() else {
        return next.run(request).await;
    };
    let standing = origin.to_str().ok();
    let standing = standing.and_then(|origin| app.origins.standing(origin));
    let ahead = request.method() == Method::OPTIONS
        && request
            .headers()
            .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = match standing {
        Some(_) if ahead => allowed(),
        _ => next.run(request).await,
    };
    let headers = response.headers_mut();
    // What follows depends on who asks: no cache may answer another origin with it.
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    if let Some(standing) = standing {
        admit(headers, origin, standing);
    }
    response
}

fn allowed() -> Response {
    let headers: [(HeaderName, HeaderValue); 3] = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, METHODS),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS),
        (header::ACCESS_CONTROL_MAX_AGE, REMEMBERED),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

fn admit(headers: &mut HeaderMap, origin: HeaderValue, standing: Standing) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    if standing == Standing::Own {
        let yes = HeaderValue::from_static("true");
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
    }
}
