//! Hosts: added, changed, tagged and deleted.

use sqlx::{FromRow, PgConnection, PgExecutor};
use uuid::Uuid;
use wrenn_api::host::HostType;
use wrenn_ids::{HostId, SandboxId, TeamId, UserId};

use crate::{Result, State};

/// A host to add, which waits for its agent.
#[derive(Debug, Clone)]
pub struct NewHost<'a> {
    /// Identity.
    pub id: HostId,
    /// The team that brings it; `None`: it is every team's.
    pub team: Option<TeamId>,
    /// Where it was rented.
    pub provider: Option<&'a str>,
    /// Where it stands.
    pub availability_zone: Option<&'a str>,
    /// Who adds it; `None`: the platform.
    pub by: Option<UserId>,
}

/// Adds a pending host.
///
/// # Errors
/// The statement fails.
pub async fn host_insert(executor: impl PgExecutor<'_>, host: &NewHost<'_>) -> Result<()> {
    let kind = match host.team {
        Some(_) => HostType::Byoc,
        None => HostType::Regular,
    };
    sqlx::query(
        "INSERT INTO hosts (id, type, team_id, provider, availability_zone, created_by, status)
         VALUES ($1, $2, $3, $4, $5, $6, 'pending')",
    )
    .bind(host.id.as_uuid())
    .bind(kind.as_str())
    .bind(host.team.map(TeamId::as_uuid))
    .bind(host.provider)
    .bind(host.availability_zone)
    .bind(host.by.map(UserId::as_uuid))
    .execute(executor)
    .await?;
    Ok(())
}

/// What people change of a host; `None` stays as it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostChange<'a> {
    /// Whether it takes no new sandboxes.
    pub draining: Option<bool>,
    /// Where it was rented.
    pub provider: Option<&'a str>,
    /// Where it stands.
    pub availability_zone: Option<&'a str>,
}

/// Changes a host; false when it is deleted.
///
/// # Errors
/// The statement fails.
pub async fn host_change(
    executor: impl PgExecutor<'_>,
    id: HostId,
    change: &HostChange<'_>,
) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE hosts SET draining = coalesce($2, draining), provider = coalesce($3, provider),
                availability_zone = coalesce($4, availability_zone), updated_at = now()
         WHERE id = $1 AND deleted_at IS NULL",
    )
    .bind(id.as_uuid())
    .bind(change.draining)
    .bind(change.provider)
    .bind(change.availability_zone)
    .execute(executor)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The labels of a host, in order.
///
/// # Errors
/// The statement fails.
pub async fn host_tags(executor: impl PgExecutor<'_>, id: HostId) -> Result<Vec<String>> {
    Ok(
        sqlx::query_scalar("SELECT tag FROM host_tags WHERE host_id = $1 ORDER BY tag")
            .bind(id.as_uuid())
            .fetch_all(executor)
            .await?,
    )
}

/// Labels a host, unless it has as many labels as a host may have; those that it has already change nothing. False
/// when they are too many.
///
/// # Errors
/// The statement fails.
pub async fn host_tags_add(
    connection: &mut PgConnection,
    id: HostId,
    tags: &[String],
    limit: i64,
) -> Result<bool> {
    sqlx::query(
        "INSERT INTO host_tags (host_id, tag) SELECT $1, unnest($2::text[]) ON CONFLICT DO NOTHING",
    )
    .bind(id.as_uuid())
    .bind(tags)
    .execute(&mut *connection)
    .await?;
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM host_tags WHERE host_id = $1")
        .bind(id.as_uuid())
        .fetch_one(connection)
        .await?;
    Ok(count <= limit)
}

/// Takes a label off a host; false when it had none such.
///
/// # Errors
/// The statement fails.
pub async fn host_tag_remove(executor: impl PgExecutor<'_>, id: HostId, tag: &str) -> Result<bool> {
    let done = sqlx::query("DELETE FROM host_tags WHERE host_id = $1 AND tag = $2")
        .bind(id.as_uuid())
        .bind(tag)
        .execute(executor)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// A sandbox that a host holds.
#[derive(Debug, Clone, FromRow)]
pub struct HeldRow {
    /// Identity.
    pub id: Uuid,
    /// Status.
    pub status: State,
}

impl HeldRow {
    /// Identity.
    #[must_use]
    pub fn id(&self) -> SandboxId {
        SandboxId::from_uuid(self.id)
    }
}

/// The sandboxes of a host that are neither stopped nor in error, oldest first.
///
/// # Errors
/// The statement fails.
pub async fn host_sandboxes(executor: impl PgExecutor<'_>, id: HostId) -> Result<Vec<HeldRow>> {
    Ok(sqlx::query_as(
        "SELECT id, status FROM sandboxes
         WHERE host_id = $1 AND status NOT IN ('stopped', 'error') ORDER BY created_at, id",
    )
    .bind(id.as_uuid())
    .fetch_all(executor)
    .await?)
}

/// Deletes a host: from now on nobody dials it, and nothing that it has proves who it is. Callers hold its lock
/// ([`crate::host_lock`]) and have seen that it holds nothing.
///
/// # Errors
/// A statement fails.
pub async fn host_delete(connection: &mut PgConnection, id: HostId) -> Result<()> {
    sqlx::query(
        "UPDATE hosts SET deleted_at = now(), updated_at = now(), status = 'offline',
                cert_fingerprint = NULL, prev_cert_fingerprint = NULL, cert_expires_at = NULL,
                token_version = token_version + 1
         WHERE id = $1 AND deleted_at IS NULL",
    )
    .bind(id.as_uuid())
    .execute(&mut *connection)
    .await?;
    for statement in [
        "UPDATE host_refresh_tokens SET revoked_at = now() WHERE host_id = $1 AND revoked_at IS NULL",
        "DELETE FROM template_copies WHERE host_id = $1",
        "DELETE FROM quarantined_sandboxes WHERE host_id = $1",
    ] {
        sqlx::query(statement)
            .bind(id.as_uuid())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}
