//! Snapshots as templates: made from a sandbox, listed, deleted from every host.
//!
//! `creating` → `ready` → `deleting` → gone. A template that is `deleting` has freed its name; it stays until
//! its last holder has let go of its files.

use std::collections::BTreeMap;

use sqlx::{FromRow, PgConnection, PgExecutor, types::Json};
use uuid::Uuid;
use wrenn_api::template::TemplateType;
use wrenn_ids::{HostId, SandboxId, TeamId, TemplateId};

use crate::Result;

/// A template as lists show it.
#[derive(Debug, Clone, FromRow)]
pub struct TemplateView {
    /// Identity.
    pub id: Uuid,
    /// Owner.
    pub team_id: Uuid,
    /// What people call it.
    pub name: String,
    /// `base` or `snapshot`.
    pub r#type: String,
    /// Baked virtual CPUs of a snapshot.
    pub vcpus: Option<i32>,
    /// Baked memory of a snapshot in MiB.
    pub memory_mb: Option<i32>,
    /// Bytes on a host.
    pub size_bytes: i64,
    /// Its pairs.
    pub metadata: Json<BTreeMap<String, String>>,
    /// Milliseconds since the epoch.
    pub created_at: i64,
    /// The asking team's sandboxes that are made from it and have not stopped.
    pub used_by: i64,
}

macro_rules! view_select {
    ($filter:literal) => {
        concat!(
            "SELECT t.id, t.team_id, t.name, t.type, t.vcpus, t.memory_mb, t.size_bytes, t.metadata,
                    (extract(epoch FROM t.created_at) * 1000)::bigint AS created_at,
                    (SELECT count(*) FROM sandboxes s
                     WHERE s.template_id = t.id AND s.team_id = $1
                       AND s.status NOT IN ('stopping', 'stopped', 'error')) AS used_by
             FROM templates t
             WHERE t.status = 'ready' AND t.team_id IN ($1, $2) AND ",
            $filter
        )
    };
}

/// The ready templates that the team may use, newest first.
///
/// # Errors
/// The statement fails.
pub async fn template_list(
    executor: impl PgExecutor<'_>,
    team: TeamId,
    kind: Option<TemplateType>,
) -> Result<Vec<TemplateView>> {
    Ok(sqlx::query_as(view_select!(
        "($3::text IS NULL OR t.type = $3) ORDER BY t.created_at DESC, t.id DESC"
    ))
    .bind(team.as_uuid())
    .bind(TeamId::ZERO.as_uuid())
    .bind(kind.map(TemplateType::as_str))
    .fetch_all(executor)
    .await?)
}

/// The ready template that the team means by a name or an id.
///
/// # Errors
/// The statement fails.
pub async fn template_find(
    executor: impl PgExecutor<'_>,
    team: TeamId,
    name_or_id: &str,
) -> Result<Option<TemplateView>> {
    let id = name_or_id.parse::<TemplateId>().ok();
    Ok(
        sqlx::query_as(view_select!("(t.id = $3 OR ($3 IS NULL AND t.name = $4))"))
            .bind(team.as_uuid())
            .bind(TeamId::ZERO.as_uuid())
            .bind(id.map(TemplateId::as_uuid))
            .bind(name_or_id)
            .fetch_optional(executor)
            .await?,
    )
}

/// Adds the template that a snapshot of `source` will be; nobody can use it yet.
///
/// # Errors
/// [`crate::Error::Duplicate`]: of `templates_reserved_name` when the platform has the name, else when the
/// team has it.
pub async fn snapshot_insert(
    executor: impl PgExecutor<'_>,
    id: TemplateId,
    name: &str,
    source: SandboxId,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO templates (id, team_id, name, type, status, vcpus, memory_mb, disk_size_mb,
             default_user, parent_sandbox_id)
         SELECT $1, s.team_id, $2, 'snapshot', 'creating', s.vcpus, s.memory_mb, s.disk_size_mb,
             coalesce((SELECT t.default_user FROM templates t WHERE t.id = s.template_id), 'root'),
             s.id
         FROM sandboxes s WHERE s.id = $3",
    )
    .bind(id.as_uuid())
    .bind(name)
    .bind(source.as_uuid())
    .execute(executor)
    .await?;
    Ok(())
}

/// The snapshot is durable on this host, and may be used; false when it is not being made any more.
///
/// # Errors
/// The statement fails.
pub async fn snapshot_ready(
    connection: &mut PgConnection,
    id: TemplateId,
    host: HostId,
    size_bytes: i64,
) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE templates SET status = 'ready', size_bytes = $2
         WHERE id = $1 AND status = 'creating'",
    )
    .bind(id.as_uuid())
    .bind(size_bytes)
    .execute(&mut *connection)
    .await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query(
        "INSERT INTO template_copies (template_id, host_id, state, size_bytes)
         VALUES ($1, $2, 'ready', $3)
         ON CONFLICT (template_id, host_id) DO UPDATE
         SET state = 'ready', size_bytes = excluded.size_bytes",
    )
    .bind(id.as_uuid())
    .bind(host.as_uuid())
    .bind(size_bytes)
    .execute(connection)
    .await?;
    Ok(true)
}

/// Lets a request that made this template be made again.
async fn forget_request(connection: &mut PgConnection, id: TemplateId) -> Result<()> {
    sqlx::query(
        "DELETE FROM idempotency_keys k USING templates t
         WHERE t.id = $1 AND k.team_id = t.team_id AND k.resource_id = t.id",
    )
    .bind(id.as_uuid())
    .execute(connection)
    .await?;
    Ok(())
}

/// The snapshot was not made; what the host may have of it is to be deleted.
///
/// # Errors
/// The statement fails.
pub async fn snapshot_abandon(
    connection: &mut PgConnection,
    id: TemplateId,
    host: HostId,
) -> Result<()> {
    sqlx::query("UPDATE templates SET status = 'deleting' WHERE id = $1")
        .bind(id.as_uuid())
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "INSERT INTO template_copies (template_id, host_id, state) VALUES ($1, $2, 'deleting')
         ON CONFLICT (template_id, host_id) DO UPDATE SET state = 'deleting'",
    )
    .bind(id.as_uuid())
    .bind(host.as_uuid())
    .execute(&mut *connection)
    .await?;
    forget_request(connection, id).await
}

/// The snapshots that are being made of a sandbox are not made after all; what its host may have of them is to be
/// deleted.
///
/// # Errors
/// The statement fails.
pub async fn snapshots_abandon_of(
    connection: &mut PgConnection,
    source: SandboxId,
    host: HostId,
) -> Result<()> {
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "SELECT id FROM templates WHERE parent_sandbox_id = $1 AND status = 'creating' FOR UPDATE",
    )
    .bind(source.as_uuid())
    .fetch_all(&mut *connection)
    .await?;
    for id in ids {
        snapshot_abandon(connection, TemplateId::from_uuid(id), host).await?;
    }
    Ok(())
}

/// Begins to delete a ready template and answers its holders and which of them are online; `None` when it is
/// not ready any more.
///
/// # Errors
/// The statement fails.
pub async fn template_begin_delete(
    connection: &mut PgConnection,
    id: TemplateId,
) -> Result<Option<Vec<(HostId, bool)>>> {
    let done =
        sqlx::query("UPDATE templates SET status = 'deleting' WHERE id = $1 AND status = 'ready'")
            .bind(id.as_uuid())
            .execute(&mut *connection)
            .await?;
    if done.rows_affected() == 0 {
        return Ok(None);
    }
    forget_request(connection, id).await?;
    let holders: Vec<(Uuid, bool)> = sqlx::query_as(
        "UPDATE template_copies c SET state = 'deleting' FROM hosts h
         WHERE c.template_id = $1 AND h.id = c.host_id
         RETURNING c.host_id, h.status = 'online' AND h.deleted_at IS NULL",
    )
    .bind(id.as_uuid())
    .fetch_all(connection)
    .await?;
    let holder = |(id, online)| (HostId::from_uuid(id), online);
    Ok(Some(holders.into_iter().map(holder).collect()))
}

/// A holder refused to delete: the template is as it was, where it still is.
///
/// # Errors
/// [`crate::Error::Duplicate`] when its name was taken meanwhile.
pub async fn template_restore(connection: &mut PgConnection, id: TemplateId) -> Result<()> {
    sqlx::query("UPDATE templates SET status = 'ready' WHERE id = $1 AND status = 'deleting'")
        .bind(id.as_uuid())
        .execute(&mut *connection)
        .await?;
    sqlx::query("UPDATE template_copies SET state = 'ready' WHERE template_id = $1")
        .bind(id.as_uuid())
        .execute(connection)
        .await?;
    Ok(())
}

/// A holder let go of its files.
///
/// # Errors
/// The statement fails.
pub async fn template_copy_delete(
    executor: impl PgExecutor<'_>,
    id: TemplateId,
    host: HostId,
) -> Result<()> {
    sqlx::query(
        "DELETE FROM template_copies
         WHERE template_id = $1 AND host_id = $2 AND state = 'deleting'",
    )
    .bind(id.as_uuid())
    .bind(host.as_uuid())
    .execute(executor)
    .await?;
    Ok(())
}

/// Forgets a template that is being deleted and has no holder left.
///
/// # Errors
/// The statement fails.
pub async fn template_forget(executor: impl PgExecutor<'_>, id: TemplateId) -> Result<()> {
    sqlx::query(
        "DELETE FROM templates t WHERE t.id = $1 AND t.status = 'deleting'
           AND NOT EXISTS (SELECT 1 FROM template_copies c WHERE c.template_id = t.id)",
    )
    .bind(id.as_uuid())
    .execute(executor)
    .await?;
    Ok(())
}

/// The templates whose files this host has still to delete.
///
/// # Errors
/// The statement fails.
pub async fn template_copies_to_delete(
    executor: impl PgExecutor<'_>,
    host: HostId,
) -> Result<Vec<TemplateId>> {
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "SELECT template_id FROM template_copies WHERE host_id = $1 AND state = 'deleting'",
    )
    .bind(host.as_uuid())
    .fetch_all(executor)
    .await?;
    Ok(ids.into_iter().map(TemplateId::from_uuid).collect())
}
