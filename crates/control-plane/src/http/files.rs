//! `/v1/sandboxes/{id}/files/…`: bytes in both directions, never collected.

use std::sync::Arc;

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, Multipart, Request, State, multipart::Field},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::{Stream, TryStreamExt, stream};
use wrenn_api::{
    ErrorBody, ErrorCode, Invalid,
    file::{FilePath, Upload},
};
use wrenn_database::SandboxRow;

use super::{
    error::{ApiError, ApiResult},
    extract::{JsonBody, SandboxOf},
};
use crate::{app, app::files as guest_files, state::App};

/// Largest upload of `files/write`.
const WRITE_LIMIT: u64 = 100 << 20;
/// Largest upload of `files/stream/write`.
const STREAM_LIMIT: u64 = 10 << 30;
/// Longest `path` part with its trailing bytes.
const PATH_LIMIT: usize = 4096;

/// Write a file
///
/// Multipart: part `path`, then part `file`. Parents are made; at most 100 MiB.
#[utoipa::path(
    post, path = "/{id}/files/write", tag = "files", security(("api_key" = []), ("user_token" = [])),
    params(("id" = String, Path)),
    request_body(content = Upload, content_type = "multipart/form-data"),
    responses(
        (status = 204),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody), (status = 413, body = ErrorBody), (status = 415, body = ErrorBody),
    )
)]
pub(super) async fn write(
    State(app): State<Arc<App>>,
    SandboxOf { row, .. }: SandboxOf,
    request: Request,
) -> ApiResult<StatusCode> {
    upload(&app, &row, WRITE_LIMIT, request).await
}

/// Write a file of any length
///
/// As `files/write`, at most 10 GiB; chunked bodies are accepted.
#[utoipa::path(
    post, path = "/{id}/files/stream/write", tag = "files", security(("api_key" = []), ("user_token" = [])),
    params(("id" = String, Path)),
    request_body(content = Upload, content_type = "multipart/form-data"),
    responses(
        (status = 204),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody), (status = 413, body = ErrorBody), (status = 415, body = ErrorBody),
    )
)]
pub(super) async fn stream_write(
    State(app): State<Arc<App>>,
    SandboxOf { row, .. }: SandboxOf,
    request: Request,
) -> ApiResult<StatusCode> {
    upload(&app, &row, STREAM_LIMIT, request).await
}

async fn upload(
    app: &Arc<App>,
    row: &SandboxRow,
    limit: u64,
    request: Request,
) -> ApiResult<StatusCode> {
    let mut form = Multipart::from_request(request, app).await.map_err(|_| {
        ApiError::new(
            ErrorCode::UnsupportedMediaType,
            "the body must be multipart/form-data",
        )
    })?;
    let path = match form.next_field().await.map_err(|error| bad_form(&error))? {
        Some(field) if field.name() == Some("path") => path_text(field).await?,
        _ => return Err(Invalid::new("path", "must be the first part of the form").into()),
    };
    let field = form.next_field().await.map_err(|error| bad_form(&error))?;
    let field = match field {
        Some(field) if field.name() == Some("file") => field,
        _ => return Err(Invalid::new("file", "must be the part after `path`").into()),
    };
    guest_files::write(app, row, path, limit, bytes_of(field)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn path_text(mut field: Field<'_>) -> ApiResult<String> {
    let invalid = || ApiError::from(Invalid::new("path", "must be 1 to 4096 bytes of UTF-8"));
    let mut text = Vec::new();
    let stalled = tokio::time::timeout(guest_files::NO_PROGRESS, async {
        while let Some(chunk) = field.chunk().await.map_err(|error| bad_form(&error))? {
            text.extend_from_slice(&chunk);
            if text.len() > PATH_LIMIT {
                return Err(invalid());
            }
        }
        Ok(())
    });
    stalled.await.map_err(|_| {
        ApiError::new(
            ErrorCode::DeadlineExceeded,
            "the form made no progress for 60 s",
        )
    })??;
    String::from_utf8(text).map_err(|_| invalid())
}

fn bytes_of(field: Field<'_>) -> impl Stream<Item = app::Result<Bytes>> + '_ {
    stream::try_unfold(field, |mut field| async move {
        let chunk = field.chunk().await.map_err(|error| bad_form(&error).0)?;
        Ok(chunk.map(|chunk| (chunk, field)))
    })
}

fn bad_form(error: &axum::extract::multipart::MultipartError) -> ApiError {
    ApiError::new(
        ErrorCode::InvalidRequest,
        format!("the form is broken: {error}"),
    )
}

/// Read a file
#[utoipa::path(
    post, path = "/{id}/files/read", tag = "files", security(("api_key" = []), ("user_token" = [])),
    params(("id" = String, Path)), request_body = FilePath,
    responses(
        (status = 200, content_type = "application/octet-stream", body = [u8]),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody), (status = 415, body = ErrorBody),
    )
)]
pub(super) async fn read(
    State(app): State<Arc<App>>,
    SandboxOf { row, .. }: SandboxOf,
    JsonBody(request): JsonBody<FilePath>,
) -> ApiResult<Response> {
    download(&app, &row, request).await
}

/// Read a file as a stream
///
/// A missing file is a 404 before any byte; a failure later aborts the connection.
#[utoipa::path(
    post, path = "/{id}/files/stream/read", tag = "files", security(("api_key" = []), ("user_token" = [])),
    params(("id" = String, Path)), request_body = FilePath,
    responses(
        (status = 200, content_type = "application/octet-stream", body = [u8]),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody), (status = 415, body = ErrorBody),
    )
)]
pub(super) async fn stream_read(
    State(app): State<Arc<App>>,
    SandboxOf { row, .. }: SandboxOf,
    JsonBody(request): JsonBody<FilePath>,
) -> ApiResult<Response> {
    download(&app, &row, request).await
}

async fn download(app: &Arc<App>, row: &SandboxRow, request: FilePath) -> ApiResult<Response> {
    let pieces = guest_files::read(app, row, request).await?;
    // The length is not announced: a file that changes while it is read would break the promise.
    let sandbox_id = row.id();
    let pieces = pieces.inspect_err(move |error| {
        tracing::warn!(%sandbox_id, cause = ?error, "a download was cut");
    });
    let mut response = Body::from_stream(pieces).into_response();
    let kind = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}
