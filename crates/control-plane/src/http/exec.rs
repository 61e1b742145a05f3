//! `POST /v1/sandboxes/{id}/exec`.

use std::sync::Arc;

use axum::{Json, extract::State};
use wrenn_api::{ErrorBody, Exec, ExecResult};

use super::{
    error::ApiResult,
    extract::{JsonBody, SandboxOf},
};
use crate::{app::exec as programs, state::App};

/// Run a program
///
/// Waits for its end. A missing program is exit code 127; output that is not UTF-8 comes as base64.
#[utoipa::path(
    post, path = "/v1/sandboxes/{id}/exec", tag = "processes", security(("api_key" = [])),
    params(("id" = String, Path)), request_body = Exec,
    responses(
        (status = 200, body = ExecResult),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody), (status = 413, body = ErrorBody), (status = 415, body = ErrorBody),
        (status = 501, body = ErrorBody), (status = 502, body = ErrorBody), (status = 503, body = ErrorBody),
        (status = 504, body = ErrorBody),
    )
)]
pub(super) async fn exec(
    State(app): State<Arc<App>>,
    SandboxOf { row }: SandboxOf,
    JsonBody(request): JsonBody<Exec>,
) -> ApiResult<Json<ExecResult>> {
    Ok(Json(programs::run(&app, &row, request).await?))
}
