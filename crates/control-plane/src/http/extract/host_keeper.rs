//! Whose hosts a person sees, who may add one, and `HostKeeper`: who looks after the host of the path.
//!
//! People who administer hosts are for all of them, members of a team for those that it brought; of those its
//! administrators and owner may change something.

use std::sync::Arc;

use axum::{extract::FromRequestParts, http::request::Parts};
use wrenn_api::{Permission, Role};
use wrenn_database::host_get;
use wrenn_ids::{HostId, TeamId};

use super::{
    super::error::{ApiError, ApiResult},
    path_id,
    user::{Proven, as_member, forbidden, prove, token_alone},
};
use crate::{
    app::{self, HostAdder, HostKeeper, HostsSeen},
    http::governed::{Who, admit},
    state::App,
};

/// The person behind a request, and whether they administer hosts.
async fn person(parts: &Parts, app: &App) -> ApiResult<(Proven, bool)> {
    let proven = prove(app, token_alone(&parts.headers)?, None).await?;
    let administers = proven.caller.administers(Some(Permission::Hosts));
    Ok((proven, administers))
}

impl FromRequestParts<Arc<App>> for HostsSeen {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> ApiResult<Self> {
        let (proven, administers) = person(parts, app).await?;
        if administers {
            admit(parts, app, Who::caller(&proven.caller)).await?;
            return Ok(Self::All);
        }
        let member = as_member(proven)?;
        admit(parts, app, Who::member(&member)).await?;
        Ok(Self::OfTeam(member.team))
    }
}

impl FromRequestParts<Arc<App>> for HostAdder {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> ApiResult<Self> {
        let (proven, administers) = person(parts, app).await?;
        if administers {
            admit(parts, app, Who::caller(&proven.caller)).await?;
            return Ok(Self::Platform(proven.caller));
        }
        let member = as_member(proven)?;
        admit(parts, app, Who::member(&member)).await?;
        Ok(Self::Team(member))
    }
}

impl FromRequestParts<Arc<App>> for HostKeeper {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> ApiResult<Self> {
        let (proven, administers) = person(parts, app).await?;
        let by = proven.caller.id;
        let id: ApiResult<HostId> = path_id(parts, app).await;
        let row = match &id {
            Ok(id) => host_get(&app.db, *id).await?,
            Err(_) => None,
        };
        let known = row.is_some();
        let team = row.and_then(|row| row.team_id).map(TeamId::from_uuid);
        let unknown = |id| ApiError(app::Error::not_found(format_args!("host {id}")));
        if administers {
            let mut who = Who::caller(&proven.caller);
            // A team reads in its log who looked after its host.
            if let Some(team) = team {
                who = who.in_log_of(team);
            }
            admit(parts, app, who).await?;
            let host = id?;
            if !known {
                return Err(unknown(host));
            }
            return Ok(Self {
                host,
                by,
                seen: HostsSeen::All,
            });
        }
        let member = as_member(proven)?;
        admit(parts, app, Who::member(&member)).await?;
        let host = id?;
        if team != Some(member.team) {
            return Err(unknown(host));
        }
        if member.role < Role::Admin {
            return Err(forbidden("this needs the role admin"));
        }
        Ok(Self {
            host,
            by,
            seen: HostsSeen::OfTeam(member.team),
        })
    }
}
