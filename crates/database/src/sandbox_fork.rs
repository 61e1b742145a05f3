//! Sandboxes that are made from another one as it is.

use std::collections::BTreeMap;

use sqlx::{PgExecutor, types::Json};
use uuid::Uuid;
use wrenn_ids::SandboxId;

use crate::{Principal, Result, SandboxRow, sandbox::columns};

/// What children have that their source has not; everything else is the source's.
#[derive(Debug, Clone)]
pub struct Fork<'a> {
    /// What they are made from.
    pub source: SandboxId,
    /// Who they are, and their sealed environments.
    pub children: &'a [(SandboxId, Option<Vec<u8>>)],
    /// Their pairs; absent: the source's.
    pub metadata: Option<&'a BTreeMap<String, String>>,
    /// Their idle seconds; absent: the source's.
    pub timeout_sec: Option<i32>,
    /// Who asked.
    pub created_by: Principal,
}

/// Adds the children on the source's host, `starting`.
///
/// # Errors
/// The statement fails.
pub async fn sandboxes_fork(
    executor: impl PgExecutor<'_>,
    fork: &Fork<'_>,
) -> Result<Vec<SandboxRow>> {
    let (ids, envs): (Vec<Uuid>, Vec<Option<&[u8]>>) = fork
        .children
        .iter()
        .map(|(id, envs)| (id.as_uuid(), envs.as_deref()))
        .unzip();
    Ok(sqlx::query_as(concat!(
        "INSERT INTO sandboxes (id, team_id, host_id, template_id, template_name, template_team_id,
             status, vcpus, memory_mb, disk_size_mb, timeout_sec, on_idle, auto_resume, public_ports,
             network, metadata, envs, created_by_type, created_by, forked_from)
         SELECT c.id, s.team_id, s.host_id, s.template_id, s.template_name, s.template_team_id,
             'starting', s.vcpus, s.memory_mb, s.disk_size_mb, coalesce($4, s.timeout_sec), s.on_idle,
             s.auto_resume, s.public_ports, s.network, coalesce($5, s.metadata), c.envs, $6,
             $7, s.id
         FROM sandboxes s, unnest($2::uuid[], $3::bytea[]) AS c (id, envs)
         WHERE s.id = $1
         RETURNING ",
        columns!()
    ))
    .bind(fork.source.as_uuid())
    .bind(ids)
    .bind(envs)
    .bind(fork.timeout_sec)
    .bind(fork.metadata.map(Json))
    .bind(fork.created_by.kind())
    .bind(fork.created_by.as_uuid())
    .fetch_all(executor)
    .await?)
}

/// These sandboxes, oldest first.
///
/// # Errors
/// The statement fails.
pub async fn sandboxes_get(
    executor: impl PgExecutor<'_>,
    ids: &[SandboxId],
) -> Result<Vec<SandboxRow>> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.as_uuid()).collect();
    Ok(sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        " FROM sandboxes WHERE id = ANY($1) ORDER BY id"
    ))
    .bind(ids)
    .fetch_all(executor)
    .await?)
}
