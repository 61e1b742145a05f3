//! `/v1/admin/sandboxes`: those of all teams as their state tells them, and the platform's own whole.
//!
//! What is done to one of the platform's own is what a team does to its own, by the same handlers: see
//! `of_one_sandbox` in the router table. Templates that are made of them are everybody's.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use wrenn_api::{
    CreateSandbox, CreateSnapshot, ErrorBody, Sandbox, Template, template::CreatePlatformSnapshot,
};
use wrenn_ids::TeamId;

use super::{
    error::ApiResult,
    extract::{AnySandbox, JsonBody, OptionalJsonBody, PlatformAdmin, Query, SandboxOf, Templates},
    idempotency::idempotency,
    middleware::RequestId,
    sandboxes::{asked, made, page},
    snapshots, view,
};
use crate::{
    app::{TeamActor, disk_use::disk_use, sandbox},
    state::App,
};

/// List sandboxes of all teams
///
/// Newest first. What is in them stays their teams'.
#[utoipa::path(
    get, path = "/v1/admin/sandboxes", tag = "administration", security(("user_token" = [])),
    params(
        ("team_id" = Option<String>, Query),
        ("status" = Option<String>, Query, description = "One or more statuses; repeat or separate by commas"),
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 1000),
        ("cursor" = Option<String>, Query, description = "Value of `x-next-cursor` of the page before"),
    ),
    responses(
        (status = 200, body = Vec<Sandbox>),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
    )
)]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    actor: TeamActor,
    query: Query,
) -> ApiResult<Response> {
    let team: Option<TeamId> = query.parsed("team_id")?;
    let (filter, limit) = asked(&query)?;
    let rows = sandbox::list_all(&app, team, &filter).await?;
    Ok(page(rows, limit, &actor))
}

/// Create a sandbox of the platform
#[utoipa::path(
    post, path = "/v1/admin/sandboxes", tag = "administration", security(("user_token" = [])),
    request_body(content = Option<CreateSandbox>),
    params(("Idempotency-Key" = Option<String>, Header, description = "Repeats answer the first outcome for 24 h")),
    responses(
        (status = 201, body = Sandbox),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody),
        (status = 413, body = ErrorBody), (status = 415, body = ErrorBody),
    )
)]
pub(super) async fn create(
    State(app): State<Arc<App>>,
    actor: TeamActor,
    Extension(request_id): Extension<RequestId>,
    headers: HeaderMap,
    body: OptionalJsonBody<CreateSandbox>,
) -> ApiResult<Response> {
    let idempotency = idempotency(&headers, body.hash())?;
    let created = sandbox::create(&app, &actor, body.value, idempotency, request_id.0).await?;
    Ok(made(created, &actor))
}

/// Read one sandbox of any team
#[utoipa::path(
    get, path = "/v1/admin/sandboxes/{id}", tag = "administration", security(("user_token" = [])),
    params(("id" = String, Path)),
    responses(
        (status = 200, body = Sandbox),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 404, body = ErrorBody),
    )
)]
pub(super) async fn get(
    State(app): State<Arc<App>>,
    AnySandbox { row, actor }: AnySandbox,
) -> Json<Sandbox> {
    let disk_used_mb = disk_use(&app, &row).await;
    Json(Sandbox {
        disk_used_mb,
        ..view::sandbox(row, &actor)
    })
}

/// Destroy a sandbox of any team
///
/// From every state, repeatable. Its team reads in its log who did it.
#[utoipa::path(
    delete, path = "/v1/admin/sandboxes/{id}", tag = "administration", security(("user_token" = [])),
    params(("id" = String, Path)),
    responses(
        (status = 204),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 404, body = ErrorBody),
    )
)]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    AnySandbox { row, actor }: AnySandbox,
    Extension(request_id): Extension<RequestId>,
) -> ApiResult<StatusCode> {
    sandbox::destroy(&app, &actor, row, request_id.0).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Make a template of the platform
///
/// Of one of the platform's own sandboxes, with its memory, programs and files. The sandbox ends as it was.
#[utoipa::path(
    post, path = "/v1/admin/sandboxes/{id}/snapshot", tag = "administration", security(("user_token" = [])),
    params(
        ("id" = String, Path),
        ("overwrite" = Option<bool>, Query, description = "Delete the platform's template of this name first; default false"),
        ("Idempotency-Key" = Option<String>, Header, description = "Repeats answer the first outcome for 24 h"),
    ),
    request_body = CreatePlatformSnapshot,
    responses(
        (status = 201, body = Template),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody), (status = 413, body = ErrorBody), (status = 415, body = ErrorBody),
        (status = 502, body = ErrorBody), (status = 504, body = ErrorBody),
    )
)]
pub(super) async fn snapshot(
    State(app): State<Arc<App>>,
    _: PlatformAdmin<Templates>,
    SandboxOf { row, actor }: SandboxOf,
    Extension(request_id): Extension<RequestId>,
    headers: HeaderMap,
    query: Query,
    JsonBody(request): JsonBody<CreatePlatformSnapshot>,
) -> ApiResult<Response> {
    let request = CreateSnapshot {
        sandbox_id: row.id(),
        name: request.name,
        pause_source: request.pause_source,
    };
    snapshots::make(&app, &actor, request, &headers, &query, request_id).await
}
