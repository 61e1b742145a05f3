//! Hosts: facts, liveness, what they hold, and how they are dialled.

use sqlx::{FromRow, PgConnection, PgExecutor, types::Json};
use uuid::Uuid;
use wrenn_ids::{HostId, SandboxId, TeamId, TemplateId};

use crate::Result;

/// A host as lists show it.
#[derive(Debug, Clone, FromRow)]
pub struct HostRow {
    /// Identity.
    pub id: Uuid,
    /// `regular` or `byoc`.
    pub r#type: String,
    /// Team that brought it.
    pub team_id: Option<Uuid>,
    /// That team's name.
    pub team_name: Option<String>,
    /// Where it was rented.
    pub provider: Option<String>,
    /// Where it stands.
    pub availability_zone: Option<String>,
    /// Like `x86_64`.
    pub arch: Option<String>,
    /// Logical processors.
    pub cpu_cores: Option<i32>,
    /// MiB.
    pub memory_mb: Option<i64>,
    /// GiB.
    pub disk_gb: Option<i64>,
    /// `host:port`.
    pub address: Option<String>,
    /// Status on the wire, draining included.
    pub status: String,
    /// Labels.
    pub tags: Vec<String>,
    /// Version of its agent.
    pub agent_version: Option<String>,
    /// Milliseconds since the epoch.
    pub cert_expires_at: Option<i64>,
    /// Milliseconds since the epoch.
    pub last_heartbeat_at: Option<i64>,
    /// Who added it.
    pub created_by: Option<Uuid>,
    /// Milliseconds since the epoch.
    pub created_at: i64,
    /// Milliseconds since the epoch.
    pub updated_at: i64,
    /// Sandboxes not stopped or in error.
    pub sandboxes: i64,
    /// Virtual CPUs they hold.
    pub vcpus_used: i64,
    /// MiB they hold.
    pub memory_mb_used: i64,
    /// MiB they hold.
    pub disk_mb_used: i64,
}

macro_rules! host_select {
    ($filter:literal) => {
        concat!(
            "SELECT h.id, h.type, h.team_id, t.name AS team_name, h.provider, h.availability_zone,
                    h.arch, h.cpu_cores, h.memory_mb, h.disk_gb, h.address,
                    CASE WHEN h.draining AND h.status = 'online' THEN 'draining' ELSE h.status END
                        AS status,
                    coalesce((SELECT array_agg(tag ORDER BY tag) FROM host_tags
                              WHERE host_id = h.id), '{}') AS tags,
                    h.agent_version,
                    (extract(epoch FROM h.cert_expires_at) * 1000)::bigint AS cert_expires_at,
                    (extract(epoch FROM h.last_heartbeat_at) * 1000)::bigint AS last_heartbeat_at,
                    h.created_by,
                    (extract(epoch FROM h.created_at) * 1000)::bigint AS created_at,
                    (extract(epoch FROM h.updated_at) * 1000)::bigint AS updated_at,
                    u.sandboxes, u.vcpus_used, u.memory_mb_used, u.disk_mb_used
             FROM hosts h LEFT JOIN teams t ON t.id = h.team_id
             CROSS JOIN LATERAL (
                 SELECT count(*) AS sandboxes,
                        coalesce(sum(vcpus) FILTER (WHERE status NOT IN
                            ('paused', 'snapshotting_paused', 'hibernating', 'hibernated')), 0)
                            ::bigint AS vcpus_used,
                        coalesce(sum(CASE WHEN status IN ('paused', 'snapshotting_paused',
                            'hibernating') THEN (memory_mb + 1) / 2
                            WHEN status = 'hibernated' THEN 0 ELSE memory_mb END), 0)::bigint
                            AS memory_mb_used,
                        coalesce(sum(disk_size_mb), 0)::bigint AS disk_mb_used
                 FROM sandboxes s
                 WHERE s.host_id = h.id AND s.status NOT IN ('stopped', 'error')
             ) u
             WHERE h.deleted_at IS NULL AND ",
            $filter,
            " ORDER BY h.created_at DESC, h.id DESC"
        )
    };
}

/// A host that is not deleted.
///
/// # Errors
/// The statement fails.
pub async fn host_get(executor: impl PgExecutor<'_>, id: HostId) -> Result<Option<HostRow>> {
    Ok(sqlx::query_as(host_select!("h.id = $1"))
        .bind(id.as_uuid())
        .fetch_optional(executor)
        .await?)
}

/// The hosts a caller may see: those that `team` brought, or all.
///
/// # Errors
/// The statement fails.
pub async fn host_list(
    executor: impl PgExecutor<'_>,
    team: Option<TeamId>,
) -> Result<Vec<HostRow>> {
    Ok(
        sqlx::query_as(host_select!("($1::uuid IS NULL OR h.team_id = $1)"))
            .bind(team.map(TeamId::as_uuid))
            .fetch_all(executor)
            .await?,
    )
}

/// How a host is dialled: a change of any part means another peer.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Target {
    /// Identity.
    pub id: Uuid,
    /// `host:port`.
    pub address: String,
    /// SHA-256 of its certificate.
    pub fingerprint: Vec<u8>,
    /// SHA-256 of the certificate before, for 10 minutes after a rotation.
    pub prev_fingerprint: Option<Vec<u8>>,
}

/// How to dial a registered host; `None` when it is deleted or never registered.
///
/// # Errors
/// The statement fails.
pub async fn host_target(executor: impl PgExecutor<'_>, id: HostId) -> Result<Option<Target>> {
    // A leaf lives 7 days, so its end tells when it was issued.
    Ok(sqlx::query_as(
        "SELECT id, address, cert_fingerprint AS fingerprint,
                CASE WHEN cert_expires_at - interval '7 days' + interval '10 minutes' > now()
                     THEN prev_cert_fingerprint END AS prev_fingerprint
         FROM hosts
         WHERE id = $1 AND deleted_at IS NULL AND address IS NOT NULL
           AND cert_fingerprint IS NOT NULL",
    )
    .bind(id.as_uuid())
    .fetch_optional(executor)
    .await?)
}

/// What an agent says about its machine.
#[derive(Debug, Clone)]
pub struct HostFacts<'a> {
    /// `host:port`.
    pub address: &'a str,
    /// Like `x86_64`.
    pub arch: &'a str,
    /// Logical processors.
    pub cpu_cores: i32,
    /// MiB.
    pub memory_mb: i64,
    /// GiB.
    pub disk_gb: i64,
    /// Version of the agent.
    pub agent_version: &'a str,
}

/// Writes the address of a registered host.
///
/// # Errors
/// The statement fails.
pub async fn host_set_address(
    executor: impl PgExecutor<'_>,
    id: HostId,
    address: &str,
) -> Result<()> {
    sqlx::query("UPDATE hosts SET address = $2, updated_at = now() WHERE id = $1")
        .bind(id.as_uuid())
        .bind(address)
        .execute(executor)
        .await?;
    Ok(())
}

/// Accepts a sign of life. Answers the status before and after, `None` when the host is deleted.
///
/// # Errors
/// The statement fails.
pub async fn host_heartbeat(
    executor: impl PgExecutor<'_>,
    id: HostId,
    agent_version: Option<&str>,
    going_down: Option<bool>,
) -> Result<Option<(String, String)>> {
    Ok(sqlx::query_as(
        "UPDATE hosts h SET
             status = CASE WHEN $3 THEN 'offline' ELSE 'online' END,
             last_heartbeat_at = now(), updated_at = now(),
             agent_version = coalesce($2, h.agent_version)
         FROM (SELECT id, status FROM hosts WHERE id = $1 FOR UPDATE) before
         WHERE h.id = before.id AND h.deleted_at IS NULL AND h.cert_fingerprint IS NOT NULL
         RETURNING before.status, h.status",
    )
    .bind(id.as_uuid())
    .bind(agent_version)
    .bind(going_down.unwrap_or(false))
    .fetch_optional(executor)
    .await?)
}

/// Marks online hosts without a heartbeat for 90 s unreachable, and answers which.
///
/// # Errors
/// The statement fails.
pub async fn hosts_mark_unreachable(executor: impl PgExecutor<'_>) -> Result<Vec<HostId>> {
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "UPDATE hosts SET status = 'unreachable', updated_at = now()
         WHERE status = 'online' AND deleted_at IS NULL
           AND last_heartbeat_at < now() - interval '90 seconds'
         RETURNING id",
    )
    .fetch_all(executor)
    .await?;
    Ok(ids.into_iter().map(HostId::from_uuid).collect())
}

/// Hosts that are online.
///
/// # Errors
/// The statement fails.
pub async fn hosts_online(executor: impl PgExecutor<'_>) -> Result<Vec<HostId>> {
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "SELECT id FROM hosts WHERE status = 'online' AND deleted_at IS NULL ORDER BY id",
    )
    .fetch_all(executor)
    .await?;
    Ok(ids.into_iter().map(HostId::from_uuid).collect())
}

/// Hosts that take sandboxes now: online, not draining, and with a report the scheduler trusts.
///
/// # Errors
/// The statement fails.
pub async fn hosts_ready(executor: impl PgExecutor<'_>) -> Result<Vec<HostId>> {
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "SELECT id FROM hosts WHERE status = 'online' AND NOT draining AND deleted_at IS NULL
           AND last_sync_at > now() - interval '30 seconds' ORDER BY id",
    )
    .fetch_all(executor)
    .await?;
    Ok(ids.into_iter().map(HostId::from_uuid).collect())
}

/// A host as the scheduler sees it.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct HostUsageRow {
    /// Identity.
    pub id: Uuid,
    /// Online.
    pub online: bool,
    /// Takes no new sandboxes.
    pub draining: bool,
    /// Its last complete report is younger than 30 s.
    pub synced: bool,
    /// Like `x86_64`; empty before it registered.
    pub arch: String,
    /// Labels.
    pub tags: Vec<String>,
    /// Logical processors.
    pub cpu_cores: i32,
    /// MiB.
    pub memory_mb: i64,
    /// MiB free on its disk, as last reported; `None` before the first report.
    pub disk_free_mb: Option<i64>,
    /// Virtual CPUs of pending, starting and running sandboxes.
    pub vcpus_used: i64,
    /// MiB of the same, and half of each paused one.
    pub memory_mb_used: i64,
    /// Whether it holds a ready copy of the template.
    pub has_template: bool,
}

macro_rules! usage_select {
    ($hosts:literal) => {
        concat!(
            "SELECT h.id, h.status = 'online' AS online, h.draining, coalesce(h.arch, '') AS arch,
                    ARRAY(SELECT t.tag FROM host_tags t WHERE t.host_id = h.id) AS tags,
                    coalesce(h.last_sync_at > now() - interval '30 seconds', false) AS synced,
                    coalesce(h.cpu_cores, 0) AS cpu_cores, coalesce(h.memory_mb, 0) AS memory_mb,
                    (h.metadata ->> 'disk_free_mb')::bigint AS disk_free_mb,
                    u.vcpus_used, u.memory_mb_used, h.has_template
             FROM (SELECT h.*, EXISTS (
                       SELECT 1 FROM template_copies c
                       WHERE c.host_id = h.id AND c.template_id = $1 AND c.state = 'ready')
                       AS has_template
                   FROM hosts h WHERE h.deleted_at IS NULL AND h.address IS NOT NULL AND ",
            $hosts,
            ") h CROSS JOIN LATERAL (
                 SELECT coalesce(sum(vcpus) FILTER (WHERE NOT paused), 0)::bigint AS vcpus_used,
                        coalesce(sum(CASE WHEN paused THEN (memory_mb + 1) / 2 ELSE memory_mb END),
                                 0)::bigint AS memory_mb_used
                 FROM (SELECT vcpus, memory_mb,
                              status IN ('paused', 'snapshotting_paused', 'hibernating') AS paused
                       FROM sandboxes
                       WHERE host_id = h.id
                         AND status NOT IN ('stopped', 'error', 'hibernated')) held
             ) u"
        )
    };
}

/// Which of the hosts that could run a sandbox are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Candidates {
    /// All of them, also those that take none now: what a refusal is explained by.
    All,
    /// At most [`SAMPLE`] that take sandboxes now, by chance; holders of the template first. What each holds is summed
    /// up for each that is looked at: of a thousand hosts some dozens are as good a choice as all.
    Sample,
}

/// Hosts of a sample.
pub const SAMPLE: i64 = 48;

/// Hosts that could run a team's sandbox of this template, with what they hold. Filters are the
/// scheduler's; here only hosts of other teams are left out.
///
/// # Errors
/// The statement fails.
pub async fn host_candidates(
    executor: impl PgExecutor<'_>,
    template: TemplateId,
    team: TeamId,
    which: Candidates,
) -> Result<Vec<HostUsageRow>> {
    // A team that brings hosts runs on those and on no others.
    Ok(sqlx::query_as(usage_select!(
        "h.team_id IS NOT DISTINCT FROM (SELECT id FROM live_teams WHERE id = $2 AND is_byoc)
         AND ($3::bigint IS NULL OR h.status = 'online' AND NOT h.draining
              AND h.last_sync_at > now() - interval '30 seconds')
         ORDER BY has_template DESC, random() LIMIT $3"
    ))
    .bind(template.as_uuid())
    .bind(team.as_uuid())
    .bind(match which {
        Candidates::All => None,
        Candidates::Sample => Some(SAMPLE),
    })
    .fetch_all(executor)
    .await?)
}

/// What one host holds now; callers hold its row lock ([`host_lock`]).
///
/// # Errors
/// The statement fails.
pub async fn host_usage(
    executor: impl PgExecutor<'_>,
    template: TemplateId,
    host: HostId,
) -> Result<Option<HostUsageRow>> {
    Ok(sqlx::query_as(usage_select!("h.id = $2"))
        .bind(template.as_uuid())
        .bind(host.as_uuid())
        .fetch_optional(executor)
        .await?)
}

/// Locks the host's row until the transaction ends, so that reservations follow each other.
///
/// # Errors
/// The statement fails.
pub async fn host_lock(connection: &mut PgConnection, host: HostId) -> Result<()> {
    // Not FOR UPDATE: rows that refer to the host (sandboxes, copies) stay writable.
    sqlx::query("SELECT 1 FROM hosts WHERE id = $1 FOR NO KEY UPDATE")
        .bind(host.as_uuid())
        .execute(connection)
        .await?;
    Ok(())
}

/// Takes the advisory lock of the host's sync for this transaction; false when another replica has it.
///
/// # Errors
/// The statement fails.
pub async fn host_sync_lock(connection: &mut PgConnection, host: HostId) -> Result<bool> {
    Ok(
        sqlx::query_scalar("SELECT pg_try_advisory_xact_lock(hashtextextended($1::text, 1))")
            .bind(host.as_uuid())
            .fetch_one(connection)
            .await?,
    )
}

/// What a complete report says about the host itself.
#[derive(Debug, Clone)]
pub struct HostSync<'a> {
    /// Changes with each start of the machine.
    pub boot_id: &'a str,
    /// Events up to this one are applied in the same transaction; 0 when there were none.
    pub acked_seq: i64,
    /// MiB free.
    pub memory_free_mb: i64,
    /// MiB free.
    pub disk_free_mb: i64,
}

/// Records an applied report.
///
/// # Errors
/// The statement fails.
pub async fn host_sync_commit(
    executor: impl PgExecutor<'_>,
    host: HostId,
    sync: &HostSync<'_>,
) -> Result<()> {
    let metadata = Json(
        [
            ("memory_free_mb", sync.memory_free_mb),
            ("disk_free_mb", sync.disk_free_mb),
        ]
        .into_iter()
        .collect::<std::collections::BTreeMap<_, _>>(),
    );
    sqlx::query(
        "UPDATE hosts SET last_sync_at = now(), boot_id = $2, metadata = metadata || $4,
                acked_seq = CASE WHEN boot_id = $2 THEN greatest(acked_seq, $3) ELSE $3 END
         WHERE id = $1",
    )
    .bind(host.as_uuid())
    .bind(sync.boot_id)
    .bind(sync.acked_seq)
    .bind(metadata)
    .execute(executor)
    .await?;
    Ok(())
}

/// Where the reading of a host's events stands, and the database's clock in microseconds.
///
/// # Errors
/// The statement fails.
pub async fn host_sync_position(
    executor: impl PgExecutor<'_>,
    host: HostId,
) -> Result<Option<(String, i64, i64)>> {
    Ok(sqlx::query_as(
        "SELECT coalesce(boot_id, ''), acked_seq,
                (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
         FROM hosts WHERE id = $1 AND deleted_at IS NULL",
    )
    .bind(host.as_uuid())
    .fetch_optional(executor)
    .await?)
}

/// A sandbox as the judgement of a report needs it.
#[derive(Debug, Clone, FromRow)]
pub struct JudgedRow {
    /// Identity.
    pub id: Uuid,
    /// Where it should be.
    pub host_id: Option<Uuid>,
    /// Status.
    pub status: crate::State,
    /// Its generation.
    pub generation: i64,
    /// When the status changed, in microseconds of the database's clock.
    pub changed_us: i64,
    /// Whether an operation is live on it, or on what it is forked from.
    pub has_live_op: bool,
    /// Idle seconds; 0 = never.
    pub timeout_sec: i32,
    /// What idleness does.
    pub on_idle: String,
    /// Why the status is what it is.
    pub reason: Option<String>,
}

/// The sandboxes that a report of the host has to be held against: those that should be on it, and
/// those that it names.
///
/// # Errors
/// The statement fails.
pub async fn sandboxes_to_judge(
    executor: impl PgExecutor<'_>,
    host: HostId,
    named: &[SandboxId],
) -> Result<Vec<JudgedRow>> {
    let named: Vec<Uuid> = named.iter().map(|id| id.as_uuid()).collect();
    Ok(sqlx::query_as(
        "SELECT s.id, s.host_id, s.status, s.generation,
                (extract(epoch FROM s.status_changed_at) * 1000000)::bigint AS changed_us,
                EXISTS (SELECT 1 FROM sandbox_ops o
                        WHERE o.state IN ('queued', 'running') AND (o.sandbox_id = s.id
                           OR s.status = 'starting' AND o.sandbox_id = s.forked_from
                              AND o.kind = 'fork')) AS has_live_op,
                s.timeout_sec, s.on_idle, s.reason
         FROM sandboxes s
         WHERE (s.host_id = $1 AND s.status NOT IN ('stopped', 'error')) OR s.id = ANY($2)",
    )
    .bind(host.as_uuid())
    .bind(named)
    .fetch_all(executor)
    .await?)
}
