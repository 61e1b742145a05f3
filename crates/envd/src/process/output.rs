//! The output of one process on its way to its subscribers.
//!
//! Every byte reaches every subscriber that was attached when it was read: a full queue stops the pump, and
//! with it the process. A subscriber that takes nothing for 30 s while another waits is closed; a lone one
//! only stalls its own process. Without a subscriber the bytes go to the replay buffer alone.

use std::{
    collections::VecDeque,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{
    driver::Process,
    exit::Exit,
    queue::{Finish, Pushed, Queue, Taken},
};

const MAX_SUBSCRIBERS: usize = 64;
const STUCK: Duration = Duration::from_secs(30);
const PIPE_REPLAY: usize = 64 << 10;
const TERMINAL_REPLAY: usize = 256 << 10;

/// Where a chunk came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Stdout,
    Stderr,
    Terminal,
}

/// Bytes read at once. Cloning shares them.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    pub(super) origin: Origin,
    pub(super) bytes: Bytes,
    /// The room of these bytes in the budget, given back with the last clone.
    _room: Option<Arc<OwnedSemaphorePermit>>,
}

impl Chunk {
    /// Bytes that take no room in a budget.
    pub(super) fn new(origin: Origin, bytes: Bytes) -> Self {
        Self {
            origin,
            bytes,
            _room: None,
        }
    }
}

/// How a process ended.
#[derive(Clone, Debug)]
pub(super) struct End {
    pub(super) exit: Exit,
    /// The timeout of `Start` that ended it.
    pub(super) timed_out: Option<Duration>,
}

/// The bytes that all queues of this envd may hold.
#[derive(Debug)]
pub(super) struct Budget {
    bytes: Arc<Semaphore>,
}

impl Budget {
    pub(super) fn new(bytes: u64) -> Self {
        let permits = usize::try_from(bytes)
            .unwrap_or(usize::MAX)
            .min(Semaphore::MAX_PERMITS);
        Self {
            bytes: Arc::new(Semaphore::new(permits)),
        }
    }

    /// Room for `length` bytes, waited for while any of `queues` holds something. Empty queues always get
    /// their chunk: a process must not starve because others fill the budget.
    async fn room(&self, length: u32, queues: &[Arc<Queue>]) -> Option<OwnedSemaphorePermit> {
        loop {
            if let Ok(permit) = Arc::clone(&self.bytes).try_acquire_many_owned(length) {
                return Some(permit);
            }
            let busy = queues.iter().find(|queue| !queue.is_empty())?;
            tokio::select! {
                permit = Arc::clone(&self.bytes).acquire_many_owned(length) => return permit.ok(),
                taken = timeout(STUCK, busy.taken()) => {
                    if taken.is_err() && queues.len() > 1 {
                        busy.finish(Finish::Stuck);
                    }
                }
            }
        }
    }
}

/// The subscribers and the replay buffer of one process.
#[derive(Debug)]
pub(super) struct Output {
    state: Mutex<State>,
    budget: Arc<Budget>,
    replay_limit: usize,
}

#[derive(Debug, Default)]
struct State {
    subscribers: Vec<Arc<Queue>>,
    replay: VecDeque<(Origin, Bytes)>,
    replay_bytes: usize,
    /// Whether the buffer has lost its beginning.
    wrapped: bool,
    end: Option<Arc<End>>,
}

/// What an attaching subscriber wants of the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Past {
    Skip,
    Replay,
}

/// Too many subscribers of one process.
#[derive(Debug)]
pub(super) struct Crowded;

impl Output {
    pub(super) fn new(budget: &Arc<Budget>, terminal: bool) -> Self {
        Self {
            state: Mutex::default(),
            budget: Arc::clone(budget),
            replay_limit: if terminal {
                TERMINAL_REPLAY
            } else {
                PIPE_REPLAY
            },
        }
    }

    /// Hands a chunk to everybody who is attached now.
    pub(super) async fn deliver(&self, origin: Origin, bytes: Bytes) {
        let queues = {
            let mut state = self.state();
            if state.end.is_some() {
                return;
            }
            state.remember(origin, bytes.clone(), self.replay_limit);
            state.subscribers.clone()
        };
        if queues.is_empty() {
            return;
        }
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let room = self.budget.room(length, &queues).await.map(Arc::new);
        let chunk = Chunk {
            origin,
            bytes,
            _room: room,
        };
        for queue in &queues {
            while queue.push(&chunk) == Pushed::Full {
                if timeout(STUCK, queue.taken()).await.is_err()
                    && self.state().subscribers.len() > 1
                {
                    queue.finish(Finish::Stuck);
                }
            }
        }
    }

    fn attach(&self, past: Past) -> Result<Arc<Queue>, Crowded> {
        let queue = Arc::new(Queue::default());
        let mut state = self.state();
        if state.subscribers.len() >= MAX_SUBSCRIBERS {
            return Err(Crowded);
        }
        if past == Past::Replay {
            for (origin, bytes) in state.replayed() {
                // The buffer has fewer entries than a queue has room for.
                queue.push(&Chunk::new(origin, bytes));
            }
        }
        match &state.end {
            Some(end) => queue.finish(Finish::Ended(Arc::clone(end))),
            None => state.subscribers.push(Arc::clone(&queue)),
        }
        Ok(queue)
    }

    fn detach(&self, queue: &Arc<Queue>) {
        self.state()
            .subscribers
            .retain(|one| !Arc::ptr_eq(one, queue));
        queue.finish(Finish::Dropped);
    }

    /// Tells the end to everybody, now and later.
    pub(super) fn end(&self, end: End) {
        let end = Arc::new(end);
        let mut state = self.state();
        for queue in mem::take(&mut state.subscribers) {
            queue.finish(Finish::Ended(Arc::clone(&end)));
        }
        state.end = Some(end);
    }

    pub(super) fn drop_subscribers(&self) {
        for queue in mem::take(&mut self.state().subscribers) {
            queue.finish(Finish::Dropped);
        }
    }

    pub(super) fn free_replay(&self) {
        let mut state = self.state();
        state.replay = VecDeque::new();
        state.replay_bytes = 0;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The buffer; that of a terminal begins after a line's end when its own beginning is lost.
    fn replayed(&self) -> Vec<(Origin, Bytes)> {
        let mut all: Vec<_> = self.replay.iter().cloned().collect();
        let cut = all
            .first()
            .filter(|(origin, _)| self.wrapped && *origin == Origin::Terminal);
        let cut = cut.and_then(|(_, bytes)| bytes.iter().position(|byte| *byte == b'\n'));
        if let (Some(end), Some((_, first))) = (cut, all.first_mut()) {
            let _ = first.split_to(end + 1);
        }
        all.retain(|(_, bytes)| !bytes.is_empty());
        all
    }

    fn remember(&mut self, origin: Origin, bytes: Bytes, limit: usize) {
        self.replay_bytes += bytes.len();
        match self.replay.back_mut() {
            // Small writes are joined, so that the entries stay few.
            Some((last, held)) if *last == origin && held.len() + bytes.len() <= 4096 => {
                *held = [held.as_ref(), bytes.as_ref()].concat().into();
            }
            // A small piece is copied, so that it does not keep the whole buffer that it was read into.
            _ if bytes.len() <= 4096 => self
                .replay
                .push_back((origin, Bytes::copy_from_slice(&bytes))),
            _ => self.replay.push_back((origin, bytes)),
        }
        while self.replay_bytes > limit {
            let Some((_, first)) = self.replay.front_mut() else {
                break;
            };
            let surplus = (self.replay_bytes - limit).min(first.len());
            self.wrapped = true;
            let _ = first.split_to(surplus);
            self.replay_bytes -= surplus;
            if first.is_empty() {
                self.replay.pop_front();
            }
        }
    }
}

/// A place in the output of a process, held while a stream runs.
#[derive(Debug)]
pub(crate) struct Subscription {
    process: Arc<Process>,
    queue: Arc<Queue>,
}

impl Subscription {
    pub(super) fn new(process: &Arc<Process>, past: Past) -> Result<Self, Crowded> {
        let queue = process.output().attach(past)?;
        Ok(Self {
            process: Arc::clone(process),
            queue,
        })
    }

    pub(super) fn process(&self) -> &Process {
        &self.process
    }

    /// The next of the stream. Cancel-safe.
    pub(super) async fn next(&self) -> Taken {
        self.queue.next().await
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.process.output().detach(&self.queue);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chunks() -> impl Strategy<Value = Vec<(bool, Vec<u8>)>> {
        prop::collection::vec(
            (any::<bool>(), prop::collection::vec(any::<u8>(), 1..300)),
            0..60,
        )
    }

    fn origin(stderr: bool) -> Origin {
        if stderr {
            Origin::Stderr
        } else {
            Origin::Stdout
        }
    }

    /// What a queue holds, to its finish.
    fn drain(queue: &Queue) -> (Vec<(Origin, Vec<u8>)>, Finish) {
        let mut seen = Vec::new();
        loop {
            match futures::executor::block_on(queue.next()) {
                Taken::Chunk(chunk) => seen.push((chunk.origin, chunk.bytes.to_vec())),
                Taken::Finish(finish) => return (seen, finish),
            }
        }
    }

    #[tokio::test]
    async fn all_queues_together_have_one_bound_and_none_starves_of_another() {
        let bytes = |length| Bytes::from(vec![0; length]);
        let budget = Arc::new(Budget::new(10));
        let (full, other) = (Output::new(&budget, false), Output::new(&budget, false));
        let queue = full.attach(Past::Skip).unwrap();
        let empty = other.attach(Past::Skip).unwrap();
        full.deliver(Origin::Stdout, bytes(10)).await;
        let mut next = Box::pin(full.deliver(Origin::Stdout, bytes(1)));
        assert!(futures::poll!(&mut next).is_pending());
        // Whoever holds nothing gets something all the same, and no more than that.
        other.deliver(Origin::Stdout, bytes(5)).await;
        let mut more = Box::pin(other.deliver(Origin::Stdout, bytes(5)));
        assert!(futures::poll!(&mut more).is_pending());
        assert!(matches!(queue.next().await, Taken::Chunk(chunk) if chunk.bytes.len() == 10));
        next.await;
        more.await;
        for expected in [5, 5] {
            let taken = empty.next().await;
            assert!(matches!(taken, Taken::Chunk(chunk) if chunk.bytes.len() == expected));
        }
    }

    proptest! {
        #[test]
        fn the_replay_is_the_tail_of_what_was_printed(chunks in chunks(), limit in 1_usize..5000) {
            let mut state = State::default();
            let mut all = Vec::new();
            for (stderr, bytes) in chunks {
                all.extend(bytes.iter().map(|byte| (origin(stderr), *byte)));
                state.remember(origin(stderr), bytes.into(), limit);
                prop_assert!(state.replay_bytes <= limit);
            }
            let held: Vec<_> = state
                .replayed()
                .iter()
                .flat_map(|(origin, bytes)| bytes.iter().map(|byte| (*origin, *byte)))
                .collect();
            prop_assert_eq!(&held[..], &all[all.len().saturating_sub(limit)..]);
            prop_assert_eq!(state.wrapped, all.len() > limit);
        }

        #[test]
        fn a_wrapped_terminal_begins_after_a_line(
            text in "[ab\n]{0,400}",
            limit in 1_usize..100,
        ) {
            let mut state = State::default();
            for piece in text.as_bytes().chunks(7) {
                state.remember(Origin::Terminal, Bytes::copy_from_slice(piece), limit);
            }
            let held: Vec<u8> = state.replayed().iter().flat_map(|(_, bytes)| bytes.to_vec()).collect();
            let tail = &text.as_bytes()[text.len().saturating_sub(limit)..];
            prop_assert!(tail.ends_with(&held));
            let cut = tail.iter().position(|byte| *byte == b'\n');
            match cut.filter(|_| state.wrapped) {
                Some(end) => prop_assert_eq!(&held[..], &tail[end + 1..]),
                None => prop_assert_eq!(&held[..], tail),
            }
        }

        #[test]
        fn whoever_attaches_gets_everything_from_then_on_and_the_end_last(
            chunks in chunks(),
            places in prop::collection::vec(0_usize..60, 1..5),
        ) {
            let budget = Arc::new(Budget::new(1 << 30));
            let output = Output::new(&budget, false);
            let mut attached = Vec::new();
            for (at, (stderr, bytes)) in chunks.iter().enumerate() {
                for _ in places.iter().filter(|place| **place == at) {
                    attached.push((at, output.attach(Past::Skip).unwrap()));
                }
                let bytes = Bytes::copy_from_slice(bytes);
                futures::executor::block_on(output.deliver(origin(*stderr), bytes));
            }
            let end = End { exit: Exit::Code(3), timed_out: None };
            output.end(end);
            attached.push((chunks.len(), output.attach(Past::Skip).unwrap()));
            for (at, queue) in attached {
                let (seen, finish) = drain(&queue);
                let expected: Vec<_> = chunks[at..]
                    .iter()
                    .map(|(stderr, bytes)| (origin(*stderr), bytes.clone()))
                    .collect();
                prop_assert_eq!(seen, expected);
                prop_assert!(matches!(finish, Finish::Ended(end) if end.exit == Exit::Code(3)));
            }
        }
    }
}
