//! Errors as answers: the envelope of the contract, and the one place where failures are logged.

use std::any::Any;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use wrenn_api::{ErrorBody, ErrorCode, ErrorInfo, error::Detail};

use crate::app;

/// An error on its way out.
#[derive(Debug)]
pub(crate) struct ApiError(pub(crate) app::Error);

/// Outcome of a handler.
pub(crate) type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self(app::Error::new(code, message))
    }
}

impl<E: Into<app::Error>> From<E> for ApiError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let error = self.0;
        let code = error.code;
        let status =
            StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if code == ErrorCode::InternalError {
            tracing::error!(code = code.as_str(), cause = ?error, "request failed");
        } else if status.is_server_error() {
            tracing::warn!(code = code.as_str(), cause = ?error, "request failed");
        } else {
            tracing::debug!(code = code.as_str(), cause = ?error, "request refused");
        }
        let app::Error {
            code,
            message,
            details,
            ..
        } = error;
        let retry_after = match details.get("retry_after") {
            Some(Detail::Number(seconds)) => Some(*seconds),
            _ => None,
        };
        let body = ErrorBody {
            error: ErrorInfo {
                code,
                message,
                details,
            },
        };
        let mut response = (status, Json(body)).into_response();
        // For the audit log.
        response.extensions_mut().insert(code);
        if let (ErrorCode::RateLimited, Some(after)) = (code, retry_after) {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(after));
        }
        if code == ErrorCode::Unavailable {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
        }
        response
    }
}

/// A handler panicked: a defect, answered like any other.
pub(super) fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("unknown panic");
    ApiError(app::Error::internal(text.to_owned())).into_response()
}
