//! Keeping rows and hosts in agreement.
//!
//! One task per online host: each 5 s, and whenever the host streams an event, it asks for a complete
//! report (`Sync`) and applies it in one transaction together with the acknowledged sequence number. Of
//! several replicas the one that gets the host's advisory lock applies; the others' passes do nothing.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use wrenn_api::{ErrorCode, Reason};
use wrenn_database::{
    CopyRow, Error as DbError, Generation, HostSync, JudgedRow, State, host_sync_commit,
    host_sync_lock, host_sync_position, hosts_online, sandboxes_to_judge, sandboxes_touch,
    template_copies_replace, transition,
};
use wrenn_ids::{HostId, SandboxId, TemplateId};
use wrenn_rpc::hostagent::{
    __buffa::oneof::host_event::Kind, DestroySandboxRequest, Operation, SyncRequest, SyncResponse,
    WatchEventsRequest,
};

use super::judgement::{Reported, Verdict, judge};
use crate::{
    app::{Error, Result, sandbox},
    hosts::{
        error::{Call, from_rpc},
        pool::within,
    },
    state::App,
};

const PERIOD: Duration = Duration::from_secs(5);
/// How long a report may take.
const LIMIT: Duration = Duration::from_secs(20);
/// How often the list of online hosts is read, besides each `host.up`.
const LIST: Duration = Duration::from_secs(5);

/// Wakes this replica's tasks: a host came online.
#[derive(Debug, Default)]
pub(crate) struct HostUp(Notify);

impl HostUp {
    pub(crate) fn announce(&self) {
        self.0.notify_one();
    }
}

/// Keeps one task alive for each online host, until shutdown.
pub(crate) async fn follow_hosts(app: Arc<App>) {
    let followed: Arc<Mutex<HashSet<HostId>>> = Arc::default();
    while !app.stop.is_cancelled() {
        let pass = async {
            for host in hosts_online(&app.db).await? {
                if followed
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(host)
                {
                    let (app, followed) = (Arc::clone(&app), Arc::clone(&followed));
                    app.clone().tasks.spawn(async move {
                        follow(&app, host).await;
                        followed
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .remove(&host);
                    });
                }
            }
            Ok(())
        };
        super::supervise("host list", pass).await;
        tokio::select! {
            () = app.stop.cancelled() => {}
            () = app.host_up.0.notified() => {}
            () = tokio::time::sleep(LIST) => {}
        }
    }
}

/// Asks one host for reports while it is online.
async fn follow(app: &Arc<App>, host: HostId) {
    let events = Arc::new(Notify::new());
    let ended = CancellationToken::new();
    let _end = ended.clone().drop_guard();
    app.tasks.spawn({
        let (app, events, ended) = (Arc::clone(app), Arc::clone(&events), ended);
        async move {
            while !ended.is_cancelled() {
                tokio::select! {
                    () = ended.cancelled() => return,
                    () = app.stop.cancelled() => return,
                    outcome = watch(&app, host, &events) => {
                        if let Err(error) = outcome {
                            tracing::debug!(host_id = %host, cause = ?error, "the event stream ended");
                        }
                    }
                }
                tokio::select! {
                    () = ended.cancelled() => return,
                    () = tokio::time::sleep(PERIOD) => {}
                }
            }
        }
    });
    let mut absent = HashSet::new();
    let mut failures = 0;
    loop {
        match pass(app, host, &mut absent).await {
            Ok(()) => failures = 0,
            Err(error) => {
                failures += 1;
                // One line when it begins, not one each 5 s.
                if failures == 1 {
                    tracing::warn!(host_id = %host, cause = ?error, "a host's report failed");
                }
            }
        }
        tokio::select! {
            () = app.stop.cancelled() => return,
            () = events.notified() => {}
            () = tokio::time::sleep(PERIOD) => {}
        }
        match hosts_online(&app.db).await {
            Ok(online) if !online.contains(&host) => return,
            _ => {}
        }
    }
}

/// Follows the host's events and wakes the pass for each. Events are applied by `Sync` alone, so that
/// there is one place where they are acknowledged.
async fn watch(app: &App, host: HostId, events: &Notify) -> Result<()> {
    let Some((boot, seq, _)) = host_sync_position(&app.db, host).await? else {
        return Ok(());
    };
    let Some(client) = app.pool.client(host).await? else {
        return Ok(());
    };
    let request = WatchEventsRequest {
        acked_boot_id: boot,
        acked_seq: u64::try_from(seq).unwrap_or(0),
        ..WatchEventsRequest::default()
    };
    let mut stream = client
        .watch_events(request)
        .await
        .map_err(|error| from_rpc(error, Call::Lifecycle))?;
    while let Some(message) = stream
        .message()
        .await
        .map_err(|error| from_rpc(error, Call::Lifecycle))?
    {
        if message.to_owned_message().event.is_set() {
            events.notify_one();
        }
    }
    Ok(())
}

/// One report: ask, judge, apply, and then what has to be done on the host.
async fn pass(app: &Arc<App>, host: HostId, absent: &mut HashSet<SandboxId>) -> Result<()> {
    let Some((boot, seq, asked_us)) = host_sync_position(&app.db, host).await? else {
        return Ok(());
    };
    let Some(client) = app.pool.client(host).await? else {
        return Ok(());
    };
    let request = SyncRequest {
        acked_boot_id: boot,
        acked_seq: u64::try_from(seq).unwrap_or(0),
        ..SyncRequest::default()
    };
    let report = client
        .sync_with_options(request, within(LIMIT))
        .await
        .map_err(|error| from_rpc(error, Call::Lifecycle))?
        .into_owned();
    let report = Report::new(report);
    let (changed, orders) = apply(app, host, &report, asked_us, absent).await?;
    for id in changed {
        app.bus.sandbox_changed(id);
    }
    for order in orders {
        carry_out(app, host, order).await;
    }
    Ok(())
}

/// A report, by sandbox.
struct Report {
    raw: SyncResponse,
    present: HashMap<SandboxId, Reported>,
    exited: HashSet<SandboxId>,
}

impl Report {
    fn new(raw: SyncResponse) -> Self {
        let present = raw
            .sandboxes
            .iter()
            .filter_map(|sandbox| {
                let state = sandbox.state.as_known().unwrap_or_default();
                let generation = i64::try_from(sandbox.generation).unwrap_or(i64::MAX);
                Some((
                    sandbox.sandbox_id.parse().ok()?,
                    Reported::Present(state, generation),
                ))
            })
            .collect();
        let exited = raw
            .events
            .iter()
            .filter(|event| matches!(event.kind, Some(Kind::Exited(_))))
            .filter_map(|event| event.sandbox_id.parse().ok())
            .collect();
        Self {
            raw,
            present,
            exited,
        }
    }
}

impl Report {
    /// Number of the last event in it. Not the host's newest: one may have come while it was written.
    fn applied(&self) -> u64 {
        self.raw
            .events
            .iter()
            .map(|event| event.seq)
            .max()
            .unwrap_or(0)
    }
}

/// What has to happen on a host after its report.
enum Order {
    Destroy(SandboxId, i64),
    FinishDestroy(SandboxId),
}

async fn apply(
    app: &App,
    host: HostId,
    report: &Report,
    asked_us: i64,
    absent: &mut HashSet<SandboxId>,
) -> Result<(Vec<SandboxId>, Vec<Order>)> {
    let mut tx = app.db.begin().await.map_err(DbError::from)?;
    if !host_sync_lock(&mut tx, host).await? {
        return Ok((Vec::new(), Vec::new()));
    }
    let named: Vec<SandboxId> = report.present.keys().copied().collect();
    let rows = sandboxes_to_judge(&mut *tx, host, &named).await?;
    let (mut changed, mut orders, mut now_absent) = (Vec::new(), Vec::new(), HashSet::new());
    for row in &rows {
        let id = SandboxId::from_uuid(row.id);
        let reported = match report.present.get(&id) {
            Some(reported) => *reported,
            None if absent.contains(&id) => Reported::AbsentTwice,
            None => Reported::Absent,
        };
        if !matches!(reported, Reported::Present(..)) {
            now_absent.insert(id);
        }
        let verdict = judge(row, host, reported, asked_us, report.exited.contains(&id));
        if let Some((to, reason)) = change(verdict) {
            let (from, keep) = ([row.status], Generation::Keep);
            if transition(&mut *tx, id, &from, to, row.generation, keep, reason)
                .await?
                .is_some()
            {
                tracing::info!(sandbox_id = %id, host_id = %host, from = row.status.as_str(), to = to.as_str(), "reconciled");
                changed.push(id);
            }
        }
        orders.extend(order(verdict, row));
    }
    let unknown = named
        .iter()
        .filter(|id| !rows.iter().any(|row| row.id == id.as_uuid()));
    let unknown = unknown.inspect(|id| {
        tracing::warn!(sandbox_id = %id, host_id = %host, "a host has a sandbox without a row");
    });
    metrics::gauge!("wrenn_quarantined_sandboxes", "host" => host.to_string())
        .set(unknown.count() as f64);
    touch(&mut tx, report).await?;
    let copies: Vec<CopyRow> = report.raw.templates.iter().filter_map(copy).collect();
    template_copies_replace(&mut tx, host, &copies).await?;
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let free = report.raw.host.as_option();
    let sync = HostSync {
        boot_id: &report.raw.boot_id,
        acked_seq: number(report.applied()),
        memory_free_mb: free.map_or(0, |host| number(host.memory_free_mib)),
        disk_free_mb: free.map_or(0, |host| number(host.disk_free_mib)),
    };
    host_sync_commit(&mut *tx, host, &sync).await?;
    tx.commit().await.map_err(DbError::from)?;
    *absent = now_absent;
    Ok((changed, orders))
}

fn change(verdict: Verdict) -> Option<(State, Option<Reason>)> {
    match verdict {
        Verdict::Restore => Some((State::Running, None)),
        Verdict::Stop(reason) => Some((State::Stopped, Some(reason))),
        Verdict::Lost => Some((State::Error, Some(Reason::SnapshotLost))),
        Verdict::Abandoned => Some((State::Error, Some(Reason::CreateFailed))),
        Verdict::Leave | Verdict::DestroyThere | Verdict::FinishDestroy => None,
    }
}

fn order(verdict: Verdict, row: &JudgedRow) -> Option<Order> {
    let id = SandboxId::from_uuid(row.id);
    match verdict {
        Verdict::DestroyThere => Some(Order::Destroy(id, row.generation)),
        Verdict::FinishDestroy => Some(Order::FinishDestroy(id)),
        _ => None,
    }
}

fn copy(template: &wrenn_rpc::hostagent::Template) -> Option<CopyRow> {
    let template_id: TemplateId = template.template_id.parse().ok()?;
    Some(CopyRow {
        template_id,
        size_bytes: i64::try_from(template.size_bytes).unwrap_or(0),
    })
}

async fn touch(tx: &mut wrenn_database::PgConnection, report: &Report) -> Result<()> {
    let active: Vec<(SandboxId, i64)> = report
        .raw
        .sandboxes
        .iter()
        .filter_map(|sandbox| Some((sandbox.sandbox_id.parse().ok()?, sandbox.last_active_at_ms)))
        .collect();
    Ok(sandboxes_touch(tx, &active).await?)
}

/// Does on the host what the report called for; a failure is repeated by the next report.
async fn carry_out(app: &Arc<App>, host: HostId, order: Order) {
    let outcome = match order {
        Order::Destroy(id, generation) => destroy_there(app, host, id, generation).await,
        Order::FinishDestroy(id) => {
            sandbox::begin_destroy(app, id, Reason::Reconciled, "reconciliation").await
        }
    };
    if let Err(error) = outcome {
        tracing::warn!(host_id = %host, cause = ?error, "a host was not cleaned up yet");
    }
}

async fn destroy_there(app: &App, host: HostId, id: SandboxId, generation: i64) -> Result<()> {
    let Some(client) = app.pool.client(host).await? else {
        return Ok(());
    };
    tracing::warn!(sandbox_id = %id, host_id = %host, "destroying a sandbox that should not be there");
    let request = DestroySandboxRequest {
        operation: Some(Operation {
            op_id: format!("reconcile-{id}-{generation}"),
            generation: u64::try_from(generation).unwrap_or(0),
            host_id: host.to_string(),
            ..Operation::default()
        })
        .into(),
        sandbox_id: id.to_string(),
        ..DestroySandboxRequest::default()
    };
    match client
        .destroy_sandbox_with_options(request, within(LIMIT))
        .await
    {
        Ok(_) => Ok(()),
        Err(error) => match from_rpc(error, Call::Lifecycle) {
            error if error.code == ErrorCode::NotFound => Ok(()),
            error => Err::<(), Error>(error),
        },
    }
}
