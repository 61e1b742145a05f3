//! Templates of a simulated host: the built-in one, and snapshots of its sandboxes.

use wrenn_ids::{SandboxId, TemplateId};
use wrenn_rpc::{
    connectrpc::ConnectError,
    hostagent::{CreateSnapshotRequest, SandboxState, Template},
};

use super::{
    sleep::wrong_state,
    state::{Held, State, not_found, parse},
};

/// What a simulated snapshot claims to take.
const SIZE_BYTES: u64 = 96 << 20;

impl State {
    pub(super) fn create_snapshot(
        &self,
        request: &CreateSnapshotRequest,
    ) -> Result<Template, ConnectError> {
        let id = parse::<SandboxId>(&request.sandbox_id)?;
        let template_id = parse::<TemplateId>(&request.template_id)?;
        self.once(&request.operation, id, |held, _| {
            let source = held.sandboxes.get(&id).ok_or_else(not_found)?;
            let state = source.state.as_known().unwrap_or_default();
            if !matches!(state, SandboxState::Running | SandboxState::Paused) {
                return Err(wrong_state());
            }
            let template = Template {
                template_id: template_id.to_string(),
                name: request.name.clone(),
                size_bytes: SIZE_BYTES,
                envd_version: env!("CARGO_PKG_VERSION").to_owned(),
                disk_mib: source.disk_mib,
                vcpus: source.vcpus,
                memory_mib: source.memory_mib,
                ..Template::default()
            };
            let source = source.clone();
            held.snapshots.insert(template_id, template);
            self.copy_files(id, template_id)?;
            Ok(Some(source))
        })?;
        let held = self.held.lock();
        held.snapshots
            .get(&template_id)
            .cloned()
            .ok_or_else(|| ConnectError::internal("the operation was not a snapshot"))
    }

    /// One that is not here is success.
    pub(super) fn delete_snapshot(&self, id: &str) -> Result<(), ConnectError> {
        let id = parse::<TemplateId>(id)?;
        self.held.lock().snapshots.remove(&id);
        Ok(())
    }
}

impl Held {
    /// Whether sandboxes can be made from it here.
    pub(super) fn has_template(&self, id: TemplateId) -> bool {
        id == TemplateId::ZERO || self.snapshots.contains_key(&id)
    }
}
