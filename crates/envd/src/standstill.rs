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
#[derive(Debug)]
pub(crate) struct Standstill {
    held: Mutex<Held>,
    /// After which a preparation is undone.
    unfollowed: Duration,
}

impl Default for Standstill {
    fn default() -> Self {
        Self {
            held: Mutex::default(),
            unfollowed: UNFOLLOWED,
        }
    }
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
        let known = agent.host_key.metadata().await;
        Some(known.map_err(PrepareError::Host)?.host_key_hash)
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

/// The number of preparations and releases until now.
pub(crate) fn round(agent: &Agent) -> u64 {
    agent.standstill.held().round
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
        sleep(agent.standstill.unfollowed).await;
        let turn = Arc::clone(&agent.turn).lock_owned().await;
        if agent.standstill.held().round != round {
            return;
        }
        let now = match &host {
            None => None,
            Some(_) => match agent.host_key.read().await {
                Ok(metadata) => Some(metadata.host_key_hash),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::{Gate, Told, Trial, in_a_guest};

    const SHORT: Duration = Duration::from_millis(200);
    const LATE: Duration = Duration::from_secs(30);
    const FILESYSTEM: &str = r#"{"mode":"filesystem","maxWaitMs":0}"#;

    fn watched(unfollowed: Duration) -> Standstill {
        Standstill {
            unfollowed,
            ..Standstill::default()
        }
    }

    /// What is held: the file system, and the sandbox's door.
    fn held(trial: &Trial) -> (bool, bool) {
        (trial.is_root_frozen(), trial.agent.sandbox.state().sealed)
    }

    #[test]
    fn a_frozen_file_system_goes_on_with_the_sandbox_whoever_lets_it() {
        in_a_guest(watched(LATE * 4), async |trial| {
            for (path, body) in [
                ("/unfreeze", String::new()),
                ("/init", trial.repeated_init()),
            ] {
                assert_eq!(trial.post("/snapshot/prepare", FILESYSTEM).await, 200);
                assert_eq!(held(&trial), (true, true), "before {path}");
                let writing = tokio::task::spawn_blocking(|| std::fs::write("/probe", "x"));
                assert_eq!(trial.post(path, &body).await, 204);
                assert_eq!(held(&trial), (false, false), "after {path}");
                let written = timeout(LATE, writing).await.unwrap();
                written.unwrap().unwrap();
                // Again is as good as once.
                assert_eq!(trial.post("/unfreeze", "").await, 204);
            }
            // It was written while the file system would have stood still.
            let hosts = std::fs::read_to_string("/etc/hosts").unwrap();
            assert!(hosts.contains("127.0.1.1 thawed"), "{hosts}");
        });
    }

    #[test]
    fn an_init_that_a_preparation_overtook_asks_whose_life_this_is() {
        in_a_guest(watched(LATE * 4), async |trial| {
            let turn = Arc::clone(&trial.agent.turn).lock_owned().await;
            let body = trial.repeated_init();
            let body = format!(r#"{},"accessToken":"old"}}"#, body.trim_end_matches('}'));
            let overtaken = trial.post("/init", &body);
            let next_life = async {
                let mut asked = trial.metadata.asked.clone();
                asked.wait_for(|count| *count >= 2).await.unwrap();
                let plan = Plan {
                    scope: Scope::Full,
                    caches: Caches::Kept,
                    patience: SHORT,
                };
                prepare(&trial.agent, plan, &turn).await.unwrap();
                let token = Some("new");
                let told = Some(Told { key: "host", token });
                trial.metadata.told.send_replace(told);
                drop(turn);
            };
            assert_eq!(tokio::join!(overtaken, next_life).0, 401);
            assert!(trial.agent.sandbox.state().sealed);
        });
    }

    #[test]
    fn a_preparation_that_fails_half_way_is_undone() {
        in_a_guest(watched(LATE * 4), async |trial| {
            // There is no /proc to tell it to.
            let body = r#"{"mode":"filesystem","dropCaches":true}"#;
            assert_eq!(trial.post("/snapshot/prepare", body).await, 503);
            assert_eq!(held(&trial), (false, false));
            // Somebody else has frozen the file system, and it stays so.
            let other = FrozenRoot::freeze().unwrap();
            assert_eq!(trial.post("/snapshot/prepare", FILESYSTEM).await, 503);
            assert_eq!(held(&trial), (true, false));
            drop(other);
            assert_eq!(held(&trial), (false, false));
        });
    }

    #[test]
    fn a_file_system_that_freezes_too_late_goes_on_at_once() {
        in_a_guest(watched(LATE * 4), async |trial| {
            std::fs::write("/slow", "x").unwrap();
            // Somebody is about to write, for longer than the preparation may take.
            let mut gate = Gate::close(c"/slow");
            let writing = tokio::task::spawn_blocking(|| std::fs::write("/slow", "y"));
            let gate = tokio::task::spawn_blocking(move || {
                gate.somebody_waits();
                gate
            });
            let gate = timeout(LATE, gate).await.unwrap().unwrap();
            let begun = Instant::now();
            let thawing = async {
                // Comes while the preparation is under way, and waits for its turn.
                sleep(SHORT).await;
                trial.post("/unfreeze", "").await
            };
            let prepared = trial.post("/snapshot/prepare", FILESYSTEM);
            assert_eq!(tokio::join!(prepared, thawing), (503, 204));
            assert!((OVERHEAD..OVERHEAD * 3).contains(&begun.elapsed()));
            assert!(!trial.agent.sandbox.state().sealed);
            drop(gate);
            timeout(LATE, writing).await.unwrap().unwrap().unwrap();
            // Whoever writes after the late freeze gets through, since nobody holds on to it.
            let writing = tokio::task::spawn_blocking(|| std::fs::write("/slow", "z"));
            timeout(LATE, writing).await.unwrap().unwrap().unwrap();
        });
    }

    #[test]
    fn the_watchdog_lets_go_what_its_own_host_has_forgotten() {
        in_a_guest(watched(SHORT), async |mut trial| {
            assert_eq!(trial.post("/snapshot/prepare", FILESYSTEM).await, 200);
            // The metadata service is silent: this may be a clone that is not set up yet.
            trial.metadata.told.send_replace(None);
            let asked = *trial.metadata.asked.borrow();
            let often = trial.metadata.asked.wait_for(|now| *now >= asked + 3);
            timeout(LATE, often).await.unwrap().unwrap();
            assert_eq!(held(&trial), (true, true));
            // It was not.
            trial.metadata.told.send_replace(Told::of("host"));
            let mut writing = tokio::task::spawn_blocking(|| std::fs::write("/probe", "x"));
            timeout(LATE, &mut writing).await.unwrap().unwrap().unwrap();
            assert_eq!(held(&trial), (false, false));
        });
    }

    #[test]
    fn a_clone_that_is_restored_at_once_obeys_its_own_host() {
        in_a_guest(watched(LATE * 4), async |mut trial| {
            assert_eq!(trial.post("/snapshot/prepare", FILESYSTEM).await, 200);
            // No time passes in the guest between its snapshot and its restore.
            trial.metadata.told.send_replace(Told::of("another host"));
            assert_eq!(trial.post("/unfreeze", "").await, 401);
            trial.key = "another host";
            assert_eq!(trial.post("/init", &trial.repeated_init()).await, 204);
            assert_eq!(held(&trial), (false, false));
        });
    }

    #[test]
    fn the_watchdog_of_the_parent_does_not_open_its_clone() {
        in_a_guest(watched(SHORT), async |mut trial| {
            assert_eq!(trial.post("/snapshot/prepare", FILESYSTEM).await, 200);
            trial.metadata.told.send_replace(Told::of("another host"));
            let asked = *trial.metadata.asked.borrow();
            let once = trial.metadata.asked.wait_for(|now| *now > asked);
            timeout(LATE, once).await.unwrap().unwrap();
            sleep(SHORT * 5).await;
            assert_eq!(held(&trial), (true, true));
            // The watchdog has ended; the host before has no say any more, the new one has.
            assert_eq!(trial.post("/unfreeze", "").await, 401);
            trial.key = "another host";
            assert_eq!(trial.post("/init", &trial.repeated_init()).await, 204);
            assert_eq!(held(&trial), (false, false));
        });
    }
}
