//! Open streams: what each was opened with, and the word that it must end.
//!
//! A stream enters itself here and waits for that word beside its own work. One task of the replica
//! (`background/streams.rs`) asks for all of them at once, so that their number costs no statements.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;
use wrenn_database::{State, StreamProof, StreamStanding};

/// Why a stream must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Whoever opened it may not any more.
    Unauthorized,
    /// The sandbox is gone.
    Deleted,
    /// The sandbox sleeps.
    Paused,
    /// The sandbox's host is gone.
    HostLost,
}

impl Ended {
    /// What a sandbox of this status means for a stream into it; `None`: its row is gone.
    pub(crate) const fn by_status(status: Option<State>) -> Option<Self> {
        match status {
            Some(State::Stopping | State::Stopped) | None => Some(Self::Deleted),
            Some(State::Paused | State::Hibernating | State::Hibernated) => Some(Self::Paused),
            Some(State::Missing) => Some(Self::HostLost),
            Some(_) => None,
        }
    }

    const fn by_standing(standing: StreamStanding) -> Option<Self> {
        match Self::by_status(standing.sandbox) {
            None if !standing.holds => Some(Self::Unauthorized),
            ended => ended,
        }
    }
}

#[derive(Debug)]
struct Entry {
    proof: StreamProof,
    tell: watch::Sender<Option<Ended>>,
}

#[derive(Debug, Default)]
struct Entries {
    last: u64,
    open: HashMap<u64, Entry>,
}

/// The open streams of this replica; as many as there are connections at most.
#[derive(Debug, Default)]
pub(crate) struct Streams(Arc<Mutex<Entries>>);

fn locked(entries: &Mutex<Entries>) -> MutexGuard<'_, Entries> {
    entries.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Streams {
    /// Enters a stream.
    pub(crate) fn enter(&self, proof: StreamProof) -> Open {
        let (tell, told) = watch::channel(None);
        let mut entries = locked(&self.0);
        entries.last += 1;
        let number = entries.last;
        entries.open.insert(number, Entry { proof, tell });
        Open {
            entries: Arc::clone(&self.0),
            number,
            told,
        }
    }

    /// What is open now.
    pub(crate) fn open(&self) -> (Vec<u64>, Vec<StreamProof>) {
        let entries = locked(&self.0);
        let open = entries.open.iter();
        open.map(|(number, entry)| (*number, entry.proof)).unzip()
    }

    /// Tells those of these that must end.
    pub(crate) fn tell(&self, numbers: &[u64], standings: &[StreamStanding]) {
        let entries = locked(&self.0);
        for (number, standing) in numbers.iter().zip(standings) {
            let ended = Ended::by_standing(*standing);
            if let (Some(_), Some(entry)) = (ended, entries.open.get(number)) {
                entry.tell.send_replace(ended);
            }
        }
    }
}

/// A stream that is entered; leaves when dropped.
#[derive(Debug)]
pub(crate) struct Open {
    entries: Arc<Mutex<Entries>>,
    number: u64,
    told: watch::Receiver<Option<Ended>>,
}

impl Open {
    /// Waits until the stream must end. May be dropped and asked again.
    pub(crate) async fn ended(&mut self) -> Ended {
        let ended = self.told.wait_for(Option::is_some).await;
        // The other end lives as long as this one is entered.
        ended
            .ok()
            .and_then(|ended| *ended)
            .unwrap_or(Ended::Unauthorized)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        locked(&self.entries).open.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use wrenn_database::StreamOpener;
    use wrenn_ids::{SandboxId, TeamId};

    use super::*;

    fn proof() -> StreamProof {
        StreamProof {
            team: TeamId::new(),
            sandbox: SandboxId::new(),
            by: StreamOpener::Key([0; 32]),
        }
    }

    #[test]
    fn a_stream_ends_by_its_sandbox_or_its_authority() {
        let check = |holds, sandbox, expected| {
            let standing = StreamStanding { holds, sandbox };
            assert_eq!(Ended::by_standing(standing), expected, "{standing:?}");
        };
        check(true, Some(State::Running), None);
        check(true, Some(State::Pausing), None);
        check(false, Some(State::Running), Some(Ended::Unauthorized));
        check(true, Some(State::Paused), Some(Ended::Paused));
        check(true, Some(State::Missing), Some(Ended::HostLost));
        check(false, Some(State::Stopped), Some(Ended::Deleted));
        check(true, None, Some(Ended::Deleted));
    }

    #[tokio::test]
    async fn only_the_one_that_must_end_is_told_and_whoever_left_is_forgotten() {
        let streams = Streams::default();
        let (mut first, second) = (streams.enter(proof()), streams.enter(proof()));
        let (numbers, proofs) = streams.open();
        assert_eq!((numbers.len(), proofs.len()), (2, 2));
        let standings: Vec<_> = numbers
            .iter()
            .map(|number| StreamStanding {
                holds: *number != first.number,
                sandbox: Some(State::Running),
            })
            .collect();
        streams.tell(&numbers, &standings);
        assert_eq!(first.ended().await, Ended::Unauthorized);
        assert_eq!(*second.told.borrow(), None);
        drop((first, second));
        assert!(streams.open().0.is_empty());
        streams.tell(&numbers, &standings);
    }
}
