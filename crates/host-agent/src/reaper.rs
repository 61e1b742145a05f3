//! Where guards hand what they could not release: a bounded queue, retried for ever, counted.
//!
//! A guard's `Drop` cannot wait and its release can fail (a device still busy, a process that will not
//! die). Both leave a *debt* here. What is still owed when the agent stops is found by the sweep of the
//! next start: every resource carries our mark.

use std::{collections::VecDeque, fmt, time::Duration};

use futures::future::BoxFuture;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;

/// Debts that wait to be looked at for the first time. More at once means that the host is beyond help;
/// they are counted and left to the next start's sweep.
const QUEUE: usize = 4096;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Something that has to be removed, and how.
pub trait Debt: fmt::Display + Send + 'static {
    /// Removes what it can; called again after an error.
    fn clean(&mut self) -> BoxFuture<'_, Result<(), BoxError>>;
}

/// Implements [`Debt`] for the leftovers of a building block.
macro_rules! debt {
    ($leftover:ty) => {
        impl $crate::reaper::Debt for $leftover {
            fn clean(
                &mut self,
            ) -> futures::future::BoxFuture<'_, Result<(), Box<dyn std::error::Error + Send + Sync>>>
            {
                Box::pin(async move { <$leftover>::clean(self).await.map_err(Into::into) })
            }
        }
    };
}
pub(crate) use debt;

/// Hands debts to the reaper; never blocks.
#[derive(Debug, Clone)]
pub struct ReaperHandle {
    queue: mpsc::Sender<Box<dyn Debt>>,
}

impl ReaperHandle {
    /// Leaves a debt.
    pub fn owe(&self, debt: impl Debt) {
        metrics::counter!("wrenn_agent_reaper_debts_total").increment(1);
        tracing::warn!(debt = %debt, "left to the reaper");
        if self.queue.try_send(Box::new(debt)).is_err() {
            metrics::counter!("wrenn_agent_reaper_lost_total").increment(1);
            tracing::error!("the reaper's queue is full: left to the sweep of the next start");
        }
    }
}

/// The reaper's queue, before it runs.
pub struct Reaper {
    queue: mpsc::Receiver<Box<dyn Debt>>,
}

impl fmt::Debug for Reaper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reaper").finish_non_exhaustive()
    }
}

struct Owed {
    debt: Box<dyn Debt>,
    backoff: Backoff,
    due: Instant,
}

impl Reaper {
    /// A reaper and the handle that feeds it.
    #[must_use]
    pub fn new() -> (Self, ReaperHandle) {
        let (sender, queue) = mpsc::channel(QUEUE);
        (Self { queue }, ReaperHandle { queue: sender })
    }

    /// Works debts off until `cancel`.
    pub async fn run(mut self, cancel: CancellationToken) {
        let mut owed: VecDeque<Owed> = VecDeque::new();
        loop {
            metrics::gauge!("wrenn_agent_reaper_backlog").set(owed.len() as f64);
            let due = owed.iter().map(|owed| owed.due).min();
            tokio::select! {
                () = cancel.cancelled() => break,
                debt = self.queue.recv() => match debt {
                    Some(debt) => owed.push_back(Owed {
                        debt,
                        backoff: Backoff::new(Duration::from_millis(200), Duration::from_secs(60)),
                        due: Instant::now(),
                    }),
                    None => break,
                },
                () = async {
                    match due {
                        Some(due) => tokio::time::sleep_until(due).await,
                        None => std::future::pending().await,
                    }
                } => work(&mut owed).await,
            }
        }
        if !owed.is_empty() {
            tracing::warn!(debts = owed.len(), "left to the sweep of the next start");
        }
    }
}

/// Tries every debt that is due, once.
async fn work(owed: &mut VecDeque<Owed>) {
    let now = Instant::now();
    for _ in 0..owed.len() {
        let Some(mut one) = owed.pop_front() else {
            return;
        };
        if one.due > now {
            owed.push_back(one);
            continue;
        }
        match one.debt.clean().await {
            Ok(()) => tracing::info!(debt = %one.debt, "removed by the reaper"),
            Err(error) => {
                let wait = one.backoff.next();
                tracing::warn!(debt = %one.debt, error = %crate::chain(&*error), ?wait, "not removed yet");
                one.due = Instant::now() + wait;
                owed.push_back(one);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    /// A debt that can be paid at the third attempt.
    struct Stubborn {
        refusals: u32,
        paid: Option<oneshot::Sender<()>>,
    }

    impl fmt::Display for Stubborn {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("stubborn thing")
        }
    }

    impl Debt for Stubborn {
        fn clean(&mut self) -> BoxFuture<'_, Result<(), BoxError>> {
            Box::pin(async move {
                if self.refusals > 0 {
                    self.refusals -= 1;
                    return Err("busy".into());
                }
                let _ = self.paid.take().map(|paid| paid.send(()));
                Ok(())
            })
        }
    }

    #[tokio::test]
    async fn a_debt_is_tried_until_it_is_paid() {
        let (reaper, handle) = Reaper::new();
        let cancel = CancellationToken::new();
        let running = tokio::spawn(reaper.run(cancel.clone()));
        let (paid, done) = oneshot::channel();
        handle.owe(Stubborn {
            refusals: 2,
            paid: Some(paid),
        });
        done.await.unwrap();
        cancel.cancel();
        running.await.unwrap();
    }
}
