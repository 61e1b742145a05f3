//! `/v1/auth`: sign-up, login and sessions.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use wrenn_api::{
    AuthResponse, ErrorBody,
    account::{
        AuthConfig, CliCodeRequest, CliExchange, DeviceCode, DeviceCodes, DevicePending, Login,
        OneTimeCode, OneTimeToken, Refresh, Setup, SignedUp, Signup, StartDevice, SwitchTeam,
    },
};
use wrenn_database::{PgConnection, admin_exists, session_end};

use super::{
    cookies::{Cookie, refresh_cookie},
    error::ApiResult,
    extract::{JsonBody, OptionalJsonBody, User, presented_token},
    governed::Subject,
};
use crate::{
    app::{
        account,
        device::{self, Poll},
        signin::{self, SignedIn, Visitor},
        signup,
    },
    config::SignupPolicy,
    state::App,
};

/// A sign-in as an answer; the browser's part of it goes into its cookie.
pub(super) fn signed_in(app: &App, status: StatusCode, signed_in: SignedIn) -> Response {
    let subject =
        Subject::of(signed_in.answer.user_id).by(signed_in.answer.user_id, &signed_in.answer.name);
    let mut response = (status, Extension(subject), Json(signed_in.answer)).into_response();
    if let Some(token) = signed_in.cookie {
        Cookie::Refresh.set(app, response.headers_mut(), &token);
    }
    response
}

/// What a sign-in page needs to know
#[utoipa::path(
    get, path = "/v1/auth/config", tag = "accounts",
    responses((status = 200, body = AuthConfig), (status = 503, body = ErrorBody))
)]
pub(super) async fn config(State(app): State<Arc<App>>) -> ApiResult<Json<AuthConfig>> {
    let mut tx = app.db.begin().await.map_err(wrenn_database::Error::from)?;
    let connection: &mut PgConnection = &mut tx;
    let setup_required = app.setup_token.is_some() && !admin_exists(connection).await?;
    Ok(Json(AuthConfig {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        signup_enabled: app.signup != SignupPolicy::Closed,
        email_enabled: app.mail.is_some(),
        oauth_providers: app.providers.names(),
        setup_required,
        sandbox_domain: app.sandbox_domain.clone(),
    }))
}

/// Make the first administrator
#[utoipa::path(
    post, path = "/v1/auth/setup", tag = "accounts", request_body = Setup,
    responses(
        (status = 201, body = AuthResponse),
        (status = 400, body = ErrorBody), (status = 409, body = ErrorBody),
        (status = 413, body = ErrorBody), (status = 415, body = ErrorBody),
        (status = 429, body = ErrorBody), (status = 503, body = ErrorBody),
    )
)]
pub(super) async fn setup(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    JsonBody(request): JsonBody<Setup>,
) -> ApiResult<Response> {
    let done = signup::setup(&app, request, &visitor).await?;
    Ok(signed_in(&app, StatusCode::CREATED, done))
}

/// Make an account
///
/// Where the server sends mail, the account waits for the link in one.
#[utoipa::path(
    post, path = "/v1/auth/signup", tag = "accounts", request_body = Signup,
    responses(
        (status = 201, body = SignedUp),
        (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 409, body = ErrorBody),
        (status = 413, body = ErrorBody), (status = 415, body = ErrorBody),
        (status = 429, body = ErrorBody), (status = 503, body = ErrorBody),
    )
)]
pub(super) async fn signup(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    JsonBody(request): JsonBody<Signup>,
) -> ApiResult<Response> {
    let name = request.name.trim().to_owned();
    Ok(match signup::signup(&app, request, &visitor).await? {
        signup::SignedUp::Active(done) => signed_in(&app, StatusCode::CREATED, *done),
        signup::SignedUp::Waiting(user, message) => {
            let subject = Subject::of(user).by(user, &name);
            (StatusCode::CREATED, Extension(subject), Json(message)).into_response()
        }
    })
}

/// Activate an account
#[utoipa::path(
    post, path = "/v1/auth/activate", tag = "accounts", request_body = OneTimeToken,
    responses(
        (status = 200, body = AuthResponse), (status = 400, body = ErrorBody),
        (status = 413, body = ErrorBody), (status = 415, body = ErrorBody),
        (status = 429, body = ErrorBody), (status = 503, body = ErrorBody),
    )
)]
pub(super) async fn activate(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    JsonBody(request): JsonBody<OneTimeToken>,
) -> ApiResult<Response> {
    let done = signup::activate(&app, &request.token, &visitor).await?;
    Ok(signed_in(&app, StatusCode::OK, done))
}

/// Log in by password
#[utoipa::path(
    post, path = "/v1/auth/login", tag = "accounts", request_body = Login,
    responses(
        (status = 200, body = AuthResponse),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 413, body = ErrorBody), (status = 415, body = ErrorBody),
    )
)]
pub(super) async fn login(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    JsonBody(request): JsonBody<Login>,
) -> ApiResult<Response> {
    let done = account::login(&app, request, &visitor).await?;
    Ok(signed_in(&app, StatusCode::OK, done))
}

/// Renew a session
///
/// By the cookie of a browser, or the refresh token of a command line.
#[utoipa::path(
    post, path = "/v1/auth/refresh", tag = "accounts", request_body(content = Option<Refresh>),
    responses(
        (status = 200, body = AuthResponse),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 413, body = ErrorBody), (status = 415, body = ErrorBody),
    )
)]
pub(super) async fn refresh(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    visitor: Visitor,
    body: OptionalJsonBody<Refresh>,
) -> ApiResult<Response> {
    let token = match body.value.refresh_token {
        Some(token) => token,
        // Without either there is nothing to renew, which reads as an unknown token does.
        None => refresh_cookie(&app, &headers)?
            .unwrap_or_default()
            .to_owned(),
    };
    let done = signin::refresh(&app, &token, &visitor.request_id).await?;
    Ok(signed_in(&app, StatusCode::OK, done))
}

/// End this session
#[utoipa::path(
    post, path = "/v1/auth/logout", tag = "accounts", security((), ("user_token" = [])),
    responses(
        (status = 204), (status = 401, body = ErrorBody),
    )
)]
pub(super) async fn logout(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    request: axum::extract::Request,
) -> ApiResult<Response> {
    use axum::extract::FromRequestParts as _;
    let cookie = match presented_token(&headers) {
        Some(_) => None,
        None => refresh_cookie(&app, &headers)?,
    };
    match cookie {
        Some(token) => signin::end_by_token(&app, token).await?,
        None => {
            let (mut parts, _) = request.into_parts();
            let User(caller) = User::from_request_parts(&mut parts, &app).await?;
            if let Some(session) = caller.session {
                session_end(&app.db, caller.id, session).await?;
                app.bus.revoked(caller.id);
            }
        }
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    Cookie::Refresh.clear(&app, response.headers_mut());
    Ok(response)
}

/// End every session, and void every token
#[utoipa::path(
    post, path = "/v1/auth/logout-all", tag = "accounts", security(("user_token" = [])),
    responses(
        (status = 204), (status = 401, body = ErrorBody),
    )
)]
pub(super) async fn logout_all(
    State(app): State<Arc<App>>,
    User(caller): User,
) -> ApiResult<Response> {
    account::logout_all(&app, &caller).await?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    Cookie::Refresh.clear(&app, response.headers_mut());
    Ok(response)
}

/// Act for another team
#[utoipa::path(
    post, path = "/v1/auth/switch-team", tag = "accounts", security(("user_token" = [])),
    request_body = SwitchTeam,
    responses(
        (status = 200, body = AuthResponse),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 413, body = ErrorBody), (status = 415, body = ErrorBody),
    )
)]
pub(super) async fn switch_team(
    State(app): State<Arc<App>>,
    User(caller): User,
    JsonBody(request): JsonBody<SwitchTeam>,
) -> ApiResult<Json<AuthResponse>> {
    Ok(Json(
        signin::switch_team(&app, &caller, request.team_id).await?,
    ))
}

/// Ask to be let in by somebody in a browser
#[utoipa::path(
    post, path = "/v1/auth/device", tag = "accounts", request_body = StartDevice,
    responses(
        (status = 201, body = DeviceCodes), (status = 400, body = ErrorBody),
        (status = 413, body = ErrorBody), (status = 415, body = ErrorBody),
        (status = 429, body = ErrorBody), (status = 503, body = ErrorBody),
    )
)]
pub(super) async fn device_start(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    JsonBody(request): JsonBody<StartDevice>,
) -> ApiResult<(StatusCode, Json<DeviceCodes>)> {
    let codes = device::start(&app, &request, &visitor).await?;
    Ok((StatusCode::CREATED, Json(codes)))
}

/// Ask whether somebody let this command line in
#[utoipa::path(
    post, path = "/v1/auth/device/token", tag = "accounts", request_body = DeviceCode,
    responses(
        (status = 200, body = AuthResponse), (status = 202, body = DevicePending),
        (status = 400, body = ErrorBody), (status = 413, body = ErrorBody),
        (status = 415, body = ErrorBody), (status = 503, body = ErrorBody),
    )
)]
pub(super) async fn device_token(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    JsonBody(request): JsonBody<DeviceCode>,
) -> ApiResult<Response> {
    Ok(
        match device::poll(&app, &request.device_code, &visitor).await? {
            Poll::Approved(done) => signed_in(&app, StatusCode::OK, *done),
            Poll::Pending => {
                let status = "pending".to_owned();
                (StatusCode::ACCEPTED, Json(DevicePending { status })).into_response()
            }
        },
    )
}

/// Hand the caller on to a command line of theirs
#[utoipa::path(
    post, path = "/v1/auth/cli/code", tag = "accounts", security(("user_token" = [])),
    request_body = CliCodeRequest,
    responses(
        (status = 201, body = OneTimeCode),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 413, body = ErrorBody), (status = 415, body = ErrorBody),
    )
)]
pub(super) async fn cli_code(
    State(app): State<Arc<App>>,
    User(caller): User,
    JsonBody(request): JsonBody<CliCodeRequest>,
) -> ApiResult<(StatusCode, Json<OneTimeCode>)> {
    let code = device::cli_code(&app, &caller, &request).await?;
    Ok((StatusCode::CREATED, Json(code)))
}

/// Take a browser's person over into a command line
#[utoipa::path(
    post, path = "/v1/auth/cli/exchange", tag = "accounts", request_body = CliExchange,
    responses(
        (status = 200, body = AuthResponse), (status = 400, body = ErrorBody),
        (status = 413, body = ErrorBody), (status = 415, body = ErrorBody),
        (status = 429, body = ErrorBody), (status = 503, body = ErrorBody),
    )
)]
pub(super) async fn cli_exchange(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    JsonBody(request): JsonBody<CliExchange>,
) -> ApiResult<Response> {
    let done = device::cli_exchange(&app, &request, &visitor).await?;
    Ok(signed_in(&app, StatusCode::OK, done))
}
