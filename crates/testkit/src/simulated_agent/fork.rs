//! Many simulated sandboxes from one.

use wrenn_ids::SandboxId;
use wrenn_rpc::{
    buffa::EnumValue,
    connectrpc::ConnectError,
    hostagent::{ForkSandboxRequest, PauseReason, Sandbox, SandboxState},
};

use super::{
    sleep::wrong_state,
    state::{State, not_found, now_ms, parse},
};

impl State {
    /// Children have copies of the source's files as they are now.
    pub(super) fn fork(&self, request: &ForkSandboxRequest) -> Result<Vec<Sandbox>, ConnectError> {
        let id = parse::<SandboxId>(&request.sandbox_id)?;
        let children = request.child_ids.iter().map(|id| parse::<SandboxId>(id));
        let children = children.collect::<Result<Vec<_>, _>>()?;
        self.once(&request.operation, id, |held, _| {
            let source = held.sandboxes.get(&id).ok_or_else(not_found)?.clone();
            let state = source.state.as_known().unwrap_or_default();
            if !matches!(state, SandboxState::Running | SandboxState::Paused) {
                return Err(wrong_state());
            }
            let environment = held.environments.get(&id).cloned().unwrap_or_default();
            for child in &children {
                let now = now_ms();
                let sandbox = Sandbox {
                    sandbox_id: child.to_string(),
                    generation: 1,
                    state: EnumValue::Known(SandboxState::Running),
                    pause_reason: EnumValue::Known(PauseReason::Unspecified),
                    started_at_ms: now,
                    last_active_at_ms: now,
                    idle_timeout_sec: request.idle_timeout_sec,
                    on_idle: request.on_idle,
                    ..source.clone()
                };
                held.sandboxes.insert(*child, sandbox);
                held.highest.insert(*child, 1);
                held.environments.insert(*child, environment.clone());
                self.copy_files(id, *child)?;
            }
            Ok(Some(source))
        })?;
        let held = self.held.lock();
        let made = children.iter().filter_map(|id| held.sandboxes.get(id));
        Ok(made.cloned().collect())
    }
}
