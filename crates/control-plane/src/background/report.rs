//! A host's complete report, taken apart by sandbox.

use std::collections::HashMap;

use wrenn_api::Reason;
use wrenn_ids::SandboxId;
use wrenn_rpc::hostagent::{__buffa::oneof::host_event::Kind, OnIdle, SyncResponse};

use super::{agent, judgement::Reported};

/// A report, by sandbox.
pub(super) struct Report {
    pub(super) raw: SyncResponse,
    pub(super) present: HashMap<SandboxId, Reported>,
    /// Why the host says that a sandbox ended.
    pub(super) ended: HashMap<SandboxId, Reason>,
    /// Why it keeps one paused.
    pub(super) paused: HashMap<SandboxId, Reason>,
    /// Idle seconds and what idleness does, as the host has them.
    pub(super) idle: HashMap<SandboxId, (u32, OnIdle)>,
}

impl Report {
    pub(super) fn new(raw: SyncResponse) -> Self {
        let present = raw
            .sandboxes
            .iter()
            .filter_map(|sandbox| {
                let state = sandbox.state.as_known().unwrap_or_default();
                let generation = i64::try_from(sandbox.generation).unwrap_or(i64::MAX);
                Some((
                    sandbox.sandbox_id.parse().ok()?,
                    Reported::Present(state, generation),
                ))
            })
            .collect();
        let ended = raw.events.iter().filter_map(|event| {
            let reason = match event.kind {
                Some(Kind::Exited(_)) => Reason::VmExited,
                Some(Kind::IdleDestroyed(_)) => Reason::Idle,
                _ => return None,
            };
            Some((event.sandbox_id.parse().ok()?, reason))
        });
        let ended = ended.collect();
        let paused = raw.sandboxes.iter().filter_map(|sandbox| {
            let reason = agent::pause_reason(sandbox.pause_reason.as_known().unwrap_or_default());
            Some((sandbox.sandbox_id.parse().ok()?, reason?))
        });
        let paused = paused.collect();
        let idle = raw.sandboxes.iter().filter_map(|sandbox| {
            let on_idle = match sandbox.on_idle.as_known().unwrap_or_default() {
                OnIdle::Unspecified => OnIdle::Pause,
                known => known,
            };
            let policy = (sandbox.idle_timeout_sec, on_idle);
            Some((sandbox.sandbox_id.parse().ok()?, policy))
        });
        let idle = idle.collect();
        Self {
            raw,
            present,
            ended,
            paused,
            idle,
        }
    }
}

impl Report {
    /// The pauses that the host began by itself and that failed; the sandboxes run on.
    pub(super) fn failed_pauses(&self) -> impl Iterator<Item = &str> {
        let events = self.raw.events.iter();
        events
            .filter(|event| matches!(event.kind, Some(Kind::PauseFailed(_))))
            .map(|event| event.sandbox_id.as_str())
    }

    /// Number of the last event in it. Not the host's newest: one may have come while it was written.
    pub(super) fn applied(&self) -> u64 {
        self.raw
            .events
            .iter()
            .map(|event| event.seq)
            .max()
            .unwrap_or(0)
    }
}
