//! People: `User`, `TeamMember`, `TeamAdmin`, `TeamOwner`, `PlatformAdmin`.
//!
//! Each is one statement. What a token claims is only who came and which team they mean; whether they
//! may is what the database says now.

use std::{marker::PhantomData, sync::Arc};

use axum::{
    extract::{FromRequestParts, RawPathParams},
    http::{HeaderMap, header, request::Parts},
};
use wrenn_api::{ErrorCode, Invalid, Permission, Role};
use wrenn_database::user_proof;
use wrenn_ids::TeamId;

use super::super::error::{ApiError, ApiResult};
use crate::{
    app::{Caller, Member},
    http::governed::{Who, admit},
    state::App,
};

/// A person with a valid token.
pub(crate) struct User(pub(crate) Caller);

/// A member of the path's team, or of the token's where the path has none.
pub(crate) struct TeamMember(pub(crate) Member);

/// As [`TeamMember`], with the role admin or owner.
pub(crate) struct TeamAdmin(pub(crate) Member);

/// As [`TeamMember`], with the role owner.
pub(crate) struct TeamOwner(pub(crate) Member);

/// A person who administers the part `P` of the platform, or all of it.
pub(crate) struct PlatformAdmin<P>(pub(crate) Caller, PhantomData<P>);

/// A part of the platform, as a type.
pub(crate) trait Part {
    /// What opens it beside `is_admin`; `None`: nothing does.
    const PERMISSION: Option<Permission>;
}

macro_rules! parts {
    ($($(#[$doc:meta])* $name:ident = $permission:expr;)*) => {$(
        $(#[$doc])*
        pub(crate) struct $name;
        impl Part for $name {
            const PERMISSION: Option<Permission> = $permission;
        }
    )*};
}

parts! {
    /// Platform templates and builds.
    Templates = Some(Permission::Templates);
    /// Teams, their quotas and their sandboxes.
    Teams = Some(Permission::Teams);
    /// People.
    Users = Some(Permission::Users);
    /// The audit log of all teams.
    Audit = Some(Permission::Audit);
    /// What only administrators of everything may: to make more of them.
    Everything = None;
}

fn unauthorized() -> ApiError {
    ApiError::new(
        ErrorCode::Unauthorized,
        "a valid user token is needed as Authorization: Bearer",
    )
}

pub(super) fn forbidden(message: &str) -> ApiError {
    ApiError::new(ErrorCode::Forbidden, message)
}

/// The user token that a request presents in its header, if any.
pub(crate) fn presented_token(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// A person, and what they are in the team that was asked about, if one was.
pub(super) struct Proven {
    pub(super) caller: Caller,
    place: Option<(TeamId, Option<Role>)>,
    is_byoc: bool,
}

/// The person behind a token and their role in `team`, or where that is absent in the token's team.
pub(super) async fn prove(app: &App, token: &str, team: Option<TeamId>) -> ApiResult<Proven> {
    let claims = app.user_tokens.verify(token).ok_or_else(unauthorized)?;
    let team = team.or(claims.team_id);
    let proof = user_proof(&app.db, claims.sub, claims.sid, team)
        .await?
        .ok_or_else(unauthorized)?;
    if !proof.active {
        return Err(ApiError::new(
            ErrorCode::AccountDeactivated,
            "this account is not active any more",
        ));
    }
    if proof.token_version != claims.tv || !proof.session_live {
        return Err(unauthorized());
    }
    let caller = Caller {
        id: claims.sub,
        email: proof.email,
        name: proof.name,
        team: claims.team_id,
        session: claims.sid,
        token_version: proof.token_version,
        is_admin: proof.is_admin,
        permissions: proof.permissions,
    };
    Ok(Proven {
        caller,
        place: team.map(|team| (team, proof.role)),
        is_byoc: proof.is_byoc,
    })
}

/// The member behind a token, of `team` or of the token's team.
pub(crate) async fn member(app: &App, token: &str, team: Option<TeamId>) -> ApiResult<Member> {
    as_member(prove(app, token, team).await?)
}

pub(super) fn as_member(proven: Proven) -> ApiResult<Member> {
    let (team, role) = proven.place.ok_or_else(|| {
        ApiError::new(
            ErrorCode::NoTeam,
            "the token names no team; switch to one first",
        )
    })?;
    // One text for teams of others and teams that do not exist.
    let role = role.ok_or_else(|| forbidden("you are not a member of this team"))?;
    Ok(Member {
        caller: proven.caller,
        team,
        role,
        is_byoc: proven.is_byoc,
    })
}

/// The person behind a token, who administers this part of the platform, or with `None` all of it.
pub(crate) async fn administrator(
    app: &App,
    token: &str,
    part: Option<Permission>,
) -> ApiResult<Caller> {
    let caller = prove(app, token, None).await?.caller;
    if caller.administers(part) {
        return Ok(caller);
    }
    Err(forbidden("this needs an administrator of the platform"))
}

/// The `team_id` of the path, where it has one; malformed is 400.
async fn path_team(parts: &mut Parts, app: &Arc<App>) -> ApiResult<Option<TeamId>> {
    let invalid = |reason: String| ApiError::from(Invalid::new("team_id", reason));
    let params = RawPathParams::from_request_parts(parts, app)
        .await
        .map_err(|_| invalid("is not valid UTF-8".to_owned()))?;
    params
        .iter()
        .find(|(name, _)| *name == "team_id")
        .map(|(_, text)| text.parse().map_err(|error| invalid(format!("{error}"))))
        .transpose()
}

/// The user token that a request presents. A key has none of these rights, and it wins over a token beside it.
pub(super) fn token_alone(headers: &HeaderMap) -> ApiResult<&str> {
    match super::presented_key(headers) {
        Some(_) => Err(unauthorized()),
        None => presented_token(headers).ok_or_else(unauthorized),
    }
}

async fn at_least(parts: &mut Parts, app: &Arc<App>, least: Role) -> ApiResult<Member> {
    let token = token_alone(&parts.headers)?.to_owned();
    let team = path_team(parts, app).await?;
    let member = member(app, &token, team).await?;
    // Before the role is judged: what a member may not do is written down too.
    admit(parts, app, Who::member(&member)).await?;
    if member.role < least {
        return Err(forbidden(&format!("this needs the role {least}")));
    }
    Ok(member)
}

impl FromRequestParts<Arc<App>> for User {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> ApiResult<Self> {
        let caller = prove(app, token_alone(&parts.headers)?, None).await?.caller;
        admit(parts, app, Who::caller(&caller)).await?;
        Ok(Self(caller))
    }
}

impl FromRequestParts<Arc<App>> for TeamMember {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> ApiResult<Self> {
        at_least(parts, app, Role::Member).await.map(Self)
    }
}

impl FromRequestParts<Arc<App>> for TeamAdmin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> ApiResult<Self> {
        at_least(parts, app, Role::Admin).await.map(Self)
    }
}

impl FromRequestParts<Arc<App>> for TeamOwner {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> ApiResult<Self> {
        at_least(parts, app, Role::Owner).await.map(Self)
    }
}

impl<P: Part> FromRequestParts<Arc<App>> for PlatformAdmin<P> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> ApiResult<Self> {
        let caller = administrator(app, token_alone(&parts.headers)?, P::PERMISSION).await?;
        admit(parts, app, Who::caller(&caller)).await?;
        Ok(Self(caller, PhantomData))
    }
}
