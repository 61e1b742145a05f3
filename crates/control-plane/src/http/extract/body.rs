//! JSON bodies: right content type, within the limit, and a fault that names its field.

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
    http::{HeaderMap, StatusCode, header},
};
use serde::de::DeserializeOwned;
use wrenn_api::{ErrorCode, Invalid};

use super::super::error::{ApiError, ApiResult};
use crate::auth::sha256;

/// A JSON body.
pub(crate) struct JsonBody<T>(pub(crate) T);

/// A JSON body that may be absent.
pub(crate) struct OptionalJsonBody<T> {
    pub(crate) value: T,
    bytes: Bytes,
}

impl<T> OptionalJsonBody<T> {
    /// SHA-256 of what was sent.
    pub(crate) fn hash(&self) -> [u8; 32] {
        sha256(&self.bytes)
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> ApiResult<Self> {
        require_json(request.headers())?;
        let bytes = collect(request, state).await?;
        parse(&bytes).map(Self)
    }
}

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for OptionalJsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> ApiResult<Self> {
        let typed = require_json(request.headers());
        let bytes = collect(request, state).await?;
        if bytes.is_empty() {
            return Ok(Self {
                value: T::default(),
                bytes,
            });
        }
        typed?;
        Ok(Self {
            value: parse(&bytes)?,
            bytes,
        })
    }
}

fn require_json(headers: &HeaderMap) -> ApiResult<()> {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = kind
        .and_then(|kind| kind.split(';').next())
        .map(str::trim)
        .unwrap_or_default();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(ApiError::new(
        ErrorCode::UnsupportedMediaType,
        "the body must be application/json",
    ))
}

async fn collect<S: Send + Sync>(request: Request, state: &S) -> ApiResult<Bytes> {
    // A length that is announced too large is refused before a byte of it is read.
    let announced = request.headers().get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > super::super::JSON_LIMIT as u64) {
        return Err(too_large());
    }
    Bytes::from_request(request, state)
        .await
        .map_err(|error| match error.status() {
            StatusCode::PAYLOAD_TOO_LARGE => too_large(),
            _ => ApiError::new(
                ErrorCode::InvalidRequest,
                "the body could not be read to its end",
            ),
        })
}

fn too_large() -> ApiError {
    ApiError::new(
        ErrorCode::TooLarge,
        "the body is larger than this route accepts",
    )
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> ApiResult<T> {
    // A derived struct would take an array for its fields in order.
    if matches!(bytes.trim_ascii_start().first(), Some(b'[')) {
        return Err(ApiError::new(
            ErrorCode::InvalidRequest,
            "the body must be a JSON object",
        ));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let field = error.path().to_string();
        let cause = error.into_inner();
        let text = match cause.classify() {
            serde_json::error::Category::Data => cause.to_string(),
            _ => {
                return ApiError::new(
                    ErrorCode::InvalidRequest,
                    format!("the body is not JSON: {cause}"),
                );
            }
        };
        if field == "." || field == "?" {
            return ApiError::new(
                ErrorCode::InvalidRequest,
                format!("the body is wrong: {text}"),
            );
        }
        ApiError::from(Invalid::new(field, format!("is wrong: {text}")))
    })?;
    json.end().map_err(|error| {
        ApiError::new(
            ErrorCode::InvalidRequest,
            format!("the body is not JSON: {error}"),
        )
    })?;
    Ok(value)
}
