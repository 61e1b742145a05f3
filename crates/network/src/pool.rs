//! The pool: a few slots built ahead, numbers that rest after use, leases.
//!
//! ```text
//! (free number) ──build──▶ ready ──acquire──▶ leased ──taken down──▶ resting ──3 s──▶ (free number)
//! ```
//!
//! Every number is in exactly one of these places. Building happens in [`Network::refill`] alone, one slot
//! after another, so a request never pays for it unless the pool is empty.

use std::collections::{BTreeSet, VecDeque};
use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::config::NetworkConfig;
use crate::leftover::{Leftover, Reaper};
use crate::{Error, Result, Slot, SlotLease, setup, thread};

/// Pause after a failed build, doubled up to the second value while they go on failing.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// The network of one host. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Network {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: NetworkConfig,
    pub(crate) reaper: Reaper,
    state: Mutex<State>,
    /// A slot became ready.
    arrived: Notify,
    /// A slot was taken, or a number came back.
    wanted: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Built, waiting for a lease.
    ready: VecDeque<Slot>,
    /// Building, ready, leased or resting: not to be built now.
    taken: BTreeSet<Slot>,
    /// When the last one was taken, or [`Network::hush`] asked for.
    hushed_at: Option<Instant>,
    /// When each number may be used again, oldest first.
    resting: VecDeque<(Instant, Slot)>,
}

impl Network {
    /// Prepares the host. Slots that stand from an earlier life keep working; adopt those that are in use,
    /// then [`Network::sweep`] the rest, then run [`Network::refill`].
    pub async fn start(config: NetworkConfig, reaper: Reaper) -> Result<Self> {
        setup::host(config.clone()).await?;
        let (arrived, wanted) = (Notify::new(), Notify::new());
        Ok(Self {
            inner: Arc::new(Inner {
                config,
                reaper,
                state: Mutex::default(),
                arrived,
                wanted,
            }),
        })
    }

    /// Begins the quiet time ([`NetworkConfig::quiet`]) anew.
    pub fn hush(&self) {
        self.inner.lock().hushed_at = Some(Instant::now());
    }

    /// Takes a ready slot, waiting for one at most `deadline`.
    pub async fn acquire(&self, deadline: Duration) -> Result<SlotLease> {
        let wait = async {
            loop {
                let arrived = self.inner.arrived.notified();
                let (ready, is_more) = {
                    let mut state = self.inner.lock();
                    state.hushed_at = Some(Instant::now());
                    (state.ready.pop_front(), !state.ready.is_empty())
                };
                if is_more {
                    // A notification is remembered once, however many slots arrived: pass it on.
                    self.inner.arrived.notify_one();
                }
                self.inner.wanted.notify_one();
                if let Some(slot) = ready {
                    return SlotLease::new(slot, self.inner.clone());
                }
                arrived.await;
            }
        };
        tokio::time::timeout(deadline, wait)
            .await
            .map_err(|_| Error::Exhausted { after: deadline })
    }

    /// Takes charge of a slot that an earlier process leased and left standing.
    pub async fn adopt(&self, slot: Slot) -> Result<SlotLease> {
        let refuse = |detail| Err(Error::NotAdoptable { slot, detail });
        if !thread::run("slot adoption", setup::standing)
            .await?
            .contains(&slot)
        {
            return refuse("it does not exist");
        }
        if !self.inner.lock().taken.insert(slot) {
            return refuse("it is in use");
        }
        Ok(SlotLease::new(slot, self.inner.clone()))
    }

    /// Takes down every slot that stands and that nobody here knows: what an earlier life left. Tries
    /// everything; returns what was removed and what could not be.
    pub async fn sweep(&self) -> Result<(Vec<Slot>, Vec<Error>)> {
        let standing = thread::run("sweep", setup::standing).await?;
        let (mut removed, mut failed) = (Vec::new(), Vec::new());
        for slot in standing {
            if !self.inner.lock().taken.insert(slot) {
                continue;
            }
            match Leftover::new(slot, self.inner.clone()).clean().await {
                Ok(()) => removed.push(slot),
                Err(error) => failed.push(error), // its number stays taken, so nobody stumbles over it
            }
        }
        Ok((removed, failed))
    }

    /// Slots ready now.
    pub fn ready(&self) -> usize {
        self.inner.lock().ready.len()
    }

    /// Keeps the pool filled. Never returns: run it as a task of its own and abort it to stop. Ready slots
    /// that are left standing then are swept by the next start.
    pub async fn refill(&self) -> Infallible {
        let mut back_off = BACK_OFF.0;
        loop {
            let Some(slot) = self.inner.next_to_build() else {
                self.inner.something_to_build().await;
                continue;
            };
            match self.build(slot).await {
                Ok(()) => back_off = BACK_OFF.0,
                Err(error) => {
                    tracing::warn!(%slot, error = &error as &dyn std::error::Error, "network slot could not be built");
                    tokio::time::sleep(back_off).await;
                    back_off = (back_off * 2).min(BACK_OFF.1);
                }
            }
        }
    }

    async fn build(&self, slot: Slot) -> Result<()> {
        // The lease makes sure that a half-built slot is taken down, also when this future is dropped.
        let lease = SlotLease::new(slot, self.inner.clone());
        let config = self.inner.config.clone();
        let lease = thread::run("slot", move || match setup::build(slot, &config) {
            Ok(()) => Ok(Ok(lease)),
            Err(error) => Ok(Err((lease, error))),
        })
        .await?;
        match lease {
            Ok(lease) => {
                lease.detach();
                self.inner.lock().ready.push_back(slot);
                self.inner.arrived.notify_one();
                Ok(())
            }
            Err((lease, error)) => {
                let failed = lease.release().await.err();
                Error::of([error].into_iter().chain(failed).collect()).map_or(Ok(()), Err)
            }
        }
    }
}

impl Inner {
    /// Puts a number that was taken down to rest.
    pub(crate) fn rest(&self, slot: Slot) {
        self.lock()
            .resting
            .push_back((Instant::now() + self.config.rest, slot));
        self.wanted.notify_one();
    }

    fn next_to_build(&self) -> Option<Slot> {
        let (mut state, now) = (self.lock(), Instant::now());
        let is_full = state.ready.len() >= self.config.ready;
        if is_full || state.quiet_until(&self.config) > Some(now) {
            return None;
        }
        state.wake(now);
        state.take_lowest()
    }

    /// Returns when it is worth asking again.
    async fn something_to_build(&self) {
        let until = {
            let state = self.lock();
            let is_full = state.ready.len() >= self.config.ready;
            let quiet = state.quiet_until(&self.config);
            let rested = state.resting.front().map(|(until, _)| *until);
            // None is built while it is quiet, whatever has rested.
            quiet
                .filter(|until| *until > Instant::now())
                .or(rested)
                .filter(|_| !is_full)
        };
        let wanted = self.wanted.notified();
        match until {
            Some(until) => drop(tokio::time::timeout_at(until.into(), wanted).await),
            None => wanted.await,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Until when none is built, while enough are ready.
    fn quiet_until(&self, config: &NetworkConfig) -> Option<Instant> {
        let is_low = self.ready.len() * 2 < config.ready;
        let hushed_at = self.hushed_at.filter(|_| !is_low)?;
        Some(hushed_at + config.quiet)
    }

    /// Frees the numbers that have rested.
    fn wake(&mut self, now: Instant) {
        while let Some((_, slot)) = self.resting.pop_front_if(|(until, _)| *until <= now) {
            self.taken.remove(&slot);
        }
    }

    /// Takes the lowest free number.
    fn take_lowest(&mut self) -> Option<Slot> {
        let mut candidate = Slot::MIN;
        for slot in &self.taken {
            if *slot != candidate {
                break;
            }
            candidate = candidate.next()?;
        }
        self.taken.insert(candidate);
        Some(candidate)
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner")
            .field("config", &self.config)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(number: u16) -> Slot {
        Slot::new(number).unwrap()
    }

    #[test]
    fn the_lowest_free_number_is_taken_and_a_resting_one_is_not_free() {
        let mut state = State::default();
        assert_eq!(
            [
                state.take_lowest(),
                state.take_lowest(),
                state.take_lowest()
            ],
            [1, 2, 3].map(|n| Some(slot(n)))
        );
        let now = Instant::now();
        state
            .resting
            .push_back((now + Duration::from_secs(3), slot(2)));
        state.wake(now);
        assert_eq!(state.take_lowest(), Some(slot(4)));
        state.wake(now + Duration::from_secs(3));
        assert_eq!(state.take_lowest(), Some(slot(2)));
        assert_eq!(state.take_lowest(), Some(slot(5)));
    }

    #[test]
    fn while_half_are_left_a_start_is_not_disturbed() {
        let (config, now) = (NetworkConfig::default(), Instant::now());
        let state = |ready: u16| State {
            ready: (1..=ready).map(slot).collect(),
            hushed_at: Some(now),
            ..State::default()
        };
        let until = now + config.quiet;
        assert_eq!(state(7).quiet_until(&config), Some(until));
        assert_eq!(state(4).quiet_until(&config), Some(until));
        assert_eq!(state(3).quiet_until(&config), None);
        assert_eq!(State::default().quiet_until(&config), None);
    }

    #[test]
    fn numbers_run_out_without_wrapping() {
        let mut state = State {
            taken: (1..=32767).map(slot).collect(),
            ..State::default()
        };
        assert_eq!(state.take_lowest(), None);
        state.taken.remove(&Slot::MAX);
        assert_eq!(state.take_lowest(), Some(Slot::MAX));
    }
}
