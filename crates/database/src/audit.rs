//! The audit log: rows are begun, completed once, and never removed; a trigger of the schema holds that.

use std::collections::BTreeMap;

use sqlx::{FromRow, PgExecutor, QueryBuilder, types::Json};
use uuid::Uuid;
use wrenn_api::audit::{AuditAction, AuditActor, AuditResource, AuditScope, AuditStatus};
use wrenn_ids::{AuditId, HostId, SandboxId, TeamId, UserId};

use crate::Result;

/// Facts of a row.
pub type AuditFacts = BTreeMap<String, String>;

/// What is known of an event when it begins.
#[derive(Debug, Clone)]
pub struct NewAudit<'a> {
    /// Identity.
    pub id: AuditId,
    /// Whose log; the platform's when it concerns no other team.
    pub team: TeamId,
    /// Who acts.
    pub actor: AuditActor,
    /// Their id.
    pub actor_id: Option<&'a str>,
    /// What they are called.
    pub actor_name: Option<&'a str>,
    /// The kind of thing.
    pub resource: AuditResource,
    /// Which one.
    pub resource_id: Option<&'a str>,
    /// What is done to it.
    pub action: AuditAction,
    /// Who may read this.
    pub scope: AuditScope,
    /// The request that brings it about.
    pub request_id: &'a str,
}

/// Writes that something begins; without a completion it stays `info`, phase `started`.
///
/// # Errors
/// The statement fails.
pub async fn audit_start(executor: impl PgExecutor<'_>, new: &NewAudit<'_>) -> Result<()> {
    let facts = AuditFacts::from([("phase".to_owned(), "started".to_owned())]);
    insert(executor, new, AuditStatus::Info, &facts, false).await
}

/// Writes an event whole.
///
/// # Errors
/// The statement fails.
pub async fn audit_insert(
    executor: impl PgExecutor<'_>,
    new: &NewAudit<'_>,
    status: AuditStatus,
    facts: &AuditFacts,
) -> Result<()> {
    insert(executor, new, status, facts, true).await
}

async fn insert(
    executor: impl PgExecutor<'_>,
    new: &NewAudit<'_>,
    status: AuditStatus,
    facts: &AuditFacts,
    complete: bool,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO audit_logs (id, team_id, actor_type, actor_id, actor_name, resource_type,
             resource_id, action, scope, status, metadata, request_id, completed_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, CASE WHEN $13 THEN now() END)",
    )
    .bind(new.id.as_uuid())
    .bind(new.team.as_uuid())
    .bind(new.actor.as_str())
    .bind(new.actor_id)
    .bind(new.actor_name)
    .bind(new.resource.as_str())
    .bind(new.resource_id)
    .bind(new.action.as_str())
    .bind(new.scope.as_str())
    .bind(status.as_str())
    .bind(Json(facts))
    .bind(new.request_id)
    .bind(complete)
    .execute(executor)
    .await?;
    Ok(())
}

/// How an event ended, and what only its end knew.
#[derive(Debug, Clone)]
pub struct AuditEnd<'a> {
    /// What came of it.
    pub status: AuditStatus,
    /// Facts; they replace those of the start.
    pub facts: &'a AuditFacts,
    /// The thing, where the start did not know it.
    pub resource_id: Option<&'a str>,
    /// Who it was, id and name, where the start did not know it.
    pub actor: Option<(&'a str, &'a str)>,
    /// Whose log, where the start took the platform's.
    pub team: Option<TeamId>,
}

/// Completes a row; false when it was completed already.
///
/// # Errors
/// The statement fails.
pub async fn audit_complete(
    executor: impl PgExecutor<'_>,
    id: AuditId,
    end: &AuditEnd<'_>,
) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE audit_logs SET status = $2, metadata = $3, completed_at = now(),
                resource_id = coalesce(resource_id, $4),
                actor_name = CASE WHEN actor_id IS NULL THEN coalesce($6, actor_name) ELSE actor_name END,
                actor_id = coalesce(actor_id, $5),
                team_id = CASE WHEN team_id = $8 THEN coalesce($7, team_id) ELSE team_id END
         WHERE id = $1 AND completed_at IS NULL",
    )
    .bind(id.as_uuid())
    .bind(end.status.as_str())
    .bind(Json(end.facts))
    .bind(end.resource_id)
    .bind(end.actor.map(|(id, _)| id))
    .bind(end.actor.map(|(_, name)| name))
    .bind(end.team.map(TeamId::as_uuid))
    .bind(TeamId::ZERO.as_uuid())
    .execute(executor)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Starts without an end after 10 minutes become warnings of phase `unknown`; answers how many.
///
/// # Errors
/// The statement fails.
pub async fn audit_sweep(executor: impl PgExecutor<'_>) -> Result<u64> {
    Ok(sqlx::query(
        r#"UPDATE audit_logs SET status = 'warning', completed_at = now(),
                  metadata = metadata || '{"phase": "unknown"}'
           WHERE completed_at IS NULL AND created_at < now() - interval '10 minutes'"#,
    )
    .execute(executor)
    .await?
    .rows_affected())
}

/// Writes, in the transaction of a change that the platform made by itself, what it did to a sandbox and why.
///
/// # Errors
/// The statement fails.
pub async fn audit_sandbox(
    executor: impl PgExecutor<'_>,
    sandbox: SandboxId,
    action: AuditAction,
    status: AuditStatus,
    reason: Option<&str>,
) -> Result<()> {
    let mut facts = AuditFacts::from([("phase".to_owned(), "completed".to_owned())]);
    facts.extend(reason.map(|reason| ("reason".to_owned(), reason.to_owned())));
    sqlx::query(
        "INSERT INTO audit_logs (id, team_id, actor_type, resource_type, resource_id, action, scope,
             status, metadata, completed_at)
         SELECT $1, s.team_id, 'system', 'sandbox', $2, $3, 'team', $4, $5, now()
         FROM sandboxes s WHERE s.id = $6",
    )
    .bind(AuditId::new().as_uuid())
    .bind(sandbox.to_string())
    .bind(action.as_str())
    .bind(status.as_str())
    .bind(Json(facts))
    .bind(sandbox.as_uuid())
    .execute(executor)
    .await?;
    Ok(())
}

/// Writes, in the transaction of a change of status, what became of a host.
///
/// # Errors
/// The statement fails.
pub async fn audit_host(
    executor: impl PgExecutor<'_>,
    host: HostId,
    actor: AuditActor,
    action: AuditAction,
    status: AuditStatus,
) -> Result<()> {
    let facts = AuditFacts::from([("phase".to_owned(), "completed".to_owned())]);
    let by_itself = (actor == AuditActor::Host).then(|| host.to_string());
    sqlx::query(
        "INSERT INTO audit_logs (id, team_id, actor_type, actor_id, resource_type, resource_id, action,
             scope, status, metadata, completed_at)
         SELECT $1, coalesce(h.team_id, $2), $3, $4, 'host', $5, $6, 'admin', $7, $8, now()
         FROM hosts h WHERE h.id = $9",
    )
    .bind(AuditId::new().as_uuid())
    .bind(TeamId::ZERO.as_uuid())
    .bind(actor.as_str())
    .bind(by_itself)
    .bind(host.to_string())
    .bind(action.as_str())
    .bind(status.as_str())
    .bind(Json(facts))
    .bind(host.as_uuid())
    .execute(executor)
    .await?;
    Ok(())
}

/// Takes a person's name out of the log; their id stays.
///
/// # Errors
/// The statement fails.
pub async fn audit_anonymise(executor: impl PgExecutor<'_>, user: UserId) -> Result<u64> {
    Ok(sqlx::query(
        "UPDATE audit_logs SET actor_name = 'deleted user'
         WHERE actor_type = 'user' AND actor_id = $1 AND actor_name IS DISTINCT FROM 'deleted user'",
    )
    .bind(user.to_string())
    .execute(executor)
    .await?
    .rows_affected())
}

/// A row of the log.
#[derive(Debug, Clone, FromRow)]
pub struct AuditRow {
    /// Identity.
    pub id: Uuid,
    /// Who acted.
    pub actor_type: String,
    /// Their id.
    pub actor_id: Option<String>,
    /// What they were called.
    pub actor_name: Option<String>,
    /// The kind of thing.
    pub resource_type: String,
    /// Which one.
    pub resource_id: Option<String>,
    /// What was done to it.
    pub action: String,
    /// Who may read it.
    pub scope: String,
    /// What came of it.
    pub status: String,
    /// Facts.
    pub metadata: Json<AuditFacts>,
    /// Milliseconds since the epoch.
    pub created_at: i64,
}

/// Which rows a page shows; empty lists and absent values let everything pass.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Of this team.
    pub team: Option<TeamId>,
    /// Readable with this scope.
    pub scope: Option<AuditScope>,
    /// Kinds of things.
    pub resources: Vec<AuditResource>,
    /// What was done.
    pub actions: Vec<AuditAction>,
    /// What came of it.
    pub statuses: Vec<AuditStatus>,
    /// About this thing.
    pub resource_id: Option<String>,
    /// By this one.
    pub actor: Option<String>,
    /// Not before: milliseconds since the epoch.
    pub since: Option<i64>,
    /// Before: milliseconds since the epoch.
    pub before: Option<i64>,
    /// Of the rows of that very millisecond, those before this one.
    pub before_id: Option<AuditId>,
    /// At most this many.
    pub limit: i64,
}

/// A page of the log, newest first.
///
/// # Errors
/// The statement fails.
pub async fn audit_list(
    executor: impl PgExecutor<'_>,
    filter: &AuditFilter,
) -> Result<Vec<AuditRow>> {
    // Built for what is asked, so that each page is a walk along an index from where the last one ended.
    let mut query = QueryBuilder::new(
        "SELECT id, actor_type, actor_id, actor_name, resource_type, resource_id, action, scope, status,
                metadata, (extract(epoch FROM created_at) * 1000)::bigint AS created_at
         FROM audit_logs WHERE true",
    );
    if let Some(team) = filter.team {
        query.push(" AND team_id = ").push_bind(team.as_uuid());
    }
    if let Some(scope) = filter.scope {
        // Written out: the planner must see that the partial index serves.
        query.push(match scope {
            AuditScope::Team => " AND scope = 'team'",
            AuditScope::Admin => " AND scope = 'admin'",
        });
    }
    let texts = |column: &str, texts: Vec<&'static str>, query: &mut QueryBuilder<_>| {
        if !texts.is_empty() {
            query.push(format!(" AND {column} = ANY("));
            query.push_bind(texts).push(")");
        }
    };
    let resources = filter
        .resources
        .iter()
        .map(|value| value.as_str())
        .collect();
    texts("resource_type", resources, &mut query);
    let actions = filter.actions.iter().map(|value| value.as_str()).collect();
    texts("action", actions, &mut query);
    let statuses = filter.statuses.iter().map(|value| value.as_str()).collect();
    texts("status", statuses, &mut query);
    if let Some(id) = &filter.resource_id {
        query.push(" AND resource_id = ").push_bind(id);
    }
    if let Some(id) = &filter.actor {
        query.push(" AND actor_id = ").push_bind(id);
    }
    if let Some(since) = filter.since {
        query
            .push(" AND created_at >= to_timestamp(")
            .push_bind(since)
            .push(" / 1000.0)");
    }
    match (filter.before, filter.before_id) {
        (Some(before), Some(id)) => {
            query
                .push(" AND (created_at, id) < (to_timestamp(")
                .push_bind(before);
            query.push(" / 1000.0), ").push_bind(id.as_uuid()).push(")");
        }
        (Some(before), None) => {
            query
                .push(" AND created_at < to_timestamp(")
                .push_bind(before)
                .push(" / 1000.0)");
        }
        _ => {}
    }
    query
        .push(" ORDER BY audit_logs.created_at DESC, id DESC LIMIT ")
        .push_bind(filter.limit);
    Ok(query.build_query_as().fetch_all(executor).await?)
}
