//! Keeping rows and hosts in agreement.
//!
//! One task per online host: each 5 s, and whenever the host streams an event, it asks for a complete
//! report (`Sync`) and applies it in one transaction together with the acknowledged sequence number. Of
//! several replicas the one that gets the host's advisory lock applies; the others' passes do nothing.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use wrenn_api::{
    Reason,
    audit::{AuditAction, AuditStatus},
};
use wrenn_database::{
    CopyRow, Error as DbError, Generation, HostSync, State, audit_sandbox, host_sync_commit,
    host_sync_lock, host_sync_position, hosts_online, sandboxes_to_judge, sandboxes_touch,
    template_copies_replace, template_copies_to_delete, transition,
};
use wrenn_ids::{HostId, SandboxId, TemplateId};
use wrenn_rpc::hostagent::{SyncRequest, WatchEventsRequest};

use super::{
    judgement::{Reported, Verdict, judge},
    orders::{Order, carry_out, idle_order, order, reunion},
    quarantine,
    report::Report,
};
use crate::{
    app::Result,
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
        let ended = report.ended.get(&id).copied();
        let verdict = judge(row, host, reported, asked_us, ended);
        if let Some((to, reason)) = change(verdict, report.paused.get(&id).copied()) {
            let (from, keep) = ([row.status], Generation::Keep);
            if transition(&mut *tx, id, &from, to, row.generation, keep, reason)
                .await?
                .is_some()
            {
                tracing::info!(sandbox_id = %id, host_id = %host, from = row.status.as_str(), to = to.as_str(), "reconciled");
                let (action, status) = written(verdict);
                let reason = reason.map(Reason::as_str);
                audit_sandbox(&mut *tx, id, action, status, reason).await?;
                changed.push(id);
            }
        }
        orders.extend(order(verdict, row));
        orders.extend(idle_order(row, reported, report));
        orders.extend(reunion(verdict, row, reported, report, asked_us));
    }
    orders.extend(quarantine::apply(&mut tx, host, report, &rows).await?);
    touch(&mut tx, report).await?;
    let copies: Vec<CopyRow> = report.raw.templates.iter().filter_map(copy).collect();
    template_copies_replace(&mut tx, host, &copies, asked_us).await?;
    let to_delete = template_copies_to_delete(&mut *tx, host).await?;
    orders.extend(to_delete.into_iter().map(Order::DeleteCopy));
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let free = report.raw.host.as_option();
    let sync = HostSync {
        boot_id: &report.raw.boot_id,
        acked_seq: number(report.applied()),
        memory_free_mb: free.map_or(0, |host| number(host.memory_free_mib)),
        disk_free_mb: free.map_or(0, |host| number(host.disk_free_mib)),
    };
    for id in report.failed_pauses().filter_map(|id| id.parse().ok()) {
        let (action, status) = (AuditAction::AutoPause, AuditStatus::Warning);
        audit_sandbox(&mut *tx, id, action, status, Some("pause_failed")).await?;
    }
    host_sync_commit(&mut *tx, host, &sync).await?;
    tx.commit().await.map_err(DbError::from)?;
    for id in report.failed_pauses() {
        tracing::warn!(sandbox_id = id, host_id = %host, "a host could not pause an idle sandbox; it runs on");
        metrics::counter!("wrenn_idle_pauses_failed_total").increment(1);
    }
    *absent = now_absent;
    Ok((changed, orders))
}

fn change(verdict: Verdict, paused: Option<Reason>) -> Option<(State, Option<Reason>)> {
    match verdict {
        Verdict::Restore => Some((State::Running, None)),
        Verdict::Pause => Some((State::Paused, paused)),
        Verdict::Stop(reason) => Some((State::Stopped, Some(reason))),
        Verdict::Lost => Some((State::Error, Some(Reason::SnapshotLost))),
        Verdict::Abandoned => Some((State::Error, Some(Reason::CreateFailed))),
        Verdict::Leave | Verdict::PauseThere | Verdict::DestroyThere | Verdict::FinishDestroy => {
            None
        }
    }
}

/// How a change that the host brought about is written down.
fn written(verdict: Verdict) -> (AuditAction, AuditStatus) {
    match verdict {
        Verdict::Restore => (AuditAction::Restored, AuditStatus::Success),
        Verdict::Pause => (AuditAction::AutoPause, AuditStatus::Success),
        Verdict::Abandoned => (AuditAction::Create, AuditStatus::Error),
        Verdict::Lost => (AuditAction::Stopped, AuditStatus::Error),
        _ => (AuditAction::Stopped, AuditStatus::Warning),
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
