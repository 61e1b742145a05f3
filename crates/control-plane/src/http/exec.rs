//! `POST /v1/sandboxes/{id}/exec`.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use wrenn_api::{BackgroundExec, ErrorBody, Exec, ExecResult};

use super::{
    error::ApiResult,
    extract::{JsonBody, SandboxOf},
};
use crate::{app::exec as programs, state::App};

/// Run a program
///
/// Waits for its end. A missing program is exit code 127; output that is not UTF-8 comes as base64.
/// With `background` it answers at once and the program runs on under its tag.
#[utoipa::path(
    post, path = "/{id}/exec", tag = "processes", security(("api_key" = []), ("user_token" = [])),
    params(("id" = String, Path)), request_body = Exec,
    responses(
        (status = 200, body = ExecResult), (status = 202, body = BackgroundExec),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody), (status = 413, body = ErrorBody), (status = 415, body = ErrorBody),
        (status = 502, body = ErrorBody),
        (status = 504, body = ErrorBody),
    )
)]
pub(super) async fn exec(
    State(app): State<Arc<App>>,
    SandboxOf { row, .. }: SandboxOf,
    JsonBody(request): JsonBody<Exec>,
) -> ApiResult<Response> {
    if request.background == Some(true) {
        let started = programs::start_background(&app, &row, request).await?;
        return Ok((StatusCode::ACCEPTED, Json(started)).into_response());
    }
    Ok(Json(programs::run(&app, &row, request).await?).into_response())
}
