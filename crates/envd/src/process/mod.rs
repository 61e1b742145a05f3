//! Processes that envd starts: their spawn, their output, their end.
//!
//! `Processes` holds what lives and what has ended lately. A process is reserved in the table before it is
//! spawned and recorded as ended in the same step that takes it out, so that at every moment a pid or a tag
//! names at most one of them and an end is never lost. Two tasks belong to each: the pump reads its output
//! (`output`), the driver waits for its end (`driver`). No lock is held across a wait.

mod birth;
mod command;
pub(crate) mod descriptors;
mod driver;
mod exit;
mod leader;
pub(crate) mod orphans;
mod output;
mod queue;
mod running;
pub(crate) mod service;
mod spawn;
mod stdin;
mod terminal;
mod wire;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use thiserror::Error;

pub(crate) use self::{command::Command, leader::watched};
use self::{
    driver::Process,
    output::{Budget, Subscription},
    running::RunningTime,
};
use crate::guest::{
    cgroup::{Cgroups, Group},
    vital,
};

/// Processes that run or start.
pub(crate) const MAX_LIVE: usize = 1024;
const MAX_ENDED: usize = 4096;
const RECORD_KEPT: Duration = Duration::from_secs(10 * 60);
const REPLAY_KEPT: Duration = Duration::from_secs(60);
const MAX_BUFFERED: u64 = 512 << 20;

/// Which process a request means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selector {
    Pid(u32),
    Tag(String),
}

/// A process that does not start.
#[derive(Debug, Error)]
pub(crate) enum StartError {
    #[error("tag '{tag}' is in use by pid {pid}")]
    TagInUse { tag: String, pid: u32 },
    #[error("{MAX_LIVE} processes are running")]
    TooMany,
    #[error(transparent)]
    Spawn(#[from] spawn::SpawnError),
}

/// All processes of this envd.
#[derive(Debug)]
pub(crate) struct Processes {
    table: Mutex<Table>,
    cgroups: Option<Cgroups>,
    budget: Arc<Budget>,
    /// What the timeouts of processes are counted in.
    running: RunningTime,
}

#[derive(Debug, Default)]
struct Table {
    last_key: u64,
    live: HashMap<u64, Arc<Process>>,
    /// Being spawned: they count, and their tags are taken.
    reserved: HashMap<u64, Option<String>>,
    /// Oldest first.
    ended: VecDeque<Arc<Process>>,
}

impl Processes {
    pub(crate) fn new(cgroups: Option<Cgroups>) -> Arc<Self> {
        let limit = (vital::memory().total / 4).clamp(16 << 20, MAX_BUFFERED);
        Arc::new(Self {
            table: Mutex::default(),
            cgroups,
            budget: Arc::new(Budget::new(limit)),
            running: RunningTime::new(),
        })
    }

    /// The groups of all processes; absent where none are placed.
    pub(crate) fn cgroups(&self) -> Option<&Cgroups> {
        self.cgroups.as_ref()
    }

    /// Stops the time of timeouts.
    pub(crate) fn suspend_timeouts(&self) {
        self.running.suspend();
    }

    /// Lets the time of timeouts go on.
    pub(crate) fn resume_timeouts(&self) {
        self.running.resume();
    }

    /// Starts `command`; its first subscriber is attached before it exists. Completes even when the caller
    /// does not wait for it, so that no process is left without its tasks.
    pub(crate) async fn start(
        self: &Arc<Self>,
        command: Command,
    ) -> Result<Subscription, StartError> {
        let key = self.reserve(&command)?;
        let processes = Arc::clone(self);
        let launch = async move {
            let group = if command.terminal.is_some() {
                Group::Pty
            } else {
                Group::User
            };
            let cgroup = processes.cgroups.as_ref().map(|groups| groups.group(group));
            let launched = driver::launch(key, command, cgroup, &processes.budget).await;
            let mut table = processes.table();
            table.reserved.remove(&key);
            let launched = launched?;
            let process = Arc::clone(launched.process());
            table.forget_ended(process.pid(), process.tag());
            table.live.insert(key, process);
            drop(table);
            Ok(launched.run(Arc::clone(&processes)))
        };
        match tokio::spawn(launch).await {
            Ok(started) => started,
            Err(fault) => {
                tracing::error!(%fault, "starting a process panicked");
                self.table().reserved.remove(&key);
                Err(StartError::Spawn(spawn::SpawnError::Lost))
            }
        }
    }

    fn reserve(&self, command: &Command) -> Result<u64, StartError> {
        let mut table = self.table();
        if table.live.len() + table.reserved.len() >= MAX_LIVE {
            return Err(StartError::TooMany);
        }
        if let Some(tag) = &command.tag {
            let holder = table
                .live
                .values()
                .find(|process| process.tag() == Some(tag));
            let holder = holder.map(|process| process.pid());
            let coming = table
                .reserved
                .values()
                .any(|held| held.as_ref() == Some(tag));
            if let Some(pid) = holder.or(coming.then_some(0)) {
                return Err(StartError::TagInUse {
                    tag: tag.clone(),
                    pid,
                });
            }
        }
        table.last_key += 1;
        let key = table.last_key;
        table.reserved.insert(key, command.tag.clone());
        Ok(key)
    }

    /// All live processes, by pid.
    pub(crate) fn list(&self) -> Vec<Arc<Process>> {
        let mut all: Vec<_> = self.table().live.values().cloned().collect();
        all.sort_by_key(|process| process.pid());
        all
    }

    /// The live process that `selector` names.
    pub(crate) fn live(&self, selector: &Selector) -> Option<Arc<Process>> {
        self.table()
            .live
            .values()
            .find(|process| names(selector, process))
            .cloned()
    }

    /// The live process that `selector` names, else one that has ended lately.
    pub(crate) fn known(&self, selector: &Selector) -> Option<Arc<Process>> {
        let table = self.table();
        let live = table.live.values().find(|process| names(selector, process));
        live.or_else(|| table.ended.iter().find(|process| names(selector, process)))
            .cloned()
    }

    /// Ends every stream of output; the processes run on.
    pub(crate) fn drop_subscribers(&self) {
        for process in self.list() {
            process.output().drop_subscribers();
        }
    }

    /// Pids that envd waits for itself.
    fn own_pids(&self) -> HashSet<u32> {
        self.table()
            .live
            .values()
            .map(|process| process.pid())
            .collect()
    }

    /// Whether a process is between its spawn and its entry in the table.
    fn is_spawning(&self) -> bool {
        !self.table().reserved.is_empty()
    }

    /// Moves a process to the records, then tells its subscribers of the end.
    fn retire(self: &Arc<Self>, process: &Arc<Process>, end: output::End) {
        {
            let mut table = self.table();
            table.ended.push_back(Arc::clone(process));
            if table.ended.len() > MAX_ENDED {
                table.ended.pop_front();
            }
            table.live.remove(&process.key());
            process.output().end(end);
        }
        let (processes, ended) = (Arc::downgrade(self), Arc::clone(process));
        tokio::spawn(async move {
            ended.close().await;
            let process = Arc::downgrade(&ended);
            drop(ended);
            tokio::time::sleep(REPLAY_KEPT).await;
            if let Some(process) = process.upgrade() {
                process.output().free_replay();
            }
            tokio::time::sleep(RECORD_KEPT.saturating_sub(REPLAY_KEPT)).await;
            if let (Some(processes), Some(process)) = (processes.upgrade(), process.upgrade()) {
                processes
                    .table()
                    .ended
                    .retain(|one| one.key() != process.key());
            }
        });
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Removes the records that a new process of this pid and tag would be confused with.
    fn forget_ended(&mut self, pid: u32, tag: Option<&String>) {
        self.ended
            .retain(|one| one.pid() != pid && (tag.is_none() || one.tag() != tag));
    }
}

fn names(selector: &Selector, process: &Process) -> bool {
    match selector {
        Selector::Pid(pid) => process.pid() == *pid,
        Selector::Tag(tag) => process.tag() == Some(tag),
    }
}
