//! `/v1/auth/oauth`: out to a provider's page, back from it, and on to the dashboard.
//!
//! No token stands in an address: what does is good once, within a minute, in the browser that began.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use wrenn_api::{AuthResponse, ErrorBody, Invalid, account::OneTimeCode};

use super::{
    auth::signed_in,
    cookies::Cookie,
    error::ApiResult,
    extract::{JsonBody, Query},
    middleware::RequestId,
};
use crate::{
    app::{
        self,
        oauth::{self, Return},
        signin::Visitor,
    },
    state::App,
};

fn redirect(url: &str) -> ApiResult<Response> {
    let url = HeaderValue::from_str(url).map_err(app::Error::internal)?;
    let headers = [
        (header::LOCATION, url),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (
            header::REFERRER_POLICY,
            HeaderValue::from_static("no-referrer"),
        ),
    ];
    Ok((StatusCode::FOUND, headers).into_response())
}

/// Sign in by a provider
#[utoipa::path(
    get, path = "/v1/auth/oauth/{provider}", tag = "accounts",
    params(
        ("provider" = String, Path),
        ("intent" = Option<String>, Query, description = "`login` or `signup`"),
    ),
    responses(
        (status = 302), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 503, body = ErrorBody),
    )
)]
pub(super) async fn start(
    State(app): State<Arc<App>>,
    Path(provider): Path<String>,
    query: Query,
) -> ApiResult<Response> {
    let intent = query.text("intent").unwrap_or("login");
    if !["login", "signup"].contains(&intent) {
        return Err(Invalid::new("intent", "must be login or signup").into());
    }
    let departure = oauth::depart(&app, &provider, intent, None)?;
    let mut response = redirect(&departure.url)?;
    Cookie::OauthState.set(&app, response.headers_mut(), &departure.cookie);
    Ok(response)
}

/// Return from a provider
#[utoipa::path(
    get, path = "/v1/auth/oauth/{provider}/callback", tag = "accounts",
    params(
        ("provider" = String, Path),
        ("code" = Option<String>, Query), ("state" = Option<String>, Query),
        ("error" = Option<String>, Query),
    ),
    responses(
        (status = 302),
        (status = 400, body = ErrorBody), (status = 404, body = ErrorBody), (status = 503, body = ErrorBody),
    )
)]
pub(super) async fn callback(
    State(app): State<Arc<App>>,
    Path(provider): Path<String>,
    axum::Extension(request_id): axum::Extension<RequestId>,
    query: Query,
    headers: HeaderMap,
) -> ApiResult<Response> {
    if app.providers.get(&provider).is_none() {
        let text = "this server has no such provider";
        return Err(super::error::ApiError::new(
            wrenn_api::ErrorCode::ProviderNotFound,
            text,
        ));
    }
    let returned = Return {
        code: query.text("code"),
        state: query.text("state"),
        error: query.text("error"),
        cookie: Cookie::OauthState.of(&app, &headers),
    };
    let page = format!("{}/auth/{provider}/callback", app.public_url);
    let mut response = match oauth::arrive(&app, &provider, returned, &request_id.0).await {
        Ok(arrival) => {
            let mut response = redirect(&format!("{page}#code={}", arrival.code))?;
            Cookie::OauthBrowser.set(&app, response.headers_mut(), &arrival.cookie);
            response
        }
        Err(refusal) => redirect(&format!("{page}#error={}", refusal.as_str()))?,
    };
    Cookie::OauthState.clear(&app, response.headers_mut());
    Ok(response)
}

/// Take a sign-in by a provider over
#[utoipa::path(
    post, path = "/v1/auth/oauth/exchange", tag = "accounts", request_body = OneTimeCode,
    responses(
        (status = 200, body = AuthResponse), (status = 400, body = ErrorBody),
        (status = 413, body = ErrorBody), (status = 415, body = ErrorBody),
        (status = 429, body = ErrorBody), (status = 503, body = ErrorBody),
    )
)]
pub(super) async fn exchange(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    visitor: Visitor,
    JsonBody(request): JsonBody<OneTimeCode>,
) -> ApiResult<Response> {
    let cookie = Cookie::OauthBrowser.of(&app, &headers);
    let done = oauth::exchange(&app, &request.code, cookie, &visitor).await?;
    let mut response = signed_in(&app, StatusCode::OK, done);
    Cookie::OauthBrowser.clear(&app, response.headers_mut());
    Ok(response)
}
