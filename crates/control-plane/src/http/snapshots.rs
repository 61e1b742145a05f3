//! `/v1/snapshots`.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use wrenn_api::{CreateSnapshot, ErrorBody, Invalid, Template, template::TemplateType};

use super::{
    error::ApiResult,
    extract::{JsonBody, Query},
    governed::Subject,
    idempotency::{REPLAYED, idempotency},
    middleware::RequestId,
    view,
};
use crate::{
    app::{self, TeamActor, snapshot, snapshot::Existing},
    auth::sha256,
    state::App,
};

/// Make a snapshot of a sandbox
///
/// A template with its memory, programs and files. The sandbox ends as it was.
#[utoipa::path(
    post, path = "/v1/snapshots", tag = "snapshots", security(("api_key" = []), ("user_token" = [])),
    params(
        ("overwrite" = Option<bool>, Query, description = "Delete the team's template of this name first; default false"),
        ("Idempotency-Key" = Option<String>, Header, description = "Repeats answer the first outcome for 24 h"),
    ),
    request_body = CreateSnapshot,
    responses(
        (status = 201, body = Template),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody), (status = 415, body = ErrorBody), (status = 502, body = ErrorBody),
        (status = 504, body = ErrorBody),
    )
)]
pub(super) async fn create(
    State(app): State<Arc<App>>,
    actor: TeamActor,
    Extension(request_id): Extension<RequestId>,
    headers: HeaderMap,
    query: Query,
    JsonBody(request): JsonBody<CreateSnapshot>,
) -> ApiResult<Response> {
    make(&app, &actor, request, &headers, &query, request_id).await
}

/// Makes it, as the query and the headers say.
pub(super) async fn make(
    app: &Arc<App>,
    actor: &TeamActor,
    request: CreateSnapshot,
    headers: &HeaderMap,
    query: &Query,
    request_id: RequestId,
) -> ApiResult<Response> {
    let existing = match query.text("overwrite") {
        None | Some("false") => Existing::Keep,
        Some("true") => Existing::Replace,
        Some(_) => return Err(Invalid::new("overwrite", "must be true or false").into()),
    };
    let source = request.sandbox_id;
    let body = serde_json::to_vec(&request).map_err(app::Error::internal)?;
    let repeated = idempotency(headers, sha256(&body))?;
    let made = snapshot::create(app, actor, request, existing, repeated, request_id.0).await?;
    let subject = Subject::of(&made.template.name).fact("sandbox_id", source);
    let body = Json(view::template(made.template));
    let mut response = (StatusCode::CREATED, Extension(subject), body).into_response();
    if made.replayed {
        response
            .headers_mut()
            .insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// List templates
///
/// The team's own and those of the platform, newest first.
#[utoipa::path(
    get, path = "/v1/snapshots", tag = "snapshots", security(("api_key" = []), ("user_token" = [])),
    params(("type" = Option<TemplateType>, Query)),
    responses(
        (status = 200, body = Vec<Template>),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
    )
)]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    actor: TeamActor,
    query: Query,
) -> ApiResult<Json<Vec<Template>>> {
    let kind: Option<TemplateType> = query.parsed("type")?;
    let rows = snapshot::list(&app, &actor, kind).await?;
    Ok(Json(rows.into_iter().map(view::template).collect()))
}

/// Delete a template
///
/// By name or id. Its files are deleted on every host that can be reached, on the others when they are back.
#[utoipa::path(
    delete, path = "/v1/snapshots/{name}", tag = "snapshots", security(("api_key" = []), ("user_token" = [])),
    params(("name" = String, Path, description = "Name or id")),
    responses(
        (status = 204), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody), (status = 502, body = ErrorBody),
    )
)]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    actor: TeamActor,
    Path(name): Path<String>,
) -> ApiResult<StatusCode> {
    snapshot::delete(&app, &actor, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}
