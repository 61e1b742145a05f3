//! Running time: what deadlines of processes are counted in.
//!
//! It stands still from the preparation of a snapshot until the sandbox goes on, so that a command is not
//! ended for the time in which it could not run.

use std::time::Duration;

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

#[derive(Debug)]
pub(super) struct RunningTime {
    state: watch::Sender<State>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    started: Instant,
    /// Suspended before this suspension.
    lost: Duration,
    suspended: Option<Instant>,
}

impl State {
    fn now(self) -> Duration {
        let until = self.suspended.unwrap_or_else(Instant::now);
        until.duration_since(self.started).saturating_sub(self.lost)
    }
}

impl RunningTime {
    pub(super) fn new() -> Self {
        let state = State {
            started: Instant::now(),
            lost: Duration::ZERO,
            suspended: None,
        };
        Self {
            state: watch::Sender::new(state),
        }
    }

    /// The running time since the start.
    pub(super) fn now(&self) -> Duration {
        self.state.borrow().now()
    }

    /// Stops the time; nothing changes when it stands still.
    pub(super) fn suspend(&self) {
        self.state.send_modify(|state| {
            state.suspended.get_or_insert_with(Instant::now);
        });
    }

    /// Lets the time go on; nothing changes when it does.
    pub(super) fn resume(&self) {
        self.state.send_modify(|state| {
            if let Some(since) = state.suspended.take() {
                state.lost += since.elapsed();
            }
        });
    }

    /// Completes at the running time `due`. Cancel-safe.
    pub(super) async fn reach(&self, due: Duration) {
        let mut changes = self.state.subscribe();
        loop {
            let state = *changes.borrow_and_update();
            let left = due.saturating_sub(state.now());
            if state.suspended.is_none() && left.is_zero() {
                return;
            }
            // The sender is part of `self`, so the channel cannot close before.
            tokio::select! {
                _ = changes.changed() => {}
                () = sleep(left), if state.suspended.is_none() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    // Longer than a busy machine keeps a thread waiting between two lines.
    const SHORT: Duration = Duration::from_millis(500);
    const LONG: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn time_that_is_suspended_does_not_count() {
        let time = RunningTime::new();
        let due = time.now() + SHORT;
        time.suspend();
        time.suspend();
        let stood = time.now();
        let reached = timeout(4 * SHORT, time.reach(due)).await;
        assert!(reached.is_err(), "a deadline came while time stood still");
        assert_eq!(time.now(), stood);
        time.resume();
        time.resume();
        assert!(time.now() < due, "the suspended time was counted");
        timeout(LONG, time.reach(due)).await.unwrap();
        assert!(time.now() >= due);
    }

    #[tokio::test]
    async fn whoever_waits_already_is_suspended_too() {
        let time = RunningTime::new();
        let due = time.now() + SHORT;
        let suspended = async {
            time.suspend();
            tokio::time::sleep(4 * SHORT).await;
            let stood = time.now();
            time.resume();
            stood
        };
        let waited = async {
            time.reach(due).await;
            Instant::now()
        };
        let begun = Instant::now();
        let (reached, stood) = tokio::join!(waited, suspended);
        assert!(
            stood < due,
            "the machine was too slow for this test: {stood:?}"
        );
        assert!(reached.duration_since(begun) >= 4 * SHORT);
    }
}
