//! Quota and reservation: the one transaction that lets a sandbox in.
//!
//! The team's row is locked, its live sandboxes are summed, the chosen host's row is locked and looked at
//! again, and the sandbox is inserted with its operation. Nothing can pass the quota or a host's capacity
//! between the look and the insert.

use wrenn_api::ErrorCode;
use wrenn_database::{
    Candidates, Error as DbError, NewOp, NewSandbox, OpActor, OpKind, OpParams, OpRow,
    PgConnection, PgPool, QuotaUse, SandboxRow, TeamQuota, host_candidates, host_lock, host_usage,
    idempotency_insert, op_insert, sandbox_insert, team_brings_hosts, team_lock_quota,
    team_quota_use,
};
use wrenn_ids::{HostId, TeamId, TemplateId};

use super::{
    Error, Result,
    scheduler::{Demand, Filter, NoHost, Scheduler},
};
use crate::background::create;

/// How often a host is chosen again because others were faster.
const ROUNDS: usize = 8;

/// Everything that goes into the rows but the host.
pub(crate) struct Admission<'a> {
    pub(crate) sandbox: NewSandbox<'a>,
    pub(crate) demand: Demand,
    pub(crate) actor: &'a OpActor,
    pub(crate) owner: uuid::Uuid,
    pub(crate) request_id: &'a str,
    /// Route, key and SHA-256 of the body.
    pub(crate) idempotency: Option<(&'a str, &'a str, [u8; 32])>,
}

/// What came of it.
pub(crate) enum Admitted {
    /// Rows are committed; the operation is leased to us.
    Yes(Box<(SandboxRow, OpRow)>),
    /// Another request with the same idempotency key was faster.
    Repeated,
}

/// Lets a sandbox in.
///
/// # Errors
/// `quota_exceeded`, `no_hosts_available`, or the database is away.
pub(crate) async fn admit(
    db: &PgPool,
    scheduler: &dyn Scheduler,
    mut admission: Admission<'_>,
) -> Result<Admitted> {
    let template = admission.sandbox.template.id();
    for _ in 0..ROUNDS {
        let (team, demand) = (admission.sandbox.team, &admission.demand);
        let host = choose(db, scheduler, template, team, demand, &[]).await?;
        admission.sandbox.host = host;
        let mut tx = db.begin().await.map_err(DbError::from)?;
        let quota = team_lock_quota(&mut tx, admission.sandbox.team)
            .await?
            .ok_or_else(|| Error::new(ErrorCode::Unauthorized, "the team was deleted"))?;
        let used = team_quota_use(&mut *tx, admission.sandbox.team).await?;
        let NewSandbox {
            vcpus,
            memory_mb,
            disk_size_mb,
            ..
        } = admission.sandbox;
        check_quota(&quota, &used, [1, vcpus, memory_mb, disk_size_mb])?;
        host_lock(&mut tx, host).await?;
        let usage = host_usage(&mut *tx, template, host).await?;
        if !usage.is_some_and(|usage| scheduler.fits(&admission.demand, &usage)) {
            continue;
        }
        if let Some((route, key, hash)) = &admission.idempotency {
            let id = admission.sandbox.id.as_uuid();
            let team = admission.sandbox.team;
            if !idempotency_insert(&mut *tx, team, route, key, hash, id).await? {
                return Ok(Admitted::Repeated);
            }
        }
        let row = sandbox_insert(&mut *tx, &admission.sandbox).await?;
        let op = op_insert(&mut *tx, &create_op(&admission)).await?;
        tx.commit().await.map_err(DbError::from)?;
        return Ok(Admitted::Yes(Box::new((row, op))));
    }
    Err(Error::new(
        ErrorCode::NoHostsAvailable,
        "hosts fill up faster than one can be chosen",
    ))
}

fn create_op<'a>(admission: &'a Admission<'_>) -> NewOp<'a> {
    NewOp {
        sandbox: admission.sandbox.id,
        kind: OpKind::Create,
        generation: 1,
        step: create::FIRST_STEP,
        params: OpParams::default(),
        actor: admission.actor,
        request_id: admission.request_id,
        owner: admission.owner,
        deadline_sec: Some(create::DEADLINE_SEC),
    }
}

/// Chooses another host for a sandbox whose first one refused.
///
/// # Errors
/// `no_hosts_available`, or the database is away.
pub(crate) async fn next_host(
    db: &PgPool,
    scheduler: &dyn Scheduler,
    row: &SandboxRow,
    demand: &Demand,
    refused: &[uuid::Uuid],
) -> Result<HostId> {
    let (template, team) = (row.template_id(), row.team_id());
    choose(db, scheduler, template, team, demand, refused).await
}

/// The host that is to take a sandbox, none of `refused`. A refusal comes from a look at all hosts.
async fn choose(
    db: &PgPool,
    scheduler: &dyn Scheduler,
    template: TemplateId,
    team: TeamId,
    demand: &Demand,
    refused: &[uuid::Uuid],
) -> Result<HostId> {
    if scheduler.looks_at() == Candidates::Sample {
        let mut hosts = host_candidates(db, template, team, Candidates::Sample).await?;
        hosts.retain(|host| !refused.contains(&host.id));
        if let Ok(host) = scheduler.choose(demand, &hosts) {
            return Ok(host);
        }
    }
    let mut hosts = host_candidates(db, template, team, Candidates::All).await?;
    let any = !hosts.is_empty();
    hosts.retain(|host| !refused.contains(&host.id));
    match scheduler.choose(demand, &hosts) {
        Ok(host) => Ok(host),
        // Whoever has no candidates at all is told whether that is because their team brings its own hosts.
        Err(no) if !any && team_brings_hosts(db, team).await? == Some(true) => {
            let filter = Filter::Team;
            Err(no_hosts(NoHost { filter, ..no }))
        }
        Err(no) => Err(no_hosts(no)),
    }
}

fn no_hosts(no: NoHost) -> Error {
    let message = match (no.filter, no.online) {
        (Filter::Team, _) => {
            "the team runs on its own hosts alone, and none of them has registered".to_owned()
        }
        (_, 0) => "no host is online".to_owned(),
        (Filter::Draining, online) => {
            format!("none of {online} online hosts takes new sandboxes: they are draining")
        }
        (Filter::Arch | Filter::Tags, online) => {
            format!(
                "none of {online} online hosts is what the template needs: {}",
                no.filter
            )
        }
        (_, online) => format!(
            "none of {online} online hosts has room: {} asked {}, most free {}",
            no.filter, no.asked, no.most_free
        ),
    };
    Error::new(ErrorCode::NoHostsAvailable, message)
        .text("filter", no.filter.to_string())
        .number("asked", no.asked)
        .number("most_free", no.most_free)
        .number("online", no.online)
}

/// Lets a paused sandbox run again on its host. The caller holds the row's lock; that of its team and of its
/// host follow, in this order, and what was seen holds until the transaction ends.
///
/// # Errors
/// `quota_exceeded`, `host_unavailable`, or the database is away.
pub(crate) async fn readmit(
    tx: &mut PgConnection,
    scheduler: &dyn Scheduler,
    row: &SandboxRow,
) -> Result<()> {
    // Paused ones count as sandboxes, with their disk, and with half of their memory.
    let quota = [0, row.vcpus, row.memory_mb, 0];
    let counted = (i64::from(row.memory_mb) + 1) / 2;
    on_its_host(tx, scheduler, row, quota, counted).await
}

/// Lets `count` more of the kind of `row` in on its host, whose lock the caller holds; see [`readmit`].
///
/// # Errors
/// `quota_exceeded`, `host_unavailable`, or the database is away.
pub(crate) async fn admit_beside(
    tx: &mut PgConnection,
    scheduler: &dyn Scheduler,
    row: &SandboxRow,
    count: i32,
) -> Result<()> {
    let all = |each: i32| each.saturating_mul(count);
    let [vcpus, memory_mb, disk_mb] = [row.vcpus, row.memory_mb, row.disk_size_mb].map(all);
    on_its_host(tx, scheduler, row, [count, vcpus, memory_mb, disk_mb], 0).await
}

/// `asked` as in [`check_quota`]; `counted` are the MiB of it that the host is charged with already.
async fn on_its_host(
    tx: &mut PgConnection,
    scheduler: &dyn Scheduler,
    row: &SandboxRow,
    asked: [i32; 4],
    counted: i64,
) -> Result<()> {
    let quota = team_lock_quota(tx, row.team_id())
        .await?
        .ok_or_else(|| Error::new(ErrorCode::Unauthorized, "the team was deleted"))?;
    let used = team_quota_use(&mut *tx, row.team_id()).await?;
    check_quota(&quota, &used, asked)?;
    let away = || {
        Error::new(
            ErrorCode::HostUnavailable,
            "the host that holds the sandbox takes no sandboxes now",
        )
    };
    let host = row.host_id().ok_or_else(away)?;
    host_lock(tx, host).await?;
    let usage = host_usage(&mut *tx, row.template_id(), host).await?;
    let mut usage = usage.ok_or_else(away)?;
    if !usage.online || !usage.synced || usage.draining {
        return Err(away());
    }
    usage.memory_mb_used -= counted;
    let [_, vcpus, memory_mb, disk_mb] = asked.map(|value| u32::try_from(value).unwrap_or(0));
    let demand = Demand {
        vcpus,
        memory_mb,
        disk_mb,
        ..Demand::default()
    };
    scheduler.choose(&demand, &[usage]).map_err(|no| {
        let text = format!(
            "the host that holds the sandbox has no room now: {} asked {}, free {}",
            no.filter, no.asked, no.most_free
        );
        Error::new(ErrorCode::HostUnavailable, text)
            .text("filter", no.filter.to_string())
            .number("asked", no.asked)
            .number("most_free", no.most_free)
    })?;
    Ok(())
}

/// `asked`: sandboxes, virtual CPUs, MiB of memory, MiB of disk.
fn check_quota(quota: &TeamQuota, used: &QuotaUse, asked: [i32; 4]) -> Result<()> {
    let [sandboxes, vcpus, memory_mb, disk_mb] = asked;
    let rows = [
        (
            "max_sandboxes",
            quota.max_sandboxes,
            used.sandboxes,
            sandboxes,
        ),
        ("max_vcpus", quota.max_vcpus, used.vcpus, vcpus),
        (
            "max_memory_mb",
            quota.max_memory_mb,
            used.memory_mb,
            memory_mb,
        ),
        ("max_disk_mb", quota.max_disk_mb, used.disk_mb, disk_mb),
    ];
    for (name, limit, used, requested) in rows {
        if requested > 0 && limit > 0 && used + i64::from(requested) > i64::from(limit) {
            let number = |value: i64| u64::try_from(value).unwrap_or(0);
            return Err(Error::new(
                ErrorCode::QuotaExceeded,
                format!("the team's {name} is {limit}; {used} are used and {requested} were asked"),
            )
            .text("quota", name)
            .number("limit", number(limit.into()))
            .number("used", number(used))
            .number("requested", number(requested.into())));
        }
    }
    Ok(())
}
