//! `/v1/admin`: all teams and all people, for those who administer the platform.

use std::sync::Arc;

use axum::{Extension, Json, extract::State, http::StatusCode};
use wrenn_api::{
    ErrorBody, Invalid,
    admin::{AdminTeams, AdminUsers, SetActive, SetAdmin, SetByoc, SetPermissions},
    team::ChangeQuota,
};
use wrenn_database::ADMIN_PAGE;
use wrenn_ids::{TeamId, UserId};

use super::{
    error::ApiResult,
    extract::{Everything, Id, JsonBody, PlatformAdmin, Query, Teams, Users},
    governed::Subject,
    view,
};
use crate::{app::admin, state::App};

/// The page that the query asks for, from 1, and what it looks for.
fn asked(query: &Query) -> ApiResult<(i64, String)> {
    let page = query.parsed("page")?.unwrap_or(1);
    if !(1..=1_000_000).contains(&page) {
        return Err(Invalid::new("page", "must be 1 to 1000000").into());
    }
    let search = query.text("q").unwrap_or_default();
    if search.chars().count() > 254 {
        return Err(Invalid::new("q", "must be at most 254 characters").into());
    }
    Ok((page, search.to_owned()))
}

fn number(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}

fn pages(total: i64) -> u64 {
    number(total).div_ceil(number(ADMIN_PAGE))
}

/// List all teams
#[utoipa::path(
    get, path = "/v1/admin/teams", tag = "administration", security(("user_token" = [])),
    params(
        ("page" = Option<i64>, Query, minimum = 1),
        ("q" = Option<String>, Query, description = "Part of a name or slug"),
    ),
    responses(
        (status = 200, body = AdminTeams), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
    )
)]
pub(super) async fn teams(
    State(app): State<Arc<App>>,
    _: PlatformAdmin<Teams>,
    query: Query,
) -> ApiResult<Json<AdminTeams>> {
    let (page, search) = asked(&query)?;
    let (rows, total) = admin::teams(&app, &search, page).await?;
    Ok(Json(AdminTeams {
        teams: rows.into_iter().map(view::admin_team).collect(),
        total: number(total),
        page: number(page),
        per_page: number(ADMIN_PAGE),
        total_pages: pages(total),
    }))
}

/// List all people
#[utoipa::path(
    get, path = "/v1/admin/users", tag = "administration", security(("user_token" = [])),
    params(
        ("page" = Option<i64>, Query, minimum = 1),
        ("q" = Option<String>, Query, description = "Part of a name or address"),
    ),
    responses(
        (status = 200, body = AdminUsers), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
    )
)]
pub(super) async fn users(
    State(app): State<Arc<App>>,
    _: PlatformAdmin<Users>,
    query: Query,
) -> ApiResult<Json<AdminUsers>> {
    let (page, search) = asked(&query)?;
    let (rows, total) = admin::users(&app, &search, page).await?;
    Ok(Json(AdminUsers {
        users: rows.into_iter().map(view::admin_user).collect(),
        total: number(total),
        page: number(page),
        per_page: number(ADMIN_PAGE),
        total_pages: pages(total),
    }))
}

/// Let a team bring its own hosts, or not
#[utoipa::path(
    put, path = "/v1/admin/teams/{id}/byoc", tag = "administration", security(("user_token" = [])),
    params(("id" = String, Path)), request_body = SetByoc,
    responses(
        (status = 204), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody),
        (status = 413, body = ErrorBody), (status = 415, body = ErrorBody),
    )
)]
pub(super) async fn set_byoc(
    State(app): State<Arc<App>>,
    _: PlatformAdmin<Teams>,
    Id(team): Id<TeamId>,
    JsonBody(request): JsonBody<SetByoc>,
) -> ApiResult<(StatusCode, Extension<Subject>)> {
    admin::set_byoc(&app, team, request.enabled).await?;
    let subject = Subject::default().fact("enabled", request.enabled);
    Ok((StatusCode::NO_CONTENT, Extension(subject)))
}

/// Change what a team may have
#[utoipa::path(
    put, path = "/v1/admin/teams/{id}/quota", tag = "administration", security(("user_token" = [])),
    params(("id" = String, Path)), request_body = ChangeQuota,
    responses(
        (status = 204), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody),
        (status = 413, body = ErrorBody), (status = 415, body = ErrorBody),
    )
)]
pub(super) async fn set_quota(
    State(app): State<Arc<App>>,
    _: PlatformAdmin<Teams>,
    Id(team): Id<TeamId>,
    JsonBody(request): JsonBody<ChangeQuota>,
) -> ApiResult<(StatusCode, Extension<Subject>)> {
    admin::set_quota(&app, team, &request).await?;
    let limits = [
        ("max_sandboxes", request.max_sandboxes),
        ("max_vcpus", request.max_vcpus),
        ("max_memory_mb", request.max_memory_mb),
        ("max_disk_mb", request.max_disk_mb),
    ];
    let changed = limits
        .into_iter()
        .filter_map(|(name, limit)| Some((name, limit?)));
    let subject = changed.fold(Subject::default(), |subject, (name, limit)| {
        subject.fact(name, limit)
    });
    Ok((StatusCode::NO_CONTENT, Extension(subject)))
}

/// Delete a team, whoever owns it
#[utoipa::path(
    delete, path = "/v1/admin/teams/{id}", tag = "administration", security(("user_token" = [])),
    params(("id" = String, Path)),
    responses(
        (status = 204), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody),
    )
)]
pub(super) async fn delete_team(
    State(app): State<Arc<App>>,
    _: PlatformAdmin<Teams>,
    Id(team): Id<TeamId>,
) -> ApiResult<StatusCode> {
    admin::delete_team(&app, team).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Let a person use their account, or shut it
///
/// What they own stays; every token and session of theirs ends.
#[utoipa::path(
    put, path = "/v1/admin/users/{id}/active", tag = "administration", security(("user_token" = [])),
    params(("id" = String, Path)), request_body = SetActive,
    responses(
        (status = 204), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody),
        (status = 413, body = ErrorBody), (status = 415, body = ErrorBody),
    )
)]
pub(super) async fn set_active(
    State(app): State<Arc<App>>,
    administrator: PlatformAdmin<Users>,
    Id(user): Id<UserId>,
    JsonBody(request): JsonBody<SetActive>,
) -> ApiResult<(StatusCode, Extension<Subject>)> {
    admin::set_active(&app, &administrator.0, user, request.active).await?;
    let subject = Subject::default().fact("active", request.active);
    Ok((StatusCode::NO_CONTENT, Extension(subject)))
}

/// Make a person an administrator of everything, or not any more
#[utoipa::path(
    put, path = "/v1/admin/users/{id}/admin", tag = "administration", security(("user_token" = [])),
    params(("id" = String, Path)), request_body = SetAdmin,
    responses(
        (status = 204), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody),
        (status = 413, body = ErrorBody), (status = 415, body = ErrorBody),
    )
)]
pub(super) async fn set_admin(
    State(app): State<Arc<App>>,
    administrator: PlatformAdmin<Everything>,
    Id(user): Id<UserId>,
    JsonBody(request): JsonBody<SetAdmin>,
) -> ApiResult<(StatusCode, Extension<Subject>)> {
    admin::set_admin(&app, &administrator.0, user, request.admin).await?;
    let subject = Subject::default().fact("admin", request.admin);
    Ok((StatusCode::NO_CONTENT, Extension(subject)))
}

/// Replace the parts of the platform that a person administers
#[utoipa::path(
    put, path = "/v1/admin/users/{id}/permissions", tag = "administration", security(("user_token" = [])),
    params(("id" = String, Path)), request_body = SetPermissions,
    responses(
        (status = 204), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody),
        (status = 413, body = ErrorBody), (status = 415, body = ErrorBody),
    )
)]
pub(super) async fn set_permissions(
    State(app): State<Arc<App>>,
    administrator: PlatformAdmin<Everything>,
    Id(user): Id<UserId>,
    JsonBody(request): JsonBody<SetPermissions>,
) -> ApiResult<(StatusCode, Extension<Subject>)> {
    admin::set_permissions(&app, &administrator.0, user, &request.permissions).await?;
    let names: Vec<&str> = request
        .permissions
        .iter()
        .map(|part| part.as_str())
        .collect();
    let subject = Subject::default().fact("permissions", names.join(" "));
    Ok((StatusCode::NO_CONTENT, Extension(subject)))
}
