//! The op runner: leases, and what happens around the steps.
//!
//! A replica works on operations that it made (leased at birth) or claimed (nobody else held them). While
//! it works, the lease is renewed each 10 s; when a renewal finds that an operation is not ours any more,
//! its task is cancelled, and any write that slips through compares `lease_owner` and fails.

use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::FutureExt;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use wrenn_database::{OpKind, OpRow, op_claim, op_release, op_renew};

use super::{create, destroy, fork, pause, resume, snapshot};
use crate::{app, state::App};

/// Operations in flight on one replica.
const MOST: usize = 512;
const PERIOD: Duration = Duration::from_secs(2);
const RENEW: Duration = Duration::from_secs(10);
/// Claims after which an operation is undone.
pub(super) const ATTEMPTS: i32 = 5;

/// How a run of the steps ended.
pub(super) enum Outcome {
    /// The operation's row says so too.
    Finished,
    /// Somebody else holds it now, or a greater one took its place.
    Lost,
    /// Not now: anybody may claim it after this long.
    Later(Duration),
}

/// Operations that this replica works on.
#[derive(Debug, Default)]
pub(crate) struct Ops {
    active: Mutex<HashMap<Uuid, CancellationToken>>,
}

impl Ops {
    fn active(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, CancellationToken>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works on an operation that is leased to this replica, in a task of its own.
    pub(crate) fn start(&self, app: &Arc<App>, op: OpRow) {
        let cancel = CancellationToken::new();
        self.active().insert(op.id, cancel.clone());
        let app = Arc::clone(app);
        app.clone().tasks.spawn(async move {
            let id = op.id;
            let work = AssertUnwindSafe(work(&app, op)).catch_unwind();
            let outcome = tokio::select! {
                () = cancel.cancelled() => Ok(()),
                () = app.stop.cancelled() => Ok(()),
                outcome = work => outcome,
            };
            if outcome.is_err() {
                tracing::error!(op_id = %id, "an operation panicked; its lease will run out");
            }
            app.ops.active().remove(&id);
        });
    }
}

async fn work(app: &Arc<App>, op: OpRow) {
    let started = std::time::Instant::now();
    let outcome = match op.kind {
        OpKind::Create => create::run(app, &op).await,
        OpKind::Pause => pause::run(app, &op).await,
        OpKind::Resume => resume::run(app, &op).await,
        OpKind::Fork => fork::run(app, &op).await,
        OpKind::Snapshot => snapshot::run(app, &op).await,
        OpKind::Destroy => destroy::run(app, &op).await,
    };
    let sandbox_id = op.sandbox_id();
    let kind = op.kind.as_str();
    let (request_id, attempts) = (&op.request_id, op.attempts);
    let after = match outcome {
        Ok(Outcome::Finished) => {
            metrics::histogram!("wrenn_op_seconds", "kind" => kind)
                .record(started.elapsed().as_secs_f64());
            tracing::info!(%sandbox_id, %request_id, kind, attempts, "operation finished");
            app.bus.sandbox_changed(sandbox_id);
            return;
        }
        Ok(Outcome::Lost) => {
            tracing::info!(%sandbox_id, %request_id, kind, "operation belongs to another now");
            return;
        }
        Ok(Outcome::Later(after)) => after,
        Err(error) => {
            tracing::warn!(%sandbox_id, %request_id, kind, attempts, cause = ?error, "operation failed for now");
            backoff(attempts)
        }
    };
    metrics::counter!("wrenn_op_retries_total", "kind" => kind).increment(1);
    let after = i64::try_from(after.as_millis()).unwrap_or(i64::MAX);
    if let Err(error) = op_release(&app.db, op.id, app.replica, after).await {
        tracing::warn!(%sandbox_id, %error, "an operation was not given back; its lease will run out");
    }
}

/// 1 s, 2 s, 4 s … 5 min.
pub(super) fn backoff(attempts: i32) -> Duration {
    let doublings = u32::try_from(attempts.clamp(1, 10) - 1).unwrap_or(0);
    Duration::from_secs((1u64 << doublings).min(300))
}

/// Claims what nobody works on: on a signal, and each 2 s.
pub(crate) async fn claim_for_ever(app: Arc<App>) {
    loop {
        let passed = super::supervise("op runner", claim(&app));
        passed.await;
        tokio::select! {
            () = app.stop.cancelled() => return,
            () = app.bus.ops.notified() => {}
            () = tokio::time::sleep(PERIOD) => {}
        }
    }
}

async fn claim(app: &Arc<App>) -> app::Result<()> {
    let room = MOST.saturating_sub(app.ops.active().len());
    if room == 0 {
        return Ok(());
    }
    let limit = i64::try_from(room.min(64)).unwrap_or(1);
    for op in op_claim(&app.db, app.replica, limit).await? {
        app.ops.start(app, op);
    }
    Ok(())
}

/// Renews the leases of what this replica works on, and stops what is not its own any more.
pub(crate) async fn renew_for_ever(app: Arc<App>) {
    loop {
        tokio::select! {
            () = app.stop.cancelled() => return,
            () = tokio::time::sleep(RENEW) => {}
        }
        super::supervise("lease renewal", renew(&app)).await;
    }
}

async fn renew(app: &App) -> app::Result<()> {
    let mine: Vec<Uuid> = app.ops.active().keys().copied().collect();
    if mine.is_empty() {
        return Ok(());
    }
    let held = op_renew(&app.db, app.replica, &mine).await?;
    let active = app.ops.active();
    for id in mine.iter().filter(|id| !held.contains(id)) {
        if let Some(cancel) = active.get(id) {
            cancel.cancel();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_five_minutes() {
        let seconds = |attempts| backoff(attempts).as_secs();
        assert_eq!(
            [1, 2, 3, 9, 10, 1000].map(seconds),
            [1, 2, 4, 256, 300, 300]
        );
    }
}
