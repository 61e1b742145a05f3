//! Pausing and waking of simulated sandboxes, on order and by the agent itself.

use wrenn_ids::SandboxId;
use wrenn_rpc::{
    buffa::EnumValue,
    connectrpc::{ConnectError, ErrorCode},
    hostagent::{
        __buffa::oneof::host_event::Kind, OnIdle, PauseReason, PauseSandboxRequest,
        ResumeSandboxRequest, Sandbox, SandboxState, UpdateSandboxRequest, error_detail::Reason,
        host_event,
    },
};

use super::state::{Held, State, not_found, parse, refusal};

/// What a simulated snapshot claims to take.
const SNAPSHOT_BYTES: u64 = 64 << 20;

impl State {
    /// Pausing what is paused answers with it.
    pub(super) fn pause(&self, request: &PauseSandboxRequest) -> Result<Sandbox, ConnectError> {
        let id = parse::<SandboxId>(&request.sandbox_id)?;
        let paused = self.once(&request.operation, id, |held, generation| {
            let sandbox = held.sandboxes.get_mut(&id).ok_or_else(not_found)?;
            match sandbox.state.as_known().unwrap_or_default() {
                SandboxState::Running => fall_asleep(sandbox, request.reason),
                SandboxState::Paused => {}
                _ => return Err(wrong_state()),
            }
            sandbox.generation = generation;
            Ok(Some(sandbox.clone()))
        })?;
        paused.ok_or_else(|| ConnectError::internal("the operation was not a pause"))
    }

    /// Resuming what runs answers with it.
    pub(super) fn resume(&self, request: &ResumeSandboxRequest) -> Result<Sandbox, ConnectError> {
        let id = parse::<SandboxId>(&request.sandbox_id)?;
        let resumed = self.once(&request.operation, id, |held, generation| {
            let sandbox = held.sandboxes.get_mut(&id).ok_or_else(not_found)?;
            match sandbox.state.as_known().unwrap_or_default() {
                SandboxState::Running => {}
                SandboxState::Paused => {
                    sandbox.state = EnumValue::Known(SandboxState::Running);
                    sandbox.pause_reason = EnumValue::Known(PauseReason::Unspecified);
                    sandbox.snapshot_bytes = 0;
                    sandbox.last_active_at_ms = super::state::now_ms();
                    // Another slot than before, as on a real host.
                    sandbox.host_ip = "10.11.0.5".to_owned();
                    sandbox.idle_timeout_sec = request.idle_timeout_sec;
                    sandbox.on_idle = request.on_idle;
                }
                _ => return Err(wrong_state()),
            }
            sandbox.generation = generation;
            Ok(Some(sandbox.clone()))
        })?;
        resumed.ok_or_else(|| ConnectError::internal("the operation was not a resume"))
    }

    pub(super) fn update(&self, request: &UpdateSandboxRequest) -> Result<Sandbox, ConnectError> {
        let id = parse::<SandboxId>(&request.sandbox_id)?;
        let updated = self.once(&request.operation, id, |held, _| {
            let sandbox = held.sandboxes.get_mut(&id).ok_or_else(not_found)?;
            if let Some(seconds) = request.idle_timeout_sec {
                sandbox.idle_timeout_sec = seconds;
            }
            if request.on_idle.as_known() != Some(OnIdle::Unspecified) {
                sandbox.on_idle = request.on_idle;
            }
            Ok(Some(sandbox.clone()))
        })?;
        updated.ok_or_else(|| ConnectError::internal("the operation was not an update"))
    }

    /// The agent pauses it by itself, and an event says so.
    pub(super) fn pause_alone(&self, id: SandboxId, reason: PauseReason) {
        self.alone(id, |held| {
            let sandbox = held.sandboxes.get_mut(&id)?;
            fall_asleep(sandbox, EnumValue::Known(reason));
            let event = host_event::Paused {
                reason: EnumValue::Known(reason),
                ..Default::default()
            };
            Some((sandbox.generation, event.into()))
        });
    }

    /// Its idle time is over and it is destroyed, and an event says so.
    pub(super) fn destroy_idle(&self, id: SandboxId) {
        self.alone(id, |held| {
            let sandbox = held.sandboxes.remove(&id)?;
            Some((
                sandbox.generation,
                host_event::IdleDestroyed::default().into(),
            ))
        });
    }

    /// A pause on the agent's own account failed, and an event says so.
    pub(super) fn fail_pause(&self, id: SandboxId) {
        self.alone(id, |held| {
            let sandbox = held.sandboxes.get(&id)?;
            Some((
                sandbox.generation,
                host_event::PauseFailed::default().into(),
            ))
        });
    }

    /// An order that the control plane gave up comes through late: it runs.
    pub(super) fn wake_late(&self, id: SandboxId) {
        let mut held = self.held.lock();
        if let Some(sandbox) = held.sandboxes.get_mut(&id) {
            sandbox.state = EnumValue::Known(SandboxState::Running);
        }
    }

    fn alone(&self, id: SandboxId, work: impl FnOnce(&mut Held) -> Option<(u64, Kind)>) {
        let mut held = self.held.lock();
        if let Some((generation, kind)) = work(&mut held) {
            self.record(&mut held, id, generation, kind);
        }
    }
}

fn fall_asleep(sandbox: &mut Sandbox, reason: EnumValue<PauseReason>) {
    sandbox.state = EnumValue::Known(SandboxState::Paused);
    sandbox.pause_reason = reason;
    sandbox.snapshot_bytes = SNAPSHOT_BYTES;
}

pub(super) fn wrong_state() -> ConnectError {
    refusal(
        ErrorCode::FailedPrecondition,
        Reason::WRONG_STATE,
        "the sandbox's state does not allow this",
    )
}
