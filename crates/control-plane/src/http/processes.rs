//! `/v1/sandboxes/{id}/processes`.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use wrenn_api::{ErrorBody, ProcessSelector, Processes, Signal};

use super::{
    error::ApiResult,
    extract::{Query, SandboxOf},
};
use crate::{app::processes, state::App};

/// List processes
///
/// Those that were started through the API and live.
#[utoipa::path(
    get, path = "/{id}/processes", tag = "processes", security(("api_key" = []), ("user_token" = [])),
    params(("id" = String, Path)),
    responses(
        (status = 200, body = Processes),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody), (status = 502, body = ErrorBody),
    )
)]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    SandboxOf { row, .. }: SandboxOf,
) -> ApiResult<Json<Processes>> {
    Ok(Json(processes::list(&app, &row).await?))
}

/// End a process
///
/// Its whole process group gets the signal.
#[utoipa::path(
    delete, path = "/{id}/processes/{process}", tag = "processes", security(("api_key" = []), ("user_token" = [])),
    params(
        ("id" = String, Path),
        ("process" = String, Path, description = "Digits are a process id, all else is a tag"),
        ("signal" = Option<Signal>, Query, description = "Default `SIGKILL`"),
    ),
    responses(
        (status = 204),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody), (status = 502, body = ErrorBody),
    )
)]
pub(super) async fn signal(
    State(app): State<Arc<App>>,
    SandboxOf { row, .. }: SandboxOf,
    names: Path<(String, String)>,
    query: Query,
) -> ApiResult<StatusCode> {
    let Path((_, process)) = names;
    let process: ProcessSelector = process.parse()?;
    let signal = query.parsed("signal")?.unwrap_or(Signal::Kill);
    processes::signal(&app, &row, process, signal).await?;
    Ok(StatusCode::NO_CONTENT)
}
