//! `HostIdentity`: a valid host token of the host in the path, which was not revoked.

use std::sync::Arc;

use axum::{extract::FromRequestParts, http::request::Parts};
use wrenn_api::ErrorCode;
use wrenn_database::host_proof;
use wrenn_ids::HostId;

use super::{
    super::error::{ApiError, ApiResult},
    path_id,
};
use crate::{
    app,
    auth::host_token::HostClaim,
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
        let invalid = || {
            let text = "a valid host token is needed in X-Host-Token";
            ApiError::new(ErrorCode::Unauthorized, text)
        };
        let claim = token.and_then(|token| app.host_tokens.verify(token));
        let HostClaim { host, version } = claim.ok_or_else(invalid)?;
        let id: HostId = path_id(parts, app).await?;
        if id != host {
            return Err(ApiError::new(
                ErrorCode::Forbidden,
                "the token belongs to another host",
            ));
        }
        let proof = host_proof(&app.db, host).await?;
        let proof = proof.ok_or_else(|| app::Error::not_found("host"))?;
        if !proof.registered || proof.token_version != version {
            return Err(invalid());
        }
        admit(parts, app, Who::host(host)).await?;
        Ok(Self(host))
    }
}
