//! VMMs that are started ahead: each a network slot, a jail in it, and a Firecracker that has been told nothing.
//! A restoration takes one and saves their start.
//!
//! They belong to nobody: the agent takes them down when it stops, the next one sweeps those of an agent that
//! died.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::task::AbortOnDropHandle;
use wrenn_firecracker::{Jail, JailError, JailSpec, JailedVm, Limits, VmId};
use wrenn_network::{Slot, SlotLease};

use super::{
    Host,
    steps::{HOST_STEP, StartError},
    view::now_ms,
};
use crate::chain;

/// None is started before so much time has passed since the last was taken, and since its sandbox ran: it would be
/// in the way of who took it.
const QUIET: Duration = Duration::from_secs(1);
/// Pause after a failed start, doubled up to the second value while they go on failing.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// A VMM that waits for a snapshot.
#[derive(Debug)]
pub(crate) struct ReadyVm {
    pub(crate) slot: SlotLease,
    pub(crate) vm: JailedVm,
    /// Removes it from those that are ready when it ends.
    _watch: AbortOnDropHandle<()>,
}

/// Those of this host.
#[derive(Debug)]
pub(crate) struct ReadyVms {
    wanted: usize,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    vms: VecDeque<ReadyVm>,
    quiet_until: Option<Instant>,
}

impl ReadyVm {
    async fn start(host: &Arc<Host>) -> Result<Self, StartError> {
        let deadline = host.pace.stretch(HOST_STEP);
        let slot = host.network.acquire(deadline).await?;
        // Replaced by those of the guest.
        let limits = Limits::of_guest(1, 0);
        let jail = Jail::create(&host.jails, jail(slot.slot(), slot.uid(), limits)?).await?;
        let vm = jail.launch(deadline).await?;
        let (end, owner) = (vm.end()?, Arc::clone(host));
        let watch = tokio::spawn(async move {
            end.await;
            owner.ready.forget_dead();
        });
        Ok(Self {
            slot,
            vm,
            _watch: AbortOnDropHandle::new(watch),
        })
    }

    fn lives(&self) -> bool {
        !self.vm.has_ended()
    }

    async fn release(self) {
        if let Err(error) = self.vm.release().await {
            tracing::warn!(error = %chain(&error), "a ready VM was left to the reaper");
        }
        if let Err(error) = self.slot.release().await {
            tracing::warn!(error = %chain(&error), "the slot of a ready VM was left to the reaper");
        }
    }
}

impl ReadyVms {
    pub(crate) fn new(wanted: usize) -> Self {
        Self {
            wanted,
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Takes one that lives.
    pub(crate) fn take(&self) -> Option<ReadyVm> {
        let mut state = self.lock();
        state.quiet_until = Some(Instant::now() + QUIET);
        state.vms.retain(ReadyVm::lives);
        let ready = state.vms.pop_front();
        self.changed(&state);
        if ready.is_some() {
            metrics::counter!("wrenn_agent_ready_vms_used_total").increment(1);
        }
        ready
    }

    /// Lets a sandbox that has just started begin its work before the next is made ready.
    pub(crate) fn hush(&self) {
        self.lock().quiet_until = Some(Instant::now() + QUIET);
    }

    /// Those that have died hand their guards to the reaper.
    fn forget_dead(&self) {
        let mut state = self.lock();
        state.vms.retain(ReadyVm::lives);
        self.changed(&state);
    }

    fn changed(&self, state: &State) {
        metrics::gauge!("wrenn_agent_ready_vms").set(state.vms.len() as f64);
        self.changed.notify_one();
    }

    fn add(&self, ready: ReadyVm) {
        let mut state = self.lock();
        state.vms.push_back(ready);
        self.changed(&state);
    }

    /// Returns when one is to be started.
    async fn wanted(&self) {
        loop {
            let changed = self.changed.notified();
            let (missing, quiet_until) = {
                let state = self.lock();
                (state.vms.len() < self.wanted, state.quiet_until)
            };
            match quiet_until.filter(|until| *until > Instant::now()) {
                _ if !missing => changed.await,
                Some(until) => sleep_until(until).await,
                None => return,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A jail in a slot, under a name that no other VM of this host has or had.
pub(crate) fn jail(slot: Slot, uid: u32, limits: Limits) -> Result<JailSpec, JailError> {
    Ok(JailSpec {
        // A slot rests before it is used again.
        id: VmId::new(&format!("vm-{}-{:x}", slot.number(), now_ms()))?,
        uid,
        gid: uid,
        network_namespace: slot.namespace_path(),
        limits,
    })
}

/// Starts what is wanted, one at a time, until the agent stops; then takes down what is left.
pub(crate) async fn build_wanted(host: Arc<Host>) {
    let building = async {
        let mut back_off = BACK_OFF.0;
        loop {
            host.ready.wanted().await;
            // Whoever starts a sandbox goes first; it is not held, as nobody waits for what comes here.
            drop(host.boots.acquire().await);
            // Once its sandbox runs it is quiet again.
            host.ready.wanted().await;
            match ReadyVm::start(&host).await {
                Ok(ready) => {
                    host.ready.add(ready);
                    back_off = BACK_OFF.0;
                }
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "no VM was made ready");
                    sleep(back_off).await;
                    back_off = (back_off * 2).min(BACK_OFF.1);
                }
            }
        }
    };
    tokio::select! {
        () = host.stopping.cancelled() => {}
        () = building => {}
    }
    let left = std::mem::take(&mut host.ready.lock().vms);
    for ready in left {
        ready.release().await;
    }
}
