//! What happens when the control plane is gone: after a while, or at once when it refuses this host for good,
//! everything that runs is paused, so that nothing runs that nobody can reach or stop.
//!
//! Who has been paused so is resumed by the control plane when it hears of this host again: it alone knows
//! whether somebody has deleted the sandbox meanwhile.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    backoff::Backoff,
    sandbox::{PauseReason, Registry},
};

/// Between the first attempts to pause what could not be paused: no room on the disk, say.
const RETRY: Duration = Duration::from_secs(30);

/// How the last attempt to reach the control plane ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contact {
    /// It answered, or nobody has asked yet.
    Held,
    /// It has not answered since then.
    LostSince(Instant),
    /// It refuses this host's credentials; only a new registration helps.
    Refused,
}

impl Contact {
    /// After an attempt that failed for now; `last` is when one succeeded.
    pub(crate) fn failed(self, last: Instant) -> Self {
        match self {
            Self::Held => Self::LostSince(last),
            lost => lost,
        }
    }

    /// When everything is to be paused, unless contact comes back before.
    fn ends_at(self, limit: Option<Duration>) -> Option<Instant> {
        match self {
            Self::Held => None,
            Self::LostSince(last) => limit.map(|limit| last + limit),
            Self::Refused => Some(Instant::now()),
        }
    }
}

/// Pauses everything whenever contact has been lost for `limit` (`None`: never for that) or was refused; until
/// `cancel`.
pub(crate) async fn keep(
    registry: Arc<Registry>,
    contact: watch::Receiver<Contact>,
    limit: Option<Duration>,
    cancel: CancellationToken,
) {
    let pause_all = || -> BoxFuture<'_, usize> {
        tracing::warn!("the control plane is lost: what runs is paused");
        Box::pin(registry.pause_all(PauseReason::HostDisconnected))
    };
    tokio::select! {
        () = cancel.cancelled() => {}
        () = follow(contact, limit, RETRY, pause_all) => {}
    }
}

/// Has `pause_all` pause, and again while it says that something still runs. Ends when nobody tells of contact any
/// more.
async fn follow<'a>(
    mut contact: watch::Receiver<Contact>,
    limit: Option<Duration>,
    retry: Duration,
    pause_all: impl Fn() -> BoxFuture<'a, usize>,
) {
    loop {
        let seen = *contact.borrow_and_update();
        let end = seen.ends_at(limit);
        let over = async {
            match end {
                Some(end) => sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = contact.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
            () = over => {}
        }
        let mut retry = Backoff::new(retry, retry * 20);
        while pause_all().await > 0 {
            tokio::select! {
                _ = is_other(seen, &mut contact) => break,
                () = tokio::time::sleep(retry.next()) => {}
            }
        }
        if !is_other(seen, &mut contact).await {
            return;
        }
    }
}

/// Waits until contact is other than it was `seen`; false when nobody tells of it any more. Contact that came back
/// and was lost again while everything was being paused is another loss: it has its own time.
async fn is_other(seen: Contact, contact: &mut watch::Receiver<Contact>) -> bool {
    let other = contact.wait_for(|contact| *contact != seen).await;
    other.is_ok()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::{sync::mpsc, time::timeout};

    use super::*;

    const NEVER_IN_A_TEST: Duration = Duration::from_secs(3600);
    const PATIENCE: Duration = Duration::from_secs(30);

    #[derive(Clone, Copy)]
    enum Told {
        Held,
        Failed,
        Refused,
    }
    use Told::{Failed, Held, Refused};

    /// Tells of contact in `told`'s order; where a step says so, everything must be paused before the next one, and
    /// nowhere else. The first `fail` pauses leave something running.
    async fn check(limit: Option<Duration>, fail: usize, told: &[(Told, usize)]) {
        let (tell, contact) = watch::channel(Contact::Held);
        let (pauses, mut paused) = mpsc::unbounded_channel();
        let count = AtomicUsize::new(0);
        let following = follow(contact, limit, Duration::from_millis(1), || {
            let number = count.fetch_add(1, Ordering::SeqCst);
            pauses.send(number).unwrap();
            Box::pin(std::future::ready(usize::from(number < fail)))
        });
        let telling = async {
            let mut expected = 0;
            for (step, (one, pauses)) in told.iter().enumerate() {
                tell.send_modify(|contact| {
                    *contact = match one {
                        Held => Contact::Held,
                        Failed => contact.failed(Instant::now()),
                        Refused => Contact::Refused,
                    };
                });
                for _ in 0..*pauses {
                    let number = timeout(PATIENCE, paused.recv()).await;
                    assert_eq!(number, Ok(Some(expected)), "step {step}");
                    expected += 1;
                }
                // Both are one task, and the follower goes first: it sees each step before the next.
                tokio::task::yield_now().await;
                assert!(paused.try_recv().is_err(), "step {step}");
            }
        };
        tokio::select! {
            biased;
            () = following => unreachable!("it is still told"),
            () = telling => {}
        }
    }

    #[tokio::test]
    async fn everything_is_paused_once_when_contact_was_lost_for_long() {
        let short = Some(Duration::from_millis(20));
        check(
            short,
            0,
            &[(Failed, 1), (Failed, 0), (Held, 0), (Failed, 1)],
        )
        .await;
    }

    #[tokio::test]
    async fn a_short_cut_pauses_nothing_and_more_failures_do_not_put_off_the_end() {
        let long = Some(NEVER_IN_A_TEST);
        check(long, 0, &[(Failed, 0), (Held, 0), (Failed, 0), (Failed, 0)]).await;
        let first = Instant::now();
        let lost = Contact::Held.failed(first);
        assert_eq!(lost.failed(first + PATIENCE), lost);
        assert_eq!(lost.ends_at(Some(PATIENCE)), Some(first + PATIENCE));
    }

    #[tokio::test]
    async fn a_refusal_pauses_at_once_also_where_lost_contact_never_does() {
        check(
            None,
            0,
            &[
                (Failed, 0),
                (Refused, 1),
                (Refused, 0),
                (Held, 0),
                (Refused, 1),
            ],
        )
        .await;
    }

    #[tokio::test]
    async fn what_could_not_be_paused_is_tried_again() {
        check(
            None,
            2,
            &[(Refused, 3), (Refused, 0), (Held, 0), (Refused, 1)],
        )
        .await;
    }
}
