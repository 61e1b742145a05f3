//! `SandboxOf`: the path's sandbox, owned by the actor's team.

use std::{str::FromStr, sync::Arc};

use axum::{
    extract::{FromRequestParts, RawPathParams},
    http::request::Parts,
};
use wrenn_api::Invalid;
use wrenn_database::{SandboxRow, sandbox_get_of_team};
use wrenn_ids::{ParseIdError, SandboxId};

use super::super::error::{ApiError, ApiResult};
use crate::{
    app::{self, TeamActor},
    state::App,
};

/// A sandbox that the caller's team owns.
#[derive(Debug)]
pub(crate) struct SandboxOf {
    pub(crate) row: SandboxRow,
}

/// The `id` of the path: malformed is 400.
pub(crate) async fn path_id<T>(parts: &mut Parts, app: &Arc<App>) -> ApiResult<T>
where
    T: FromStr<Err = ParseIdError>,
{
    let params = RawPathParams::from_request_parts(parts, app).await;
    let invalid = |reason: String| ApiError::from(Invalid::new("id", reason));
    let params = params.map_err(|_| invalid("is not valid UTF-8".to_owned()))?;
    let text = params
        .iter()
        .find(|(name, _)| *name == "id")
        .map_or("", |(_, value)| value);
    text.parse()
        .map_err(|error: ParseIdError| invalid(error.to_string()))
}

/// The team's sandbox; unknown and foreign are one 404.
pub(crate) async fn sandbox_of(
    app: &App,
    actor: &TeamActor,
    id: SandboxId,
) -> ApiResult<SandboxRow> {
    let row = sandbox_get_of_team(&app.db, id, actor.team()).await?;
    Ok(row.ok_or_else(|| app::Error::not_found(format_args!("sandbox {id}")))?)
}

impl FromRequestParts<Arc<App>> for SandboxOf {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> ApiResult<Self> {
        let actor = TeamActor::from_request_parts(parts, app).await?;
        let id = path_id(parts, app).await?;
        Ok(Self {
            row: sandbox_of(app, &actor, id).await?,
        })
    }
}
