//! `/v1/me` and the decisions of a person about their own account; looking up other people.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use wrenn_api::{
    AuthResponse, ErrorBody, Invalid, Session, Time,
    account::{
        ApproveDevice, ChangePassword, ConfirmReset, ConnectUrl, DeleteMe, FoundUser, Me,
        ResetPassword, UpdateMe, WaitingDevice,
    },
};
use wrenn_database::{oauth_providers_of, session_end, session_list, users_search};
use wrenn_ids::SessionId;

use super::{
    auth::signed_in,
    cookies::Cookie,
    error::ApiResult,
    extract::{JsonBody, OptionalJsonBody, Query, User},
    governed::Subject,
};
use crate::{
    app::{
        self, account, device, oauth, password,
        signin::{self, Visitor},
    },
    state::App,
};

/// People that a search tells at most.
const FOUND: i64 = 10;

/// The caller's account
#[utoipa::path(
    get, path = "/v1/me", tag = "accounts", security(("user_token" = [])),
    responses(
        (status = 200, body = Me), (status = 401, body = ErrorBody),
    )
)]
pub(super) async fn get(State(app): State<Arc<App>>, User(caller): User) -> ApiResult<Json<Me>> {
    let account = account::existing(&app, caller.id).await?;
    Ok(Json(Me {
        id: caller.id,
        name: caller.name,
        email: caller.email,
        has_password: account.password_hash.is_some(),
        is_admin: caller.is_admin,
        permissions: caller.permissions,
        providers: oauth_providers_of(&app.db, caller.id).await?,
    }))
}

/// Change the caller's name
#[utoipa::path(
    patch, path = "/v1/me", tag = "accounts", security(("user_token" = [])), request_body = UpdateMe,
    responses(
        (status = 200, body = AuthResponse),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 413, body = ErrorBody), (status = 415, body = ErrorBody),
    )
)]
pub(super) async fn update(
    State(app): State<Arc<App>>,
    User(caller): User,
    JsonBody(request): JsonBody<UpdateMe>,
) -> ApiResult<(Extension<Subject>, Json<AuthResponse>)> {
    let renamed = account::rename(&app, &caller, &request.name).await?;
    let answer = signin::reissue(&app, &renamed, caller.session, caller.team).await?;
    Ok((Extension(Subject::of(caller.id)), Json(answer)))
}

/// Delete the caller's account
#[utoipa::path(
    delete, path = "/v1/me", tag = "accounts", security(("user_token" = [])), request_body = DeleteMe,
    responses(
        (status = 204),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 409, body = ErrorBody), (status = 413, body = ErrorBody),
        (status = 415, body = ErrorBody),
    )
)]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    User(caller): User,
    JsonBody(request): JsonBody<DeleteMe>,
) -> ApiResult<Response> {
    account::delete(&app, &caller, &request.confirmation).await?;
    let subject = Extension(Subject::of(caller.id));
    let mut response = (StatusCode::NO_CONTENT, subject).into_response();
    Cookie::Refresh.clear(&app, response.headers_mut());
    Ok(response)
}

/// Change the caller's password
///
/// Voids every token made before; the answer holds a new one.
#[utoipa::path(
    post, path = "/v1/me/password", tag = "accounts", security(("user_token" = [])),
    request_body = ChangePassword,
    responses(
        (status = 200, body = AuthResponse),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 413, body = ErrorBody), (status = 415, body = ErrorBody),
    )
)]
pub(super) async fn change_password(
    State(app): State<Arc<App>>,
    User(caller): User,
    visitor: Visitor,
    JsonBody(request): JsonBody<ChangePassword>,
) -> ApiResult<Response> {
    let account = password::change(&app, &caller, request).await?;
    let done = signin::sign_in(&app, &account, caller.team, &visitor).await?;
    Ok(signed_in(&app, StatusCode::OK, done))
}

/// Ask for a link to set another password
///
/// Answers the same whether the address has an account or not.
#[utoipa::path(
    post, path = "/v1/me/password/reset", tag = "accounts", request_body = ResetPassword,
    responses(
        (status = 204), (status = 400, body = ErrorBody), (status = 413, body = ErrorBody),
        (status = 415, body = ErrorBody), (status = 429, body = ErrorBody), (status = 503, body = ErrorBody),
    )
)]
pub(super) async fn reset_password(
    State(app): State<Arc<App>>,
    JsonBody(request): JsonBody<ResetPassword>,
) -> StatusCode {
    password::ask_reset(&app, &request.email);
    StatusCode::NO_CONTENT
}

/// Set another password by the link of a mail
#[utoipa::path(
    post, path = "/v1/me/password/reset/confirm", tag = "accounts", request_body = ConfirmReset,
    responses(
        (status = 204), (status = 400, body = ErrorBody), (status = 413, body = ErrorBody),
        (status = 415, body = ErrorBody), (status = 429, body = ErrorBody), (status = 503, body = ErrorBody),
    )
)]
pub(super) async fn confirm_reset(
    State(app): State<Arc<App>>,
    JsonBody(request): JsonBody<ConfirmReset>,
) -> ApiResult<(StatusCode, Extension<Subject>)> {
    let account = password::confirm_reset(&app, request).await?;
    let subject = Subject::of(account.id()).by(account.id(), &account.name);
    Ok((StatusCode::NO_CONTENT, Extension(subject)))
}

/// Where the caller is signed in
#[utoipa::path(
    get, path = "/v1/me/sessions", tag = "accounts", security(("user_token" = [])),
    responses(
        (status = 200, body = Vec<Session>), (status = 401, body = ErrorBody),
    )
)]
pub(super) async fn sessions(
    State(app): State<Arc<App>>,
    User(caller): User,
) -> ApiResult<Json<Vec<Session>>> {
    let time =
        |ms| Time::from_unix_ms(ms).ok_or_else(|| app::Error::internal("a time out of range"));
    let mut sessions = Vec::new();
    for row in session_list(&app.db, caller.id).await? {
        sessions.push(Session {
            id: row.id(),
            kind: row.kind.parse().map_err(app::Error::internal)?,
            current: caller.session == Some(row.id()),
            created_at: time(row.created_at)?,
            last_used_at: time(row.last_used_at)?,
            client: row.client,
            ip: row.ip,
        });
    }
    Ok(Json(sessions))
}

/// Sign the caller out somewhere
#[utoipa::path(
    delete, path = "/v1/me/sessions/{id}", tag = "accounts", security(("user_token" = [])),
    params(("id" = String, Path)),
    responses(
        (status = 204),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody),
    )
)]
pub(super) async fn end_session(
    State(app): State<Arc<App>>,
    User(caller): User,
    Path(id): Path<String>,
) -> ApiResult<StatusCode> {
    let id: SessionId = id
        .parse()
        .map_err(|error| Invalid::new("id", format!("{error}")))?;
    if !session_end(&app.db, caller.id, id).await? {
        return Err(app::Error::not_found(format_args!("session {id}")).into());
    }
    app.bus.revoked(caller.id);
    Ok(StatusCode::NO_CONTENT)
}

/// Connect an account of a provider
#[utoipa::path(
    get, path = "/v1/me/providers/{provider}/connect", tag = "accounts", security(("user_token" = [])),
    params(("provider" = String, Path)),
    responses(
        (status = 200, body = ConnectUrl), (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody),
    )
)]
pub(super) async fn connect(
    State(app): State<Arc<App>>,
    User(caller): User,
    Path(provider): Path<String>,
) -> ApiResult<Response> {
    let departure = oauth::depart(&app, &provider, "link", Some(&caller))?;
    let auth_url = departure.url;
    let mut response = Json(ConnectUrl { auth_url }).into_response();
    Cookie::OauthState.set(&app, response.headers_mut(), &departure.cookie);
    Ok(response)
}

/// Disconnect an account of a provider
#[utoipa::path(
    delete, path = "/v1/me/providers/{provider}", tag = "accounts", security(("user_token" = [])),
    params(("provider" = String, Path)),
    responses(
        (status = 204),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody),
    )
)]
pub(super) async fn disconnect(
    State(app): State<Arc<App>>,
    User(caller): User,
    Path(provider): Path<String>,
) -> ApiResult<(StatusCode, Extension<Subject>)> {
    oauth::unlink(&app, &caller, &provider).await?;
    let subject = Subject::of(caller.id).fact("provider", provider);
    Ok((StatusCode::NO_CONTENT, Extension(subject)))
}

/// Which command line waits behind a code
#[utoipa::path(
    get, path = "/v1/auth/device/{user_code}", tag = "accounts", security(("user_token" = [])),
    params(("user_code" = String, Path)),
    responses(
        (status = 200, body = WaitingDevice), (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody),
    )
)]
pub(super) async fn device(
    State(app): State<Arc<App>>,
    _caller: User,
    Path(code): Path<String>,
) -> ApiResult<Json<WaitingDevice>> {
    Ok(Json(device::waiting(&app, &code).await?))
}

/// Let a command line in as the caller
#[utoipa::path(
    post, path = "/v1/auth/device/{user_code}/approve", tag = "accounts", security(("user_token" = [])),
    params(("user_code" = String, Path)), request_body(content = Option<ApproveDevice>),
    responses(
        (status = 204),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 413, body = ErrorBody), (status = 415, body = ErrorBody),
    )
)]
pub(super) async fn approve_device(
    State(app): State<Arc<App>>,
    User(caller): User,
    Path(code): Path<String>,
    body: OptionalJsonBody<ApproveDevice>,
) -> ApiResult<StatusCode> {
    device::approve(&app, &caller, &code, body.value.team_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Refuse a command line
#[utoipa::path(
    post, path = "/v1/auth/device/{user_code}/deny", tag = "accounts", security(("user_token" = [])),
    params(("user_code" = String, Path)),
    responses(
        (status = 204), (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody),
    )
)]
pub(super) async fn deny_device(
    State(app): State<Arc<App>>,
    _caller: User,
    Path(code): Path<String>,
) -> ApiResult<StatusCode> {
    device::deny(&app, &code).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Look people up by the beginning of their address
///
/// At least three characters and an `@`; at most ten people.
#[utoipa::path(
    get, path = "/v1/users/search", tag = "accounts", security(("user_token" = [])),
    params(("email" = String, Query, description = "Beginning of an address, with its `@`")),
    responses(
        (status = 200, body = Vec<FoundUser>),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
    )
)]
pub(super) async fn search(
    State(app): State<Arc<App>>,
    _caller: User,
    query: Query,
) -> ApiResult<Json<Vec<FoundUser>>> {
    let prefix = query.text("email").unwrap_or_default();
    let fits = prefix.contains('@') && (3..=254).contains(&prefix.chars().count());
    if !fits || prefix.contains('\0') {
        let reason = "must have at least 3 characters and an `@`";
        return Err(Invalid::new("email", reason).into());
    }
    let found = users_search(&app.db, prefix, FOUND).await?;
    let found = found.into_iter().map(|(user_id, email, name)| FoundUser {
        user_id,
        email,
        name,
    });
    Ok(Json(found.collect()))
}
