//! `/v1/hosts`: how agents join and stay, and what teams see of their own.

use std::sync::Arc;

use axum::{Extension, Json, extract::State, http::StatusCode};
use wrenn_api::{
    ErrorBody,
    host::{Heartbeat, Host, HostCredentials, RefreshHost, RegisterHost},
};
use wrenn_ids::HostId;

use super::{
    error::ApiResult,
    extract::{HostIdentity, Id, JsonBody, OptionalJsonBody},
    governed::Subject,
    view,
};
use crate::{
    app::{HostsSeen, host, host::Issued},
    state::App,
};

fn credentials(app: &App, issued: Issued) -> HostCredentials {
    HostCredentials {
        host: view::host(issued.host),
        token: issued.token,
        refresh_token: issued.refresh_token,
        cert_pem: issued.cert_pem,
        ca_cert_pem: app.ca.cert_pem().to_owned(),
    }
}

/// List hosts
///
/// Administrators see all, others those that their team brought.
#[utoipa::path(
    get, path = "/v1/hosts", tag = "hosts", security(("user_token" = [])),
    responses((status = 200, body = Vec<Host>), (status = 401, body = ErrorBody))
)]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    seen: HostsSeen,
) -> ApiResult<Json<Vec<Host>>> {
    let rows = host::list(&app, seen).await?.into_iter();
    Ok(Json(rows.map(|row| view::host_seen(row, seen)).collect()))
}

/// Read one host
#[utoipa::path(
    get, path = "/v1/hosts/{id}", tag = "hosts", security(("user_token" = [])),
    params(("id" = String, Path)),
    responses(
        (status = 200, body = Host),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 404, body = ErrorBody),
    )
)]
pub(super) async fn get(
    State(app): State<Arc<App>>,
    seen: HostsSeen,
    Id(id): Id<HostId>,
) -> ApiResult<Json<Host>> {
    let row = host::get(&app, seen, id).await?;
    Ok(Json(view::host_seen(row, seen)))
}

/// Register a host
///
/// Consumes a one-time token; the private key never leaves the host.
#[utoipa::path(
    post, path = "/v1/hosts/register", tag = "hosts", request_body = RegisterHost,
    responses(
        (status = 201, body = HostCredentials),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 413, body = ErrorBody), (status = 415, body = ErrorBody),
    )
)]
pub(super) async fn register(
    State(app): State<Arc<App>>,
    JsonBody(request): JsonBody<RegisterHost>,
) -> ApiResult<(StatusCode, Extension<Subject>, Json<HostCredentials>)> {
    let issued = host::register(&app, &request).await?;
    let id = HostId::from_uuid(issued.host.id);
    let subject = Subject::of(id).by(id, &request.address);
    let body = Json(credentials(&app, issued));
    Ok((StatusCode::CREATED, Extension(subject), body))
}

/// Rotate a host's credentials
#[utoipa::path(
    post, path = "/v1/hosts/auth/refresh", tag = "hosts", request_body = RefreshHost,
    responses(
        (status = 200, body = HostCredentials),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 413, body = ErrorBody), (status = 415, body = ErrorBody),
    )
)]
pub(super) async fn refresh(
    State(app): State<Arc<App>>,
    JsonBody(request): JsonBody<RefreshHost>,
) -> ApiResult<Json<HostCredentials>> {
    let issued = host::refresh(&app, &request).await?;
    Ok(Json(credentials(&app, issued)))
}

/// Sign of life
#[utoipa::path(
    post, path = "/v1/hosts/{id}/heartbeat", tag = "hosts", security(("host_token" = [])),
    params(("id" = String, Path)), request_body(content = Option<Heartbeat>),
    responses(
        (status = 204),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody),
    )
)]
pub(super) async fn heartbeat(
    State(app): State<Arc<App>>,
    HostIdentity(id): HostIdentity,
    body: OptionalJsonBody<Heartbeat>,
) -> ApiResult<StatusCode> {
    host::heartbeat(&app, id, &body.value).await?;
    Ok(StatusCode::NO_CONTENT)
}
