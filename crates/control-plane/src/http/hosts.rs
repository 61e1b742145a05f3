//! `/v1/hosts`: how people add, change and remove hosts, how agents join and stay, and what teams see of their own.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use wrenn_api::{
    ErrorBody, ErrorCode,
    host::{
        AddHost, AddTag, Heartbeat, Host, HostAdded, HostCredentials, HostDeletion, HostInUse,
        RefreshHost, RegisterHost, UpdateHost,
    },
};
use wrenn_ids::{HostId, TeamId};

use super::{
    error::ApiResult,
    extract::{HostIdentity, Id, JsonBody, OptionalJsonBody, Query, TagInPath},
    governed::Subject,
    view,
};
use crate::{
    app::{
        HostAdder, HostKeeper, HostsSeen,
        host::{
            self, Issued,
            care::{self, Added},
            removal::{self, ItsSandboxes, Preview, Removal},
        },
    },
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

fn added(made: Added, seen: HostsSeen) -> (StatusCode, Extension<Subject>, Json<HostAdded>) {
    let subject = Subject::of(HostId::from_uuid(made.host.id));
    let subject = match made.host.team_id {
        Some(team) => subject.in_team(TeamId::from_uuid(team)),
        None => subject,
    };
    let body = HostAdded {
        host: view::host_seen(made.host, seen),
        registration_token: made.registration_token,
    };
    (StatusCode::CREATED, Extension(subject), Json(body))
}

/// Add a host
///
/// Administrators of hosts add those of all teams; administrators and owners of a team that brings hosts add its own.
#[utoipa::path(
    post, path = "/v1/hosts", tag = "hosts", security(("user_token" = [])), request_body = AddHost,
    responses(
        (status = 201, body = HostAdded), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody),
        (status = 413, body = ErrorBody), (status = 415, body = ErrorBody),
    )
)]
pub(super) async fn add(
    State(app): State<Arc<App>>,
    adder: HostAdder,
    JsonBody(request): JsonBody<AddHost>,
) -> ApiResult<(StatusCode, Extension<Subject>, Json<HostAdded>)> {
    let seen = adder.sees();
    Ok(added(care::add(&app, &adder, &request).await?, seen))
}

/// Issue another registration token
///
/// For a host that waits for its agent; the token before is void.
#[utoipa::path(
    post, path = "/v1/hosts/{id}/token", tag = "hosts", security(("user_token" = [])),
    params(("id" = String, Path)),
    responses(
        (status = 201, body = HostAdded), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody),
    )
)]
pub(super) async fn token(
    State(app): State<Arc<App>>,
    keeper: HostKeeper,
) -> ApiResult<(StatusCode, Extension<Subject>, Json<HostAdded>)> {
    Ok(added(care::token(&app, keeper).await?, keeper.seen))
}

/// Change a host
///
/// A draining host takes no new sandboxes.
#[utoipa::path(
    patch, path = "/v1/hosts/{id}", tag = "hosts", security(("user_token" = [])),
    params(("id" = String, Path)), request_body = UpdateHost,
    responses(
        (status = 200, body = Host), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 413, body = ErrorBody), (status = 415, body = ErrorBody),
    )
)]
pub(super) async fn update(
    State(app): State<Arc<App>>,
    keeper: HostKeeper,
    JsonBody(request): JsonBody<UpdateHost>,
) -> ApiResult<(Extension<Subject>, Json<Host>)> {
    let row = care::change(&app, keeper, &request).await?;
    let mut subject = Subject::default();
    if let Some(draining) = request.draining {
        subject = subject.fact("draining", draining);
    }
    if request.pause_sandboxes == Some(true) {
        subject = subject.fact("pause_sandboxes", true);
    }
    Ok((Extension(subject), Json(view::host_seen(row, keeper.seen))))
}

/// See what the deletion of a host would take with it
#[utoipa::path(
    get, path = "/v1/hosts/{id}/delete-preview", tag = "hosts", security(("user_token" = [])),
    params(("id" = String, Path)),
    responses(
        (status = 200, body = HostDeletion), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 404, body = ErrorBody),
    )
)]
pub(super) async fn preview(
    State(app): State<Arc<App>>,
    keeper: HostKeeper,
) -> ApiResult<Json<HostDeletion>> {
    let Preview {
        host,
        sandboxes,
        paused,
    } = removal::preview(&app, keeper).await?;
    Ok(Json(HostDeletion {
        reachable: removal::answers(&host),
        host: view::host_seen(host, keeper.seen),
        sandbox_ids: sandboxes,
        paused_sandbox_ids: paused,
    }))
}

/// Delete a host
///
/// One that has sandboxes is kept and they are named, unless force destroys them first.
#[utoipa::path(
    delete, path = "/v1/hosts/{id}", tag = "hosts", security(("user_token" = [])),
    params(("id" = String, Path), ("force" = Option<bool>, Query, description = "Destroy its sandboxes first")),
    responses(
        (status = 204), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = HostInUse),
    )
)]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    keeper: HostKeeper,
    query: Query,
) -> ApiResult<Response> {
    let (theirs, forced) = match query.parsed("force")? {
        Some(true) => (ItsSandboxes::Destroy, true),
        _ => (ItsSandboxes::Keep, false),
    };
    let subject = Extension(Subject::default().fact("force", forced));
    Ok(match removal::remove(&app, keeper, theirs).await? {
        Removal::Done => (StatusCode::NO_CONTENT, subject).into_response(),
        Removal::Kept(left) => {
            let code = Extension(ErrorCode::HostHasSandboxes);
            let body = Json(HostInUse::by(left));
            (StatusCode::CONFLICT, subject, code, body).into_response()
        }
    })
}

/// List the labels of a host
#[utoipa::path(
    get, path = "/v1/hosts/{id}/tags", tag = "hosts", security(("user_token" = [])),
    params(("id" = String, Path)),
    responses(
        (status = 200, body = Vec<String>), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 404, body = ErrorBody),
    )
)]
pub(super) async fn tags(
    State(app): State<Arc<App>>,
    keeper: HostKeeper,
) -> ApiResult<Json<Vec<String>>> {
    Ok(Json(care::tags(&app, keeper).await?))
}

/// Label a host
///
/// Repeatable.
#[utoipa::path(
    post, path = "/v1/hosts/{id}/tags", tag = "hosts", security(("user_token" = [])),
    params(("id" = String, Path)), request_body = AddTag,
    responses(
        (status = 204), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody),
        (status = 413, body = ErrorBody), (status = 415, body = ErrorBody),
    )
)]
pub(super) async fn tag(
    State(app): State<Arc<App>>,
    keeper: HostKeeper,
    JsonBody(request): JsonBody<AddTag>,
) -> ApiResult<StatusCode> {
    care::tag(&app, keeper, request).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Take a label off a host
#[utoipa::path(
    delete, path = "/v1/hosts/{id}/tags/{tag}", tag = "hosts", security(("user_token" = [])),
    params(("id" = String, Path), ("tag" = String, Path)),
    responses(
        (status = 204), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 404, body = ErrorBody),
    )
)]
pub(super) async fn untag(
    State(app): State<Arc<App>>,
    keeper: HostKeeper,
    TagInPath(tag): TagInPath,
) -> ApiResult<StatusCode> {
    care::untag(&app, keeper, &tag).await?;
    Ok(StatusCode::NO_CONTENT)
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
    let mut subject = Subject::of(id).by(id, &request.address);
    if let Some(team) = issued.host.team_id {
        subject = subject.in_team(TeamId::from_uuid(team));
    }
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
