//! The headers of repeatable requests.

use axum::http::{HeaderMap, HeaderName};
use wrenn_api::grammar;

use super::error::ApiResult;
use crate::app::idempotency::Idempotency;

/// Set on an answer that is an earlier request's.
pub(super) const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The caller's key, if there is one, with SHA-256 of the body.
pub(super) fn idempotency(
    headers: &HeaderMap,
    body_hash: [u8; 32],
) -> ApiResult<Option<Idempotency>> {
    let Some(key) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let key = key.to_str().unwrap_or_default();
    grammar::idempotency_key("Idempotency-Key", key)?;
    Ok(Some(Idempotency {
        key: key.to_owned(),
        body_hash,
    }))
}
