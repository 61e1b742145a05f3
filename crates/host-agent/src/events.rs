//! Events that the control plane must learn of: durable, numbered, kept until acknowledged
//! (control-plane.md §6.3).
//!
//! Reading never consumes. Numbers increase for the life of the state directory, across restarts and
//! reboots; the boot id beside them is the kernel's, so that the control plane notices a reboot.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use wrenn_ids::SandboxId;

use crate::{durable, sandbox::PauseReason};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// The VM ended by itself.
    Exited,
    /// The agent paused it on its own account.
    Paused(PauseReason),
    /// Its idle time was over, and then it was to be destroyed.
    IdleDestroyed,
    /// The agent was to pause it on its own account and could not; it runs on.
    PauseFailed,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its number.
    pub seq: u64,
    /// When, in ms since the Unix epoch.
    pub at_ms: i64,
    /// To which sandbox.
    pub sandbox_id: SandboxId,
    /// In which generation of it.
    pub generation: u64,
    /// What.
    pub kind: EventKind,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Log {
    last_seq: u64,
    events: Vec<Event>,
}

/// The events of this host.
#[derive(Debug)]
pub struct Events {
    path: PathBuf,
    boot_id: String,
    log: Mutex<Log>,
    newest: watch::Sender<u64>,
}

impl Events {
    /// Opens the log in `state_dir`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(state_dir: &Path, boot_id: String) -> Result<Self, durable::Error> {
        let path = state_dir.join("events.json");
        let log: Log = durable::read_json(&path)?.unwrap_or_default();
        let newest = watch::Sender::new(log.last_seq);
        Ok(Self {
            path,
            boot_id,
            log: Mutex::new(log),
            newest,
        })
    }

    /// Identifies this boot of the host.
    #[must_use]
    pub fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// Number of the newest event.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.log().last_seq
    }

    /// Records an event; durable when this returns.
    ///
    /// # Errors
    /// When it cannot be stored; it is then still delivered to those who watch.
    pub fn record(
        &self,
        sandbox_id: SandboxId,
        generation: u64,
        kind: EventKind,
    ) -> Result<(), durable::Error> {
        let mut log = self.log();
        log.last_seq += 1;
        let seq = log.last_seq;
        let at_ms = jiff::Timestamp::now().as_millisecond();
        log.events.push(Event {
            seq,
            at_ms,
            sandbox_id,
            generation,
            kind,
        });
        let stored = durable::write_json(&self.path, &*log);
        drop(log);
        self.newest.send_replace(seq);
        stored
    }

    /// Forgets events up to `seq`, if it is this boot's numbers that the control plane speaks of.
    ///
    /// # Errors
    /// When the shortened log cannot be stored.
    pub fn acknowledge(&self, boot_id: &str, seq: u64) -> Result<(), durable::Error> {
        let mut log = self.log();
        if boot_id != self.boot_id || log.events.first().is_none_or(|first| first.seq > seq) {
            return Ok(());
        }
        log.events.retain(|event| event.seq > seq);
        durable::write_json(&self.path, &*log)
    }

    /// Events after `seq` that are not acknowledged, in order.
    #[must_use]
    pub fn after(&self, seq: u64) -> Vec<Event> {
        self.log()
            .events
            .iter()
            .filter(|event| event.seq > seq)
            .cloned()
            .collect()
    }

    /// Tells when a newer event is recorded.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seqs(events: &Events, after: u64) -> Vec<u64> {
        events.after(after).iter().map(|event| event.seq).collect()
    }

    #[test]
    fn events_survive_a_restart_and_go_only_when_acknowledged() {
        let directory = tempfile::tempdir().unwrap();
        let open = || Events::open(directory.path(), "boot".to_owned()).unwrap();
        let events = open();
        for generation in 1..=3 {
            events
                .record(SandboxId::ZERO, generation, EventKind::Exited)
                .unwrap();
        }
        assert_eq!(seqs(&events, 0), [1, 2, 3]);
        assert_eq!(seqs(&events, 0), [1, 2, 3], "reading does not consume");
        events.acknowledge("another boot", 3).unwrap();
        assert_eq!(seqs(&events, 0), [1, 2, 3]);
        events.acknowledge("boot", 2).unwrap();
        drop(events);

        let events = open();
        assert_eq!(seqs(&events, 0), [3]);
        events.acknowledge("boot", 3).unwrap();
        drop(events);
        let events = open();
        events
            .record(SandboxId::ZERO, 4, EventKind::Exited)
            .unwrap();
        assert_eq!(seqs(&events, 0), [4], "numbers are never used twice");
    }

    #[tokio::test]
    async fn a_watcher_is_told_of_a_new_event() {
        let directory = tempfile::tempdir().unwrap();
        let events = Events::open(directory.path(), "boot".to_owned()).unwrap();
        let mut watch = events.watch();
        events
            .record(SandboxId::ZERO, 1, EventKind::Exited)
            .unwrap();
        watch.changed().await.unwrap();
        assert_eq!(*watch.borrow(), 1);
    }
}
