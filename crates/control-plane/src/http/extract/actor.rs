//! `TeamActor`: a live API key of a live team, looked up on each request.
//!
//! A user's JWT with membership is the other proof of the contract; it joins here when accounts do.

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, request::Parts},
};
use wrenn_api::ErrorCode;
use wrenn_database::api_key_actor as find;

use super::super::error::{ApiError, ApiResult};
use crate::{app::TeamActor, auth::api_key, state::App};

fn unauthorized() -> ApiError {
    ApiError::new(
        ErrorCode::Unauthorized,
        "a valid API key is needed in the header X-API-Key",
    )
}

/// The key that a request presents, if any.
pub(crate) fn presented_key(headers: &HeaderMap) -> Option<&str> {
    headers
        .get("x-api-key")
        .and_then(|value| value.to_str().ok())
}

/// Who a key stands for.
pub(crate) async fn api_key_actor(app: &App, key: &str) -> ApiResult<TeamActor> {
    let proof = api_key::hash(key).ok_or_else(unauthorized)?;
    let key = find(&app.db, &proof).await?.ok_or_else(unauthorized)?;
    app.keys_used.note(key.key_id);
    Ok(TeamActor { key, proof })
}

impl FromRequestParts<Arc<App>> for TeamActor {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> ApiResult<Self> {
        let key = presented_key(&parts.headers).ok_or_else(unauthorized)?;
        api_key_actor(app, key).await
    }
}
