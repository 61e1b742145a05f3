//! `/v1/teams`: teams of people, and who is in them.

use std::sync::Arc;

use axum::{Extension, Json, extract::State, http::StatusCode};
use wrenn_api::{
    ErrorBody, Invalid,
    team::{AddMember, ChangeRole, Member, Quota, Team, TeamDetail, TeamName, TransferTeam},
};
use wrenn_ids::{TeamId, UserId};

use super::{
    error::ApiResult,
    extract::{JsonBody, Query, TeamAdmin, TeamMember, TeamOwner, User, UserInPath},
    governed::Subject,
    view,
};
use crate::{
    app::{team, team::TheirKeys},
    state::App,
};

/// List one's teams
#[utoipa::path(
    get, path = "/v1/teams", tag = "teams", security(("user_token" = [])),
    responses(
        (status = 200, body = Vec<Team>),
        (status = 401, body = ErrorBody),
    )
)]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    User(caller): User,
) -> ApiResult<Json<Vec<Team>>> {
    let rows = team::list(&app, &caller).await?;
    Ok(Json(rows.into_iter().map(view::team).collect()))
}

/// Make a team
///
/// The caller owns it.
#[utoipa::path(
    post, path = "/v1/teams", tag = "teams", security(("user_token" = [])), request_body = TeamName,
    responses(
        (status = 201, body = Team), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 413, body = ErrorBody), (status = 415, body = ErrorBody),
    )
)]
pub(super) async fn create(
    State(app): State<Arc<App>>,
    User(caller): User,
    JsonBody(request): JsonBody<TeamName>,
) -> ApiResult<(StatusCode, Extension<Subject>, Json<Team>)> {
    let row = team::create(&app, &caller, &request).await?;
    let id = TeamId::from_uuid(row.id);
    let subject = Subject::of(id).in_team(id);
    Ok((
        StatusCode::CREATED,
        Extension(subject),
        Json(view::team(row)),
    ))
}

/// Read a team
#[utoipa::path(
    get, path = "/v1/teams/{team_id}", tag = "teams", security(("user_token" = [])),
    params(("team_id" = String, Path)),
    responses(
        (status = 200, body = TeamDetail), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody),
    )
)]
pub(super) async fn get(
    State(app): State<Arc<App>>,
    TeamMember(member): TeamMember,
) -> ApiResult<Json<TeamDetail>> {
    let (team, members) = team::get(&app, &member).await?;
    Ok(Json(TeamDetail {
        team: view::team(team),
        members: members.into_iter().map(view::member).collect(),
    }))
}

/// Rename a team
#[utoipa::path(
    patch, path = "/v1/teams/{team_id}", tag = "teams", security(("user_token" = [])),
    params(("team_id" = String, Path)), request_body = TeamName,
    responses(
        (status = 204), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 413, body = ErrorBody), (status = 415, body = ErrorBody),
    )
)]
pub(super) async fn rename(
    State(app): State<Arc<App>>,
    TeamAdmin(member): TeamAdmin,
    JsonBody(request): JsonBody<TeamName>,
) -> ApiResult<StatusCode> {
    team::rename(&app, &member, &request).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Delete a team
///
/// At once; its keys are dead, and its sandboxes and snapshots are destroyed in the background.
#[utoipa::path(
    delete, path = "/v1/teams/{team_id}", tag = "teams", security(("user_token" = [])),
    params(("team_id" = String, Path)),
    responses(
        (status = 204), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 409, body = ErrorBody),
    )
)]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    TeamOwner(member): TeamOwner,
) -> ApiResult<StatusCode> {
    team::delete(&app, &member).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List members
#[utoipa::path(
    get, path = "/v1/teams/{team_id}/members", tag = "teams", security(("user_token" = [])),
    params(("team_id" = String, Path)),
    responses(
        (status = 200, body = Vec<Member>), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody),
    )
)]
pub(super) async fn members(
    State(app): State<Arc<App>>,
    TeamMember(member): TeamMember,
) -> ApiResult<Json<Vec<Member>>> {
    let rows = team::members(&app, &member).await?;
    Ok(Json(rows.into_iter().map(view::member).collect()))
}

/// Take somebody into the team
///
/// By the address of their account; they begin as a member.
#[utoipa::path(
    post, path = "/v1/teams/{team_id}/members", tag = "teams", security(("user_token" = [])),
    params(("team_id" = String, Path)), request_body = AddMember,
    responses(
        (status = 201, body = Member), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody),
        (status = 413, body = ErrorBody), (status = 415, body = ErrorBody),
    )
)]
pub(super) async fn add(
    State(app): State<Arc<App>>,
    TeamAdmin(member): TeamAdmin,
    JsonBody(request): JsonBody<AddMember>,
) -> ApiResult<(StatusCode, Extension<Subject>, Json<Member>)> {
    let row = team::add(&app, &member, &request.email).await?;
    let subject = Subject::of(UserId::from_uuid(row.user_id)).fact("role", &row.role);
    Ok((
        StatusCode::CREATED,
        Extension(subject),
        Json(view::member(row)),
    ))
}

/// Change a member's role
#[utoipa::path(
    patch, path = "/v1/teams/{team_id}/members/{user_id}", tag = "teams", security(("user_token" = [])),
    params(("team_id" = String, Path), ("user_id" = String, Path)), request_body = ChangeRole,
    responses(
        (status = 204), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody),
        (status = 413, body = ErrorBody), (status = 415, body = ErrorBody),
    )
)]
pub(super) async fn change_role(
    State(app): State<Arc<App>>,
    TeamAdmin(member): TeamAdmin,
    UserInPath(user): UserInPath,
    JsonBody(request): JsonBody<ChangeRole>,
) -> ApiResult<(StatusCode, Extension<Subject>)> {
    team::change_role(&app, &member, user, &request).await?;
    let subject = Subject::of(user).fact("role", request.role);
    Ok((StatusCode::NO_CONTENT, Extension(subject)))
}

/// Remove a member
///
/// Their keys of this team are revoked, unless they are kept.
#[utoipa::path(
    delete, path = "/v1/teams/{team_id}/members/{user_id}", tag = "teams", security(("user_token" = [])),
    params(
        ("team_id" = String, Path), ("user_id" = String, Path),
        ("keep_api_keys" = Option<bool>, Query, description = "Default false"),
    ),
    responses(
        (status = 204), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody),
    )
)]
pub(super) async fn remove(
    State(app): State<Arc<App>>,
    TeamAdmin(member): TeamAdmin,
    UserInPath(user): UserInPath,
    query: Query,
) -> ApiResult<StatusCode> {
    let keys = match query.text("keep_api_keys") {
        None | Some("false") => TheirKeys::Revoke,
        Some("true") => TheirKeys::Keep,
        Some(_) => return Err(Invalid::new("keep_api_keys", "must be true or false").into()),
    };
    team::remove(&app, &member, user, keys).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Leave a team
#[utoipa::path(
    post, path = "/v1/teams/{team_id}/leave", tag = "teams", security(("user_token" = [])),
    params(("team_id" = String, Path)),
    responses(
        (status = 204), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 409, body = ErrorBody),
    )
)]
pub(super) async fn leave(
    State(app): State<Arc<App>>,
    TeamMember(member): TeamMember,
) -> ApiResult<(StatusCode, Extension<Subject>)> {
    team::leave(&app, &member).await?;
    Ok((
        StatusCode::NO_CONTENT,
        Extension(Subject::of(member.caller.id)),
    ))
}

/// Hand a team over
///
/// That member becomes its owner, the caller an administrator of it.
#[utoipa::path(
    post, path = "/v1/teams/{team_id}/transfer", tag = "teams", security(("user_token" = [])),
    params(("team_id" = String, Path)), request_body = TransferTeam,
    responses(
        (status = 204), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody),
        (status = 413, body = ErrorBody), (status = 415, body = ErrorBody),
    )
)]
pub(super) async fn transfer(
    State(app): State<Arc<App>>,
    TeamOwner(member): TeamOwner,
    JsonBody(request): JsonBody<TransferTeam>,
) -> ApiResult<(StatusCode, Extension<Subject>)> {
    team::transfer(&app, &member, request.user_id).await?;
    let subject = Subject::default().fact("owner", request.user_id);
    Ok((StatusCode::NO_CONTENT, Extension(subject)))
}

/// Read a team's limits and what it has
#[utoipa::path(
    get, path = "/v1/teams/{team_id}/quota", tag = "teams", security(("user_token" = [])),
    params(("team_id" = String, Path)),
    responses(
        (status = 200, body = Quota), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody),
    )
)]
pub(super) async fn quota(
    State(app): State<Arc<App>>,
    TeamMember(member): TeamMember,
) -> ApiResult<Json<Quota>> {
    let (limits, used) = team::quota(&app, &member).await?;
    Ok(Json(view::quota(limits, used)))
}
