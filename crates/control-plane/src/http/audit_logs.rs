//! `/v1/audit-logs`: who did what, page by page.

use std::sync::Arc;

use axum::{Json, extract::State};
use wrenn_api::{
    ErrorBody, Invalid, Role, Time,
    audit::{AuditPage, AuditScope},
};
use wrenn_database::{AuditFilter, audit_list};
use wrenn_ids::{AuditId, TeamId};

use super::{
    error::ApiResult,
    extract::{Audit, PlatformAdmin, Query, TeamMember},
    view,
};
use crate::{app, state::App};

/// Rows of a page, when the caller does not say.
const USUAL: i64 = 50;
/// Rows of a page at most.
const MOST: i64 = 200;

/// What the query asks for; with a row more, which tells whether there is another page.
fn filter(query: &Query) -> ApiResult<AuditFilter> {
    let limit = query.parsed("limit")?.unwrap_or(USUAL);
    if !(1..=MOST).contains(&limit) {
        return Err(Invalid::new("limit", "must be 1 to 200").into());
    }
    let time = |name: &str| -> ApiResult<Option<i64>> {
        Ok(query.parsed::<Time>(name)?.map(Time::unix_ms))
    };
    let before_id: Option<AuditId> = query.parsed("before_id")?;
    let before = time("before")?;
    if before_id.is_some() && before.is_none() {
        return Err(Invalid::new("before_id", "goes with `before`").into());
    }
    Ok(AuditFilter {
        team: None,
        scope: None,
        resources: query.list("resource_type")?,
        actions: query.list("action")?,
        statuses: query.list("status")?,
        resource_id: query.text("resource_id").map(str::to_owned),
        actor: query.text("actor").map(str::to_owned),
        since: time("since")?,
        before,
        before_id,
        limit: limit + 1,
    })
}

async fn page(app: &App, filter: AuditFilter) -> ApiResult<Json<AuditPage>> {
    let rows = audit_list(&app.db, &filter)
        .await
        .map_err(app::Error::from)?;
    let shown = usize::try_from(filter.limit - 1).unwrap_or(usize::MAX);
    let more = rows.len() > shown;
    let items: Vec<_> = rows.into_iter().take(shown).map(view::audit).collect();
    let last = items.last().filter(|_| more);
    Ok(Json(AuditPage {
        next_before: last.map(|item| item.created_at),
        next_before_id: last.map(|item| item.id),
        items,
    }))
}

/// Read the team's audit log
///
/// Newest first. Members see rows of scope `team`, administrators and the owner all.
#[utoipa::path(
    get, path = "/v1/audit-logs", tag = "audit", security(("user_token" = [])),
    params(
        ("before" = Option<Time>, Query, description = "`next_before` of the page before"),
        ("before_id" = Option<String>, Query, description = "`next_before_id` of the page before"),
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 200),
        ("resource_type" = Option<String>, Query, description = "One or more; repeat or separate by commas"),
        ("action" = Option<String>, Query, description = "One or more; repeat or separate by commas"),
        ("status" = Option<String>, Query, description = "One or more; repeat or separate by commas"),
        ("resource_id" = Option<String>, Query), ("actor" = Option<String>, Query, description = "Id of who acted"),
        ("since" = Option<Time>, Query),
    ),
    responses(
        (status = 200, body = AuditPage), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
    )
)]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    TeamMember(member): TeamMember,
    query: Query,
) -> ApiResult<Json<AuditPage>> {
    let filter = AuditFilter {
        team: Some(member.team),
        scope: (member.role < Role::Admin).then_some(AuditScope::Team),
        ..filter(&query)?
    };
    page(&app, filter).await
}

/// Read the audit log of all teams
#[utoipa::path(
    get, path = "/v1/admin/audit-logs", tag = "administration", security(("user_token" = [])),
    params(
        ("team_id" = Option<String>, Query),
        ("before" = Option<Time>, Query), ("before_id" = Option<String>, Query),
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 200),
        ("resource_type" = Option<String>, Query), ("action" = Option<String>, Query),
        ("status" = Option<String>, Query), ("resource_id" = Option<String>, Query),
        ("actor" = Option<String>, Query), ("since" = Option<Time>, Query),
    ),
    responses(
        (status = 200, body = AuditPage), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
    )
)]
pub(super) async fn list_all(
    State(app): State<Arc<App>>,
    _: PlatformAdmin<Audit>,
    query: Query,
) -> ApiResult<Json<AuditPage>> {
    let team: Option<TeamId> = query.parsed("team_id")?;
    page(
        &app,
        AuditFilter {
            team,
            ..filter(&query)?
        },
    )
    .await
}
