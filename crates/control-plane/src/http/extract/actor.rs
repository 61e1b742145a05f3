//! `TeamActor`: a live API key of a live team, or a member of one, looked up on each request. Below
//! `/v1/admin/` it is a person who administers teams, who acts for the platform's own.

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{Extensions, HeaderMap, request::Parts},
};
use wrenn_api::{ErrorCode, Permission};
use wrenn_database::{KeyActor, api_key_actor};

use super::{
    super::error::{ApiError, ApiResult},
    user::{administrator, member, presented_token},
};
use crate::{
    app::TeamActor,
    auth::api_key,
    http::governed::{Who, admit},
    state::App,
};

/// For whom the routes of a router act; the router table lays it around those of the platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ActsFor {
    /// The team of the credential.
    Team,
    /// The platform's team.
    Platform,
}

impl ActsFor {
    /// For whom the matched route acts.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        extensions.get().copied().unwrap_or(Self::Team)
    }

    /// Who a key stands for.
    pub(crate) async fn key_actor(self, app: &App, key: &str) -> ApiResult<TeamActor> {
        let hash = self.key_hash(key)?;
        let key = api_key_actor(&app.db, &hash).await?;
        known_key(app, key, hash)
    }

    /// The hash under which a key is known.
    pub(super) fn key_hash(self, key: &str) -> ApiResult<[u8; 32]> {
        match self {
            Self::Team => api_key::hash(key).ok_or_else(unauthorized),
            // Keys act for their teams, and for nobody else.
            Self::Platform => Err(unauthorized()),
        }
    }

    /// Who a user token stands for.
    pub(crate) async fn token_actor(self, app: &App, token: &str) -> ApiResult<TeamActor> {
        match self {
            Self::Team => member(app, token, None).await.map(TeamActor::from),
            Self::Platform => administrator(app, token, Some(Permission::Teams))
                .await
                .map(TeamActor::of_platform),
        }
    }
}

/// The actor behind a key that was looked up.
pub(super) fn known_key(app: &App, key: Option<KeyActor>, hash: [u8; 32]) -> ApiResult<TeamActor> {
    let key = key.ok_or_else(unauthorized)?;
    app.keys_used.note(key.key_id);
    Ok(TeamActor::of_key(key, hash))
}

pub(super) fn unauthorized() -> ApiError {
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

/// Who a request's credential stands for; of two on one request, the key is the one.
pub(super) async fn presented_actor(parts: &Parts, app: &App) -> ApiResult<TeamActor> {
    let acts_for = ActsFor::of(&parts.extensions);
    match presented_key(&parts.headers) {
        Some(key) => acts_for.key_actor(app, key).await,
        None => {
            let token = presented_token(&parts.headers).ok_or_else(unauthorized)?;
            acts_for.token_actor(app, token).await
        }
    }
}

impl FromRequestParts<Arc<App>> for TeamActor {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> ApiResult<Self> {
        let actor = presented_actor(parts, app).await?;
        admit(parts, app, Who::actor(&actor)).await?;
        Ok(actor)
    }
}
