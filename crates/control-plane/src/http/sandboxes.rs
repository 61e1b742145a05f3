//! `/v1/sandboxes`.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use wrenn_api::{
    CreateSandbox, ErrorBody, ForkSandbox, Invalid, Sandbox, SandboxStatus, UpdateSandbox,
};
use wrenn_database::{ListFilter, State as Status};

use super::{
    error::ApiResult,
    extract::{JsonBody, OptionalJsonBody, Query, SandboxOf},
    governed::Subject,
    idempotency::{REPLAYED, idempotency},
    middleware::RequestId,
    view,
};
use crate::{
    app::{TeamActor, disk_use::disk_use, fork as forks, pause as lifecycle, policy, sandbox},
    state::App,
};

const NEXT_CURSOR: HeaderName = HeaderName::from_static("x-next-cursor");
/// Most rows of one page, and how many there are when the caller does not say.
const PAGE: i64 = 1000;

/// Create a sandbox
///
/// Answers `running` when it is ready within 4.5 s, else `starting`, and the work goes on.
#[utoipa::path(
    post, path = "/v1/sandboxes", tag = "sandboxes", security(("api_key" = []), ("user_token" = [])),
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

/// What a create led to.
pub(super) fn made(created: sandbox::Created, actor: &TeamActor) -> Response {
    let subject = Subject::of(created.row.id());
    let body = Json(view::sandbox(created.row, actor));
    let mut response = (StatusCode::CREATED, Extension(subject), body).into_response();
    if created.replayed {
        response
            .headers_mut()
            .insert(REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

/// List sandboxes
///
/// Newest first; stopped ones and those in error only when `status` asks for them.
#[utoipa::path(
    get, path = "/v1/sandboxes", tag = "sandboxes", security(("api_key" = []), ("user_token" = [])),
    params(
        ("status" = Option<String>, Query, description = "One or more statuses; repeat or separate by commas"),
        ("template" = Option<String>, Query, description = "Template name or id"),
        ("metadata" = Option<String>, Query, description = "`key:value`; repeat for more"),
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
    let (filter, limit) = asked(&query)?;
    let rows = sandbox::list(&app, &actor, &filter).await?;
    Ok(page(rows, limit, &actor))
}

/// Which sandboxes the query asks for, with one more than a page, and how many a page has.
pub(super) fn asked(query: &Query) -> ApiResult<(ListFilter, i64)> {
    let mut wanted: Vec<SandboxStatus> = query.list("status")?;
    if wanted.is_empty() {
        wanted = SandboxStatus::ALL.to_vec();
        wanted.retain(|status| !matches!(status, SandboxStatus::Stopped | SandboxStatus::Error));
    }
    let limit = query.parsed("limit")?.unwrap_or(PAGE);
    if !(1..=PAGE).contains(&limit) {
        return Err(Invalid::new("limit", "must be 1 to 1000").into());
    }
    let mut metadata = BTreeMap::new();
    for pair in query.all("metadata") {
        let (key, value) = pair
            .split_once(':')
            .ok_or_else(|| Invalid::new("metadata", "must be `key:value`"))?;
        metadata.insert(key.to_owned(), value.to_owned());
    }
    let filter = ListFilter {
        states: wanted.into_iter().flat_map(Status::of_wire).collect(),
        template: query.text("template").map(str::to_owned),
        metadata,
        // One more than asked tells whether there is another page.
        limit: limit + 1,
        after: query.parsed("cursor")?,
    };
    Ok((filter, limit))
}

/// A page of sandboxes, and where the next one begins.
pub(super) fn page(
    mut rows: Vec<wrenn_database::SandboxRow>,
    limit: i64,
    actor: &TeamActor,
) -> Response {
    let more = rows.len() as i64 > limit;
    rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let cursor = if more {
        rows.last().map(|row| row.id().to_string())
    } else {
        None
    };
    let rows = rows.into_iter();
    let page: Vec<Sandbox> = rows.map(|row| view::sandbox(row, actor)).collect();
    let mut response = Json(page).into_response();
    if let Some(value) = cursor.and_then(|cursor| HeaderValue::from_str(&cursor).ok()) {
        response.headers_mut().insert(NEXT_CURSOR, value);
    }
    response
}

/// Read one sandbox
///
/// Stopped ones stay readable for 30 days.
#[utoipa::path(
    get, path = "/v1/sandboxes/{id}", tag = "sandboxes", security(("api_key" = []), ("user_token" = [])),
    params(("id" = String, Path)),
    responses(
        (status = 200, body = Sandbox),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 404, body = ErrorBody),
    )
)]
pub(super) async fn get(
    State(app): State<Arc<App>>,
    SandboxOf { row, actor }: SandboxOf,
) -> Json<Sandbox> {
    let disk_used_mb = disk_use(&app, &row).await;
    Json(Sandbox {
        disk_used_mb,
        ..view::sandbox(row, &actor)
    })
}

/// Change settings of a sandbox
#[utoipa::path(
    patch, path = "/{id}", tag = "sandboxes", security(("api_key" = []), ("user_token" = [])),
    params(("id" = String, Path)), request_body = UpdateSandbox,
    responses(
        (status = 200, body = Sandbox),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 415, body = ErrorBody),
    )
)]
pub(super) async fn update(
    State(app): State<Arc<App>>,
    SandboxOf { row, actor }: SandboxOf,
    JsonBody(request): JsonBody<UpdateSandbox>,
) -> ApiResult<Json<Sandbox>> {
    let row = policy::update(&app, &row, &request).await?;
    Ok(Json(view::sandbox(row, &actor)))
}

/// Destroy a sandbox
///
/// From every state, repeatable. Answers when its host confirmed or the intent is durable.
#[utoipa::path(
    delete, path = "/v1/sandboxes/{id}", tag = "sandboxes", security(("api_key" = []), ("user_token" = [])),
    params(("id" = String, Path)),
    responses(
        (status = 204),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 404, body = ErrorBody),
    )
)]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    SandboxOf { row, actor }: SandboxOf,
    Extension(request_id): Extension<RequestId>,
) -> ApiResult<StatusCode> {
    sandbox::destroy(&app, &actor, row, request_id.0).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Pause a sandbox
///
/// Answers when its memory and disk are safe on its host. One that is paused already stays so.
#[utoipa::path(
    post, path = "/{id}/pause", tag = "sandboxes", security(("api_key" = []), ("user_token" = [])),
    params(("id" = String, Path)),
    responses(
        (status = 200, body = Sandbox),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody), (status = 502, body = ErrorBody),
        (status = 504, body = ErrorBody),
    )
)]
pub(super) async fn pause(
    State(app): State<Arc<App>>,
    SandboxOf { row, actor }: SandboxOf,
    Extension(request_id): Extension<RequestId>,
) -> ApiResult<Json<Sandbox>> {
    let row = lifecycle::pause(&app, &actor, row, request_id.0).await?;
    Ok(Json(view::sandbox(row, &actor)))
}

/// Resume a sandbox
///
/// Answers `running` when it is ready within 4.5 s, else `starting`, and the work goes on.
#[utoipa::path(
    post, path = "/{id}/resume", tag = "sandboxes", security(("api_key" = []), ("user_token" = [])),
    params(("id" = String, Path)),
    responses(
        (status = 200, body = Sandbox),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody), (status = 502, body = ErrorBody),
    )
)]
pub(super) async fn resume(
    State(app): State<Arc<App>>,
    SandboxOf { row, actor }: SandboxOf,
    Extension(request_id): Extension<RequestId>,
) -> ApiResult<Json<Sandbox>> {
    let row = lifecycle::resume(&app, &actor, row, request_id.0).await?;
    Ok(Json(view::sandbox(row, &actor)))
}

/// Fork a sandbox
///
/// Makes sandboxes with its memory, programs and files as they are; all or none. It ends as it was.
#[utoipa::path(
    post, path = "/{id}/fork", tag = "sandboxes", security(("api_key" = []), ("user_token" = [])),
    params(("id" = String, Path)), request_body(content = Option<ForkSandbox>),
    responses(
        (status = 201, body = Vec<Sandbox>),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody), (status = 415, body = ErrorBody),
        (status = 502, body = ErrorBody),
    )
)]
pub(super) async fn fork(
    State(app): State<Arc<App>>,
    SandboxOf { row, actor }: SandboxOf,
    Extension(request_id): Extension<RequestId>,
    body: OptionalJsonBody<ForkSandbox>,
) -> ApiResult<(StatusCode, Extension<Subject>, Json<Vec<Sandbox>>)> {
    let children = forks::fork(&app, &actor, row, body.value, request_id.0).await?;
    let subject = Subject::default().fact("count", children.len());
    let children = children.into_iter();
    let children = children.map(|row| view::sandbox(row, &actor)).collect();
    Ok((StatusCode::CREATED, Extension(subject), Json(children)))
}

/// Reset the idle timer
#[utoipa::path(
    post, path = "/{id}/ping", tag = "sandboxes", security(("api_key" = []), ("user_token" = [])),
    params(("id" = String, Path)),
    responses(
        (status = 204),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody),
    )
)]
pub(super) async fn ping(
    State(app): State<Arc<App>>,
    SandboxOf { row, .. }: SandboxOf,
) -> ApiResult<StatusCode> {
    sandbox::ping(&app, &row).await?;
    Ok(StatusCode::NO_CONTENT)
}
