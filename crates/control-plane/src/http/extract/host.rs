//! `HostIdentity`: a valid host token whose host is the one in the path.

use std::sync::Arc;

use axum::{extract::FromRequestParts, http::request::Parts};
use wrenn_api::ErrorCode;
use wrenn_ids::HostId;

use super::{
    super::error::{ApiError, ApiResult},
    path_id,
};
use crate::{
    http::governed::{Who, admit},
    state::App,
};

/// The host that calls.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HostIdentity(pub(crate) HostId);

impl FromRequestParts<Arc<App>> for HostIdentity {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> ApiResult<Self> {
        let token = parts
            .headers
            .get("x-host-token")
            .and_then(|value| value.to_str().ok());
        let host = token
            .and_then(|token| app.host_tokens.verify(token))
            .ok_or_else(|| {
                ApiError::new(
                    ErrorCode::Unauthorized,
                    "a valid host token is needed in X-Host-Token",
                )
            })?;
        let id: HostId = path_id(parts, app).await?;
        if id != host {
            return Err(ApiError::new(
                ErrorCode::Forbidden,
                "the token belongs to another host",
            ));
        }
        admit(parts, app, Who::host(host)).await?;
        Ok(Self(host))
    }
}
