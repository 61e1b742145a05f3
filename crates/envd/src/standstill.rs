//! Holding the guest still for a snapshot, and letting it go on.
//!
//! ```text
//!          freeze ─▶ frozen ─ unfreeze, /init ─▶ running
//! running ─┤
//!          prepare ─▶ frozen, sealed, timeouts suspended ─ unfreeze, /init, watchdog ─▶ running
//! ```
//!
//! Whoever changes this holds the agent's turn, so that nothing of it runs at the same time as another step
//! or as `/init`. A preparation that nobody follows up is undone after a minute by its watchdog, unless the
//! metadata service shows that this is another life of the VM than the one that was prepared: a clone stays
//! closed until its own `/init`.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Serialize;
use thiserror::Error;
use tokio::{
    sync::OwnedMutexGuard,
    time::{Instant, sleep, timeout},
};

use crate::{
    agent::Agent,
    flags::Surroundings,
    guest::{
        freezer::{Freezer, Frozen},
        mmds::MmdsError,
        writeback::{self, FrozenRoot},
    },
};

/// What a preparation may take beside the wait for processes.
const OVERHEAD: Duration = Duration::from_secs(3);
/// Running time of the guest after which a preparation is undone.
const UNFOLLOWED: Duration = Duration::from_secs(60);

/// The right to change what this module holds, of which there is one.
pub(crate) type Turn = OwnedMutexGuard<()>;

/// How much of the guest a snapshot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Memory and disk: what is not written yet is in the snapshot.
    Full,
    /// The disk alone, which therefore has to be whole.
    Filesystem,
}

/// What to do with the pages of files that are on the disk too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caches {
    Kept,
    Dropped,
}

/// What to prepare for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) scope: Scope,
    pub(crate) caches: Caches,
    /// How long to wait for processes that do not stop at once.
    pub(crate) patience: Duration,
}

/// A guest ready for its snapshot.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Prepared {
    #[serde(flatten)]
    frozen: Frozen,
    sync_ms: u64,
}

/// A preparation that was undone.
#[derive(Debug, Error)]
pub(crate) enum PrepareError {
    #[error("ask the metadata service who the host is")]
    Host(#[source] MmdsError),
    #[error("write out the file system")]
    Sync(#[source] io::Error),
    #[error("freeze the file system")]
    FreezeRoot(#[source] io::Error),
    #[error("drop the caches")]
    DropCaches(#[source] io::Error),
    #[error("be ready within {} ms", .0.as_millis())]
    Late(Duration),
}

/// What is held now.
#[derive(Debug, Default)]
pub(crate) struct Standstill {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    root: Option<FrozenRoot>,
    /// Rises with every preparation and every release.
    round: u64,
}

impl Standstill {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stops the processes of the guest.
pub(crate) async fn freeze(agent: &Agent, patience: Duration, _turn: &Turn) -> Frozen {
    match agent.processes.cgroups() {
        Some(groups) => groups.freezer().freeze(patience).await,
        None => Freezer::unobservable(),
    }
}

/// Makes the guest ready for a snapshot; what fails half-way is undone.
pub(crate) async fn prepare(
    agent: &Arc<Agent>,
    plan: Plan,
    turn: &Turn,
) -> Result<Prepared, PrepareError> {
    let vm = agent.surroundings == Surroundings::Vm;
    let host = if vm {
        Some(agent.host_key.hash().await.map_err(PrepareError::Host)?)
    } else {
        None
    };
    let round = next_round(agent);
    let limit = plan.patience + OVERHEAD;
    let stopped = timeout(limit, stop(agent, plan, turn))
        .await
        .unwrap_or(Err(PrepareError::Late(limit)));
    match &stopped {
        Ok(_) => {
            tokio::spawn(watch_over(Arc::clone(agent), round, host));
        }
        Err(_) => {
            if let Err(fault) = release(agent, turn) {
                tracing::error!(%fault, "a failed preparation is not undone");
            }
        }
    }
    stopped
}

async fn stop(agent: &Agent, plan: Plan, turn: &Turn) -> Result<Prepared, PrepareError> {
    agent.processes.suspend_timeouts();
    let frozen = freeze(agent, plan.patience, turn).await;
    let begun = Instant::now();
    let vm = agent.surroundings == Surroundings::Vm;
    if vm {
        blocking(writeback::sync)
            .await
            .map_err(PrepareError::Sync)?;
    }
    let sync_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    agent.sandbox.state().sealed = true;
    if vm && plan.scope == Scope::Filesystem {
        // When nobody waits for it any more it is dropped, and thaws.
        let root = blocking(FrozenRoot::freeze).await;
        agent.standstill.held().root = Some(root.map_err(PrepareError::FreezeRoot)?);
    }
    if vm && plan.caches == Caches::Dropped {
        blocking(writeback::drop_caches)
            .await
            .map_err(PrepareError::DropCaches)?;
    }
    Ok(Prepared { frozen, sync_ms })
}

/// Lets the file system go on, which whoever writes to it needs.
pub(crate) fn release_root(agent: &Agent, _turn: &Turn) {
    agent.standstill.held().root = None;
}

/// Lets everything go on and opens the sandbox again; nothing when nothing is held.
pub(crate) fn release(agent: &Agent, turn: &Turn) -> io::Result<()> {
    next_round(agent);
    release_root(agent, turn);
    agent.sandbox.state().sealed = false;
    agent.processes.resume_timeouts();
    match agent.processes.cgroups() {
        Some(groups) => groups.freezer().thaw(),
        None => Ok(()),
    }
}

fn next_round(agent: &Agent) -> u64 {
    let mut held = agent.standstill.held();
    held.round += 1;
    held.round
}

/// Undoes a preparation that nobody follows up.
async fn watch_over(agent: Arc<Agent>, round: u64, host: Option<String>) {
    loop {
        // The clock of the guest stands still while its VM does.
        sleep(UNFOLLOWED).await;
        let turn = Arc::clone(&agent.turn).lock_owned().await;
        if agent.standstill.held().round != round {
            return;
        }
        let now = match &host {
            None => None,
            Some(_) => match agent.host_key.hash().await {
                Ok(hash) => Some(hash),
                // A clone whose host has not set it up yet, or trouble that passes.
                Err(_) => continue,
            },
        };
        if now != host {
            return;
        }
        tracing::warn!("a snapshot was prepared and not taken: the sandbox goes on");
        match release(&agent, &turn) {
            Ok(()) => return,
            Err(fault) => tracing::error!(%fault, "the sandbox does not go on"),
        }
    }
}

/// Runs a step that may block the thread it runs on.
async fn blocking<T: Send + 'static>(
    step: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(step)
        .await
        .unwrap_or_else(|_| Err(io::Error::other("the step panicked")))
}
