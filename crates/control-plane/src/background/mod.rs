//! Work without a caller: idempotent, without input, on a period and on a signal, never retrying inside.
//!
//! Each task is supervised: a panic or an error is logged, counted, and the task runs again at its next
//! period. On shutdown tasks stop claiming; what they hold is taken over when its lease ends.

pub(crate) mod agent;
mod audit;
pub(crate) mod create;
pub(crate) mod destroy;
pub(crate) mod fork;
mod judgement;
pub(crate) mod key_use;
mod mailer;
pub(crate) mod ops;
pub(crate) mod orders;
pub(crate) mod pause;
mod prune;
mod purge;
mod quarantine;
mod renew;
mod report;
pub(crate) mod resume;
pub(crate) mod snapshot;
mod stale;
mod streams;
pub(crate) mod sync;
mod team_cleanup;
mod truth;

pub(crate) use purge::AFTER_DAYS as PURGE_AFTER_DAYS;

use std::{future::Future, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt;

use crate::{app, state::App, telemetry};

/// Starts every task.
pub(crate) fn start(app: &Arc<App>) {
    app.tasks.spawn(ops::claim_for_ever(Arc::clone(app)));
    app.tasks.spawn(ops::renew_for_ever(Arc::clone(app)));
    app.tasks.spawn(sync::follow_hosts(Arc::clone(app)));
    app.tasks
        .spawn(team_cleanup::clean_for_ever(Arc::clone(app)));
    app.tasks.spawn(streams::recheck_for_ever(Arc::clone(app)));
    app.tasks.spawn(mailer::send_for_ever(Arc::clone(app)));
    every(
        app,
        "host stale check",
        Duration::from_secs(10),
        stale::pass,
    );
    every(app, "audit sweep", Duration::from_secs(60), audit::pass);
    every(app, "user purge", Duration::from_secs(3600), purge::pass);
    every(app, "key use", Duration::from_secs(10), key_use::pass);
    every(
        app,
        "metrics upkeep",
        Duration::from_secs(5),
        telemetry::upkeep,
    );
    every(app, "pruning", Duration::from_secs(600), prune::pass);
    every(
        app,
        "certificate renewal",
        Duration::from_secs(12 * 3600),
        renew::pass,
    );
}

/// Runs `pass` at once and then each `period`, until shutdown.
fn every<F, Fut>(app: &Arc<App>, name: &'static str, period: Duration, pass: F)
where
    F: Fn(Arc<App>) -> Fut + Send + 'static,
    Fut: Future<Output = app::Result<()>> + Send,
{
    let app = Arc::clone(app);
    app.clone().tasks.spawn(async move {
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = app.stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            supervise(name, pass(Arc::clone(&app))).await;
        }
    });
}

/// Runs one pass; its failure is an event, not an end.
async fn supervise(name: &'static str, pass: impl Future<Output = app::Result<()>>) {
    let outcome = AssertUnwindSafe(pass).catch_unwind().await;
    let result = match outcome {
        Ok(Ok(())) => "ok",
        Ok(Err(error)) => {
            tracing::warn!(task = name, error = %error, cause = ?error, "a background pass failed");
            "error"
        }
        Err(_) => {
            tracing::error!(task = name, "a background pass panicked");
            "panic"
        }
    };
    metrics::counter!("wrenn_background_passes_total", "task" => name, "result" => result)
        .increment(1);
}
