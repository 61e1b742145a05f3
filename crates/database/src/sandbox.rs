//! Sandboxes.

use std::collections::BTreeMap;

use sqlx::{FromRow, PgConnection, PgExecutor, types::Json};
use uuid::Uuid;
use wrenn_api::{
    OnIdle, Reason,
    sandbox::{Network, Versions},
};
use wrenn_ids::{HostId, SandboxId, TeamId, TemplateId};

use crate::{Principal, Result, State};

/// A sandbox.
#[derive(Debug, Clone, FromRow)]
pub struct SandboxRow {
    /// Identity.
    pub id: Uuid,
    /// Owner.
    pub team_id: Uuid,
    /// Where it is.
    pub host_id: Option<Uuid>,
    /// What it was made from.
    pub template_id: Uuid,
    /// The template's name then.
    pub template_name: String,
    /// Status.
    pub status: State,
    /// Raised by every operation that supersedes another.
    pub generation: i64,
    /// Why the status is what it is.
    pub reason: Option<String>,
    /// Code of what made it fail.
    pub error_code: Option<String>,
    /// Virtual CPUs.
    pub vcpus: i32,
    /// MiB.
    pub memory_mb: i32,
    /// MiB.
    pub disk_size_mb: i32,
    /// Idle seconds; 0 = never.
    pub timeout_sec: i32,
    /// What idleness does.
    pub on_idle: String,
    /// Whether a request wakes it.
    pub auto_resume: bool,
    /// Ports without a credential.
    pub public_ports: Vec<i32>,
    /// What it may reach.
    pub network: Json<Network>,
    /// The caller's pairs.
    pub metadata: Json<BTreeMap<String, String>>,
    /// Sealed environment.
    pub envs: Option<Vec<u8>>,
    /// Address inside the guest.
    pub guest_ip: Option<String>,
    /// Address on its host.
    pub host_ip: Option<String>,
    /// What it runs on.
    pub versions: Option<Json<Versions>>,
    /// Milliseconds since the epoch.
    pub created_at: i64,
    /// Milliseconds since the epoch.
    pub started_at: Option<i64>,
    /// Milliseconds since the epoch.
    pub last_active_at: Option<i64>,
    /// Milliseconds since the epoch.
    pub last_updated: i64,
}

impl SandboxRow {
    /// Identity.
    #[must_use]
    pub fn id(&self) -> SandboxId {
        SandboxId::from_uuid(self.id)
    }

    /// Where it is.
    #[must_use]
    pub fn host_id(&self) -> Option<HostId> {
        self.host_id.map(HostId::from_uuid)
    }

    /// Owner.
    #[must_use]
    pub fn team_id(&self) -> TeamId {
        TeamId::from_uuid(self.team_id)
    }

    /// What it was made from.
    #[must_use]
    pub fn template_id(&self) -> TemplateId {
        TemplateId::from_uuid(self.template_id)
    }
}

macro_rules! columns {
    () => {
        "id, team_id, host_id, template_id, template_name, status, generation, reason,
         error_code, vcpus,
         memory_mb, disk_size_mb, timeout_sec, on_idle, auto_resume, public_ports, network, metadata,
         envs, guest_ip, host_ip, versions,
         (extract(epoch FROM created_at) * 1000)::bigint AS created_at,
         (extract(epoch FROM started_at) * 1000)::bigint AS started_at,
         (extract(epoch FROM last_active_at) * 1000)::bigint AS last_active_at,
         (extract(epoch FROM last_updated) * 1000)::bigint AS last_updated"
    };
}
pub(crate) use columns;

/// A sandbox to add.
#[derive(Debug, Clone)]
pub struct NewSandbox<'a> {
    /// Identity.
    pub id: SandboxId,
    /// Owner.
    pub team: TeamId,
    /// Where capacity is reserved for it.
    pub host: HostId,
    /// What it is made from.
    pub template: &'a crate::TemplateRow,
    /// Virtual CPUs.
    pub vcpus: i32,
    /// MiB.
    pub memory_mb: i32,
    /// MiB.
    pub disk_size_mb: i32,
    /// Idle seconds.
    pub timeout_sec: i32,
    /// What idleness does.
    pub on_idle: OnIdle,
    /// Whether a request wakes it.
    pub auto_resume: bool,
    /// Ports without a credential.
    pub public_ports: Vec<i32>,
    /// What it may reach.
    pub network: &'a Network,
    /// The caller's pairs.
    pub metadata: &'a BTreeMap<String, String>,
    /// Sealed environment.
    pub envs: Option<&'a [u8]>,
    /// Who asked.
    pub created_by: Principal,
}

/// Adds a sandbox with capacity reserved on its host: it is `starting` from the first moment that
/// anybody can see it.
///
/// # Errors
/// The statement fails.
pub async fn sandbox_insert(
    executor: impl PgExecutor<'_>,
    sandbox: &NewSandbox<'_>,
) -> Result<SandboxRow> {
    Ok(sqlx::query_as(concat!(
        "INSERT INTO sandboxes (id, team_id, host_id, template_id, template_name, template_team_id,
             status, vcpus, memory_mb, disk_size_mb, timeout_sec, on_idle, auto_resume, public_ports,
             network, metadata, envs, created_by_type, created_by)
         VALUES ($1, $2, $3, $4, $5, $6, 'starting', $7, $8, $9, $10, $11, $12, $13, $14, $15, $16,
             $17, $18)
         RETURNING ",
        columns!()
    ))
    .bind(sandbox.id.as_uuid())
    .bind(sandbox.team.as_uuid())
    .bind(sandbox.host.as_uuid())
    .bind(sandbox.template.id)
    .bind(&sandbox.template.name)
    .bind(sandbox.template.team_id)
    .bind(sandbox.vcpus)
    .bind(sandbox.memory_mb)
    .bind(sandbox.disk_size_mb)
    .bind(sandbox.timeout_sec)
    .bind(sandbox.on_idle.as_str())
    .bind(sandbox.auto_resume)
    .bind(&sandbox.public_ports)
    .bind(Json(sandbox.network))
    .bind(Json(sandbox.metadata))
    .bind(sandbox.envs)
    .bind(sandbox.created_by.kind())
    .bind(sandbox.created_by.as_uuid())
    .fetch_one(executor)
    .await?)
}

/// A sandbox, whoever owns it.
///
/// # Errors
/// The statement fails.
pub async fn sandbox_get(
    executor: impl PgExecutor<'_>,
    id: SandboxId,
) -> Result<Option<SandboxRow>> {
    Ok(sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        " FROM sandboxes WHERE id = $1"
    ))
    .bind(id.as_uuid())
    .fetch_optional(executor)
    .await?)
}

/// A sandbox of this team.
///
/// # Errors
/// The statement fails.
pub async fn sandbox_get_of_team(
    executor: impl PgExecutor<'_>,
    id: SandboxId,
    team: TeamId,
) -> Result<Option<SandboxRow>> {
    Ok(sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        " FROM sandboxes WHERE id = $1 AND team_id = $2"
    ))
    .bind(id.as_uuid())
    .bind(team.as_uuid())
    .fetch_optional(executor)
    .await?)
}

/// A sandbox, its row locked until the transaction ends.
///
/// # Errors
/// The statement fails.
pub async fn sandbox_lock(
    connection: &mut PgConnection,
    id: SandboxId,
) -> Result<Option<SandboxRow>> {
    Ok(sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        " FROM sandboxes WHERE id = $1 FOR UPDATE"
    ))
    .bind(id.as_uuid())
    .fetch_optional(connection)
    .await?)
}

/// Which of a team's sandboxes a list shows.
#[derive(Debug, Clone)]
pub struct ListFilter {
    /// Statuses.
    pub states: Vec<State>,
    /// Template name or id.
    pub template: Option<String>,
    /// Pairs that the metadata must have.
    pub metadata: BTreeMap<String, String>,
    /// At most this many.
    pub limit: i64,
    /// Only those after this one.
    pub after: Option<SandboxId>,
}

/// A team's sandboxes, newest first.
///
/// # Errors
/// The statement fails.
pub async fn sandbox_list(
    executor: impl PgExecutor<'_>,
    team: TeamId,
    filter: &ListFilter,
) -> Result<Vec<SandboxRow>> {
    let template_id = filter
        .template
        .as_deref()
        .and_then(|text| text.parse::<TemplateId>().ok());
    let template_name = if template_id.is_some() {
        None
    } else {
        filter.template.as_deref()
    };
    // The key of the page is looked up in the same statement: ids alone do not order rows of one
    // millisecond as created_at does.
    Ok(sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        " FROM sandboxes
         WHERE team_id = $1 AND status = ANY($2)
           AND ($3::uuid IS NULL OR template_id = $3)
           AND ($4::text IS NULL OR template_name = $4)
           AND ($5::jsonb = '{}' OR metadata @> $5)
           AND ($6::uuid IS NULL OR (sandboxes.created_at, id) <
                (SELECT p.created_at, p.id FROM sandboxes p WHERE p.id = $6 AND p.team_id = $1))
         ORDER BY sandboxes.created_at DESC, id DESC LIMIT $7"
    ))
    .bind(team.as_uuid())
    .bind(State::texts(&filter.states))
    .bind(template_id.map(TemplateId::as_uuid))
    .bind(template_name)
    .bind(Json(&filter.metadata))
    .bind(filter.after.map(SandboxId::as_uuid))
    .bind(filter.limit)
    .fetch_all(executor)
    .await?)
}

/// Sandboxes of any team, or of this one, newest first.
///
/// # Errors
/// The statement fails.
pub async fn sandbox_list_all(
    executor: impl PgExecutor<'_>,
    team: Option<TeamId>,
    filter: &ListFilter,
) -> Result<Vec<SandboxRow>> {
    Ok(sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        " FROM sandboxes
         WHERE status = ANY($1) AND ($2::uuid IS NULL OR team_id = $2)
           AND ($3::uuid IS NULL OR (sandboxes.created_at, id) <
                (SELECT p.created_at, p.id FROM sandboxes p WHERE p.id = $3))
         ORDER BY sandboxes.created_at DESC, id DESC LIMIT $4"
    ))
    .bind(State::texts(&filter.states))
    .bind(team.map(TeamId::as_uuid))
    .bind(filter.after.map(SandboxId::as_uuid))
    .bind(filter.limit)
    .fetch_all(executor)
    .await?)
}

/// What happens to the generation in a transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// The same operation goes on.
    Keep,
    /// A new operation begins that outranks every earlier one.
    Next,
}

/// The one way a status changes: a compare-and-set on status and generation.
///
/// Answers the generation afterwards, or `None` when the row was not as assumed; the caller re-reads and
/// decides between "done already" and a conflict.
///
/// # Errors
/// The statement fails.
pub async fn transition(
    executor: impl PgExecutor<'_>,
    id: SandboxId,
    from: &[State],
    to: State,
    generation: i64,
    then: Generation,
    reason: Option<Reason>,
) -> Result<Option<i64>> {
    Ok(sqlx::query_scalar(
        "UPDATE sandboxes SET status = $4, status_changed_at = clock_timestamp(), reason = $5,
                generation = generation + $6, last_updated = clock_timestamp()
         WHERE id = $1 AND status = ANY($2) AND generation = $3
         RETURNING generation",
    )
    .bind(id.as_uuid())
    .bind(State::texts(from))
    .bind(generation)
    .bind(to.as_str())
    .bind(reason.map(Reason::as_str))
    .bind(i64::from(then == Generation::Next))
    .fetch_optional(executor)
    .await?)
}

/// Writes what made a sandbox fail.
///
/// # Errors
/// The statement fails.
pub async fn sandbox_set_error(
    executor: impl PgExecutor<'_>,
    id: SandboxId,
    error_code: &str,
) -> Result<()> {
    sqlx::query("UPDATE sandboxes SET error_code = $2 WHERE id = $1")
        .bind(id.as_uuid())
        .bind(error_code)
        .execute(executor)
        .await?;
    Ok(())
}

/// Moves the reservation of a starting sandbox to another host; false when it is not starting any more.
///
/// # Errors
/// The statement fails.
pub async fn sandbox_assign_host(
    executor: impl PgExecutor<'_>,
    id: SandboxId,
    generation: i64,
    host: HostId,
) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE sandboxes SET host_id = $3, last_updated = now()
         WHERE id = $1 AND generation = $2 AND status = 'starting'",
    )
    .bind(id.as_uuid())
    .bind(generation)
    .bind(host.as_uuid())
    .execute(executor)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// What a host says of a sandbox that became ready.
#[derive(Debug, Clone)]
pub struct ReadyFacts {
    /// Address inside the guest.
    pub guest_ip: String,
    /// Address on its host.
    pub host_ip: String,
    /// What it runs on.
    pub versions: Versions,
}

/// Writes the facts of a sandbox that has just become running.
///
/// # Errors
/// The statement fails.
pub async fn sandbox_ready(
    executor: impl PgExecutor<'_>,
    id: SandboxId,
    facts: &ReadyFacts,
) -> Result<()> {
    sqlx::query(
        "UPDATE sandboxes SET guest_ip = nullif($2, ''), host_ip = nullif($3, ''), versions = $4,
                started_at = coalesce(started_at, now()), last_active_at = now()
         WHERE id = $1",
    )
    .bind(id.as_uuid())
    .bind(&facts.guest_ip)
    .bind(&facts.host_ip)
    .bind(Json(&facts.versions))
    .execute(executor)
    .await?;
    Ok(())
}

/// Settings of a sandbox that a caller may change; absent ones stay.
#[derive(Debug, Clone, Default)]
pub struct PolicyChange<'a> {
    /// Idle seconds.
    pub timeout_sec: Option<i32>,
    /// What idleness does.
    pub on_idle: Option<OnIdle>,
    /// Whether a request wakes it.
    pub auto_resume: Option<bool>,
    /// Ports without a credential.
    pub public_ports: Option<Vec<i32>>,
    /// The caller's pairs.
    pub metadata: Option<&'a BTreeMap<String, String>>,
    /// What it may reach.
    pub network: Option<&'a Network>,
}

/// Changes settings; `None` when the sandbox has stopped.
///
/// # Errors
/// The statement fails.
pub async fn sandbox_update_policy(
    executor: impl PgExecutor<'_>,
    id: SandboxId,
    change: &PolicyChange<'_>,
) -> Result<Option<SandboxRow>> {
    Ok(sqlx::query_as(concat!(
        "UPDATE sandboxes SET timeout_sec = coalesce($2, timeout_sec),
                on_idle = coalesce($3, on_idle), auto_resume = coalesce($4, auto_resume),
                public_ports = coalesce($5, public_ports), metadata = coalesce($6, metadata),
                network = coalesce($7, network), last_updated = now()
         WHERE id = $1 AND status NOT IN ('stopping', 'stopped') RETURNING ",
        columns!()
    ))
    .bind(id.as_uuid())
    .bind(change.timeout_sec)
    .bind(change.on_idle.map(OnIdle::as_str))
    .bind(change.auto_resume)
    .bind(&change.public_ports)
    .bind(change.metadata.map(Json))
    .bind(change.network.map(Json))
    .fetch_optional(executor)
    .await?)
}

/// Running sandboxes of a host that no operation holds become missing; answers which.
///
/// # Errors
/// The statement fails.
pub async fn sandboxes_mark_missing(
    executor: impl PgExecutor<'_>,
    host: HostId,
) -> Result<Vec<SandboxId>> {
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "UPDATE sandboxes s SET status = 'missing', reason = 'host_unreachable',
                status_changed_at = clock_timestamp(), last_updated = clock_timestamp()
         WHERE s.host_id = $1 AND s.status IN ('running', 'pausing', 'snapshotting')
           AND NOT EXISTS (SELECT 1 FROM sandbox_ops o WHERE o.sandbox_id = s.id
                           AND o.state IN ('queued', 'running'))
         RETURNING s.id",
    )
    .bind(host.as_uuid())
    .fetch_all(executor)
    .await?;
    Ok(ids.into_iter().map(SandboxId::from_uuid).collect())
}

/// Takes over when sandboxes were last active: pairs of id and milliseconds since the epoch.
///
/// # Errors
/// The statement fails.
pub async fn sandboxes_touch(
    executor: impl PgExecutor<'_>,
    active: &[(SandboxId, i64)],
) -> Result<()> {
    let (ids, times): (Vec<Uuid>, Vec<i64>) = active
        .iter()
        .map(|(id, time)| (id.as_uuid(), *time))
        .unzip();
    // The host's clock is not ours: never later than now, never backwards.
    sqlx::query(
        "UPDATE sandboxes s
         SET last_active_at = greatest(s.last_active_at,
                                       least(to_timestamp(r.at / 1000.0), now()))
         FROM unnest($1::uuid[], $2::bigint[]) AS r (id, at)
         WHERE s.id = r.id AND r.at > 0
           AND s.last_active_at IS DISTINCT FROM
               greatest(s.last_active_at, least(to_timestamp(r.at / 1000.0), now()))",
    )
    .bind(ids)
    .bind(times)
    .execute(executor)
    .await?;
    Ok(())
}

/// Removes up to 1,000 sandboxes that stopped 30 days ago.
///
/// # Errors
/// The statement fails.
pub async fn sandboxes_prune(executor: impl PgExecutor<'_>) -> Result<u64> {
    Ok(sqlx::query(
        "DELETE FROM sandboxes WHERE id IN (
             SELECT id FROM sandboxes
             WHERE status IN ('stopped', 'error')
               AND status_changed_at < now() - interval '30 days'
             LIMIT 1000 FOR UPDATE SKIP LOCKED)",
    )
    .execute(executor)
    .await?
    .rows_affected())
}
