//! `TeamActor`: a live API key of a live team, or a member of one, looked up on each request.

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, request::Parts},
};
use wrenn_api::ErrorCode;
use wrenn_database::api_key_actor as find;

use super::{
    super::error::{ApiError, ApiResult},
    user::{member, presented_token},
};
use crate::{
    app::TeamActor,
    auth::api_key,
    http::governed::{Who, admit},
    state::App,
};

fn unauthorized() -> ApiError {
    ApiError::new(
        ErrorCode::Unauthorized,
        "a valid API key is needed in the header X-API-Key, or a user token as Authorization: Bearer",
    )
}

/// The key that a request presents, if any.
pub(crate) fn presented_key(headers: &HeaderMap) -> Option<&str> {
    headers
        .get("x-api-key")
        .map(|value| value.to_str().unwrap_or_default())
}

/// Who a key stands for.
pub(crate) async fn api_key_actor(app: &App, key: &str) -> ApiResult<TeamActor> {
    let hash = api_key::hash(key).ok_or_else(unauthorized)?;
    let key = find(&app.db, &hash).await?.ok_or_else(unauthorized)?;
    app.keys_used.note(key.key_id);
    Ok(TeamActor::of_key(key, hash))
}

/// Who a user token stands for in its team.
pub(crate) async fn token_actor(app: &App, token: &str) -> ApiResult<TeamActor> {
    member(app, token, None).await.map(TeamActor::from)
}

impl FromRequestParts<Arc<App>> for TeamActor {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> ApiResult<Self> {
        // With two credentials on one request, the key is the one.
        let actor = match presented_key(&parts.headers) {
            Some(key) => api_key_actor(app, key).await?,
            None => {
                let token = presented_token(&parts.headers).ok_or_else(unauthorized)?;
                token_actor(app, token).await?
            }
        };
        admit(parts, app, Who::actor(&actor)).await?;
        Ok(actor)
    }
}
