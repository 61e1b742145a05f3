//! `SandboxOf`: the path's sandbox, owned by the actor's team; and `AnySandbox`, for administrators.

use std::{str::FromStr, sync::Arc};

use axum::{
    extract::{FromRequestParts, RawPathParams},
    http::request::Parts,
};
use wrenn_api::{ErrorCode, Invalid};
use wrenn_database::{SandboxRow, api_key_actor_with_sandbox, sandbox_get, sandbox_get_of_team};
use wrenn_ids::{ParseIdError, SandboxId};

use super::{
    super::error::{ApiError, ApiResult},
    actor::{ActsFor, known_key, presented_actor, presented_key},
};
use crate::{
    app::{self, TeamActor},
    http::governed::{Who, admit},
    state::App,
};

/// A sandbox that the caller's team owns, and who the caller is.
#[derive(Debug)]
pub(crate) struct SandboxOf {
    pub(crate) row: SandboxRow,
    pub(crate) actor: TeamActor,
}

/// Any team's sandbox, for somebody who administers teams; what is in it stays its team's.
#[derive(Debug)]
pub(crate) struct AnySandbox {
    pub(crate) row: SandboxRow,
    pub(crate) actor: TeamActor,
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

fn not_found(id: SandboxId) -> ApiError {
    ApiError(app::Error::not_found(format_args!("sandbox {id}")))
}

/// The sandbox that the actor may use; for a team, unknown and foreign are one 404.
pub(crate) async fn sandbox_of(
    app: &App,
    actor: &TeamActor,
    id: SandboxId,
) -> ApiResult<SandboxRow> {
    if !actor.is_platform() {
        let row = sandbox_get_of_team(&app.db, id, actor.team()).await?;
        return row.ok_or_else(|| not_found(id));
    }
    let row = sandbox_get(&app.db, id).await?;
    let row = row.ok_or_else(|| not_found(id))?;
    if row.team_id() == actor.team() {
        return Ok(row);
    }
    Err(ApiError::new(
        ErrorCode::Forbidden,
        "what is in a sandbox is its team's: administrators may read its state, and delete it",
    ))
}

impl FromRequestParts<Arc<App>> for SandboxOf {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> ApiResult<Self> {
        let id = path_id(parts, app).await;
        // Who it is comes before what they ask for, also where both are read at once.
        if let (Some(key), Ok(id)) = (presented_key(&parts.headers), &id) {
            let hash = ActsFor::of(&parts.extensions).key_hash(key)?;
            let found = api_key_actor_with_sandbox(&app.db, &hash, *id).await?;
            let (key, row) = found.unzip();
            let actor = known_key(app, key, hash)?;
            admit(parts, app, Who::actor(&actor)).await?;
            let row = row.flatten().ok_or_else(|| not_found(*id))?;
            return Ok(Self { row, actor });
        }
        let actor = TeamActor::from_request_parts(parts, app).await?;
        Ok(Self {
            row: sandbox_of(app, &actor, id?).await?,
            actor,
        })
    }
}

impl FromRequestParts<Arc<App>> for AnySandbox {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> ApiResult<Self> {
        let actor = presented_actor(parts, app).await?;
        let id: ApiResult<SandboxId> = path_id(parts, app).await;
        let row = match &id {
            Ok(id) => sandbox_get(&app.db, *id).await?,
            Err(_) => None,
        };
        // Its team reads in its log who looked after its sandbox.
        let mut who = Who::actor(&actor);
        if let Some(row) = &row {
            who = who.in_log_of(row.team_id());
        }
        admit(parts, app, who).await?;
        let id = id?;
        let row = row.ok_or_else(|| not_found(id))?;
        Ok(Self { row, actor })
    }
}
