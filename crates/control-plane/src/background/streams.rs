//! Asks whether open streams may stay open: each 4 s, and whenever somebody's authority ends.

use std::{sync::Arc, time::Duration};

use wrenn_database::streams_standing;

use crate::{app::Result, state::App};

/// Authority ends within 5 s, also when nobody says so.
const PERIOD: Duration = Duration::from_secs(4);
/// Streams of one statement.
const AT_ONCE: usize = 4096;

/// Runs until shutdown.
pub(super) async fn recheck_for_ever(app: Arc<App>) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = app.stop.cancelled() => return,
            () = app.bus.revocations.notified() => {}
            _ = ticks.tick() => {}
        }
        super::supervise("open streams", pass(&app)).await;
    }
}

/// A database that is away proves nothing: then all stay.
async fn pass(app: &App) -> Result<()> {
    let (numbers, proofs) = app.streams.open();
    for (numbers, proofs) in numbers.chunks(AT_ONCE).zip(proofs.chunks(AT_ONCE)) {
        let standings = streams_standing(&app.db, proofs).await?;
        app.streams.tell(numbers, &standings);
    }
    Ok(())
}
