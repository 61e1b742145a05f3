//! The queue between a process's pump and one subscriber.
//!
//! Bounded, one producer, one consumer. The producer never drops an entry: it waits for `taken`. The end
//! of the stream is beside the queue and not in it, so that it never has to wait for room.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use super::output::{Chunk, End};

const CAPACITY: usize = 4096;

/// Why nothing more comes.
#[derive(Clone, Debug)]
pub(super) enum Finish {
    Ended(Arc<End>),
    /// The consumer took nothing for too long while others waited.
    Stuck,
    /// `/init` dropped the subscribers of the life before.
    Dropped,
}

/// What a consumer gets.
#[derive(Debug)]
pub(super) enum Taken {
    Chunk(Chunk),
    Finish(Finish),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    Yes,
    Full,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    filled: Notify,
    taken: Notify,
}

#[derive(Debug, Default)]
struct State {
    chunks: VecDeque<Chunk>,
    finish: Option<Finish>,
}

impl Queue {
    /// Adds a chunk. To a finished queue nothing is added, and that is no failure.
    pub(super) fn push(&self, chunk: &Chunk) -> Pushed {
        {
            let mut state = self.state();
            if state.finish.is_some() {
                return Pushed::Yes;
            }
            if state.chunks.len() >= CAPACITY {
                return Pushed::Full;
            }
            state.chunks.push_back(chunk.clone());
        }
        self.filled.notify_one();
        Pushed::Yes
    }

    /// The next chunk, else the finish.
    pub(super) async fn next(&self) -> Taken {
        loop {
            if let Some(taken) = self.take() {
                self.taken.notify_one();
                return taken;
            }
            self.filled.notified().await;
        }
    }

    fn take(&self) -> Option<Taken> {
        let mut state = self.state();
        match state.chunks.pop_front() {
            Some(chunk) => Some(Taken::Chunk(chunk)),
            None => state.finish.clone().map(Taken::Finish),
        }
    }

    /// Completes when the consumer has taken something or the queue was finished.
    pub(super) async fn taken(&self) {
        self.taken.notified().await;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.state().chunks.is_empty()
    }

    /// Ends the queue; what is in it is still delivered after an end, and freed after anything else. The
    /// first finish stays.
    pub(super) fn finish(&self, finish: Finish) {
        {
            let mut state = self.state();
            if !matches!(finish, Finish::Ended(_)) {
                state.chunks.clear();
            }
            state.finish.get_or_insert(finish);
        }
        self.filled.notify_one();
        self.taken.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::output::Origin, *};

    proptest! {
        #[test]
        fn a_queue_is_never_over_its_bound_and_keeps_its_order(
            // How many are pushed, and then how many taken, over and over.
            turns in prop::collection::vec((0_usize..3000, 0_usize..3000), 1..12),
        ) {
            let queue = Queue::default();
            let (mut pushed, mut taken) = (0_u32, 0_u32);
            for (pushes, takes) in turns {
                for _ in 0..pushes {
                    let bytes = pushed.to_le_bytes().to_vec().into();
                    let full = usize::try_from(pushed - taken).unwrap() == CAPACITY;
                    let chunk = Chunk::new(Origin::Stdout, bytes);
                    prop_assert_eq!(queue.push(&chunk) == Pushed::Full, full);
                    pushed += u32::from(!full);
                    prop_assert!(queue.state().chunks.len() <= CAPACITY);
                }
                for _ in 0..takes.min(usize::try_from(pushed - taken).unwrap()) {
                    let Some(Taken::Chunk(chunk)) = queue.take() else {
                        panic!("something is there");
                    };
                    prop_assert_eq!(&chunk.bytes[..], &taken.to_le_bytes()[..]);
                    taken += 1;
                }
            }
            queue.finish(Finish::Dropped);
            prop_assert!(queue.is_empty());
        }
    }
}
