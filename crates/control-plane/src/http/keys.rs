//! `/v1/api-keys`: what programs act for a team with.

use std::sync::Arc;

use axum::{Extension, Json, extract::State, http::StatusCode};
use wrenn_api::{
    ErrorBody,
    api_key::{ApiKey, CreateApiKey},
};
use wrenn_ids::KeyId;

use super::{
    error::ApiResult,
    extract::{Id, JsonBody, TeamMember},
    governed::Subject,
    view,
};
use crate::{app::key, state::App};

/// Make an API key
///
/// `key` is in this answer and never again.
#[utoipa::path(
    post, path = "/v1/api-keys", tag = "keys", security(("user_token" = [])), request_body = CreateApiKey,
    responses(
        (status = 201, body = ApiKey), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 409, body = ErrorBody),
        (status = 413, body = ErrorBody), (status = 415, body = ErrorBody),
    )
)]
pub(super) async fn create(
    State(app): State<Arc<App>>,
    TeamMember(member): TeamMember,
    JsonBody(request): JsonBody<CreateApiKey>,
) -> ApiResult<(StatusCode, Extension<Subject>, Json<ApiKey>)> {
    let made = key::create(&app, &member, &request).await?;
    let subject =
        Subject::of(KeyId::from_uuid(made.row.id)).fact("key_prefix", &made.row.key_prefix);
    let body = ApiKey {
        key: Some(made.text),
        ..view::api_key(made.row)
    };
    Ok((StatusCode::CREATED, Extension(subject), Json(body)))
}

/// List API keys
#[utoipa::path(
    get, path = "/v1/api-keys", tag = "keys", security(("user_token" = [])),
    responses(
        (status = 200, body = Vec<ApiKey>), (status = 401, body = ErrorBody),
    )
)]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    TeamMember(member): TeamMember,
) -> ApiResult<Json<Vec<ApiKey>>> {
    let rows = key::list(&app, &member).await?;
    Ok(Json(rows.into_iter().map(view::api_key).collect()))
}

/// Revoke an API key
///
/// Effective with the next request, and within 5 s on what is open. One that is not there is revoked already.
#[utoipa::path(
    delete, path = "/v1/api-keys/{id}", tag = "keys", security(("user_token" = [])),
    params(("id" = String, Path)),
    responses(
        (status = 204), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
    )
)]
pub(super) async fn revoke(
    State(app): State<Arc<App>>,
    TeamMember(member): TeamMember,
    Id(id): Id<KeyId>,
) -> ApiResult<StatusCode> {
    key::revoke(&app, &member, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
