//! Sandboxes on the wire.

use wrenn_rpc::hostagent::{self as wire, Sandbox, SandboxState, Versions};

use crate::{
    facts::AGENT_VERSION,
    sandbox::{Host, OnIdle, PauseReason, Phase, View},
};

/// A sandbox as callers see it.
pub(super) fn sandbox(host: &Host, view: &View) -> Sandbox {
    let state = match &view.state {
        Phase::Starting => SandboxState::Starting,
        Phase::Running(_) => SandboxState::Running,
        Phase::Pausing => SandboxState::Pausing,
        Phase::Paused(_) => SandboxState::Paused,
        Phase::Resuming => SandboxState::Resuming,
        Phase::Stopping | Phase::Gone(_) => SandboxState::Stopping,
        Phase::Crashed => SandboxState::Crashed,
    };
    let mut wire = Sandbox {
        sandbox_id: view.sandbox_id.to_string(),
        generation: view.generation,
        state: state.into(),
        template_id: view.template_id.to_string(),
        vcpus: view.vcpus,
        memory_mib: view.memory_mib,
        disk_mib: view.disk_mib,
        disk_used_bytes: host.disk_used(view.sandbox_id),
        idle_timeout_sec: view.idle_timeout_sec,
        on_idle: on_idle(view.on_idle).into(),
        ..Sandbox::default()
    };
    if let Phase::Paused(paused) = &view.state {
        wire.pause_reason = pause_reason(paused.reason).into();
        wire.snapshot_bytes = paused.snapshot_bytes;
    }
    if let Phase::Running(running) = &view.state {
        wire.guest_ip = wrenn_network::GUEST_ADDRESS.to_string();
        wire.host_ip = running.host_ip.to_string();
        wire.started_at_ms = running.started_at_ms;
        wire.last_active_at_ms = view.activity.last_ms();
        wire.versions = Versions {
            kernel: running.kernel_version.clone(),
            firecracker: running.firecracker_version.clone(),
            agent: AGENT_VERSION.to_owned(),
            envd: running.envd_version.clone(),
            ..Versions::default()
        }
        .into();
    }
    wire
}

fn on_idle(on_idle: OnIdle) -> wire::OnIdle {
    match on_idle {
        OnIdle::Pause => wire::OnIdle::Pause,
        OnIdle::Destroy => wire::OnIdle::Destroy,
    }
}

pub(super) fn pause_reason(reason: PauseReason) -> wire::PauseReason {
    match reason {
        PauseReason::User => wire::PauseReason::User,
        PauseReason::Idle => wire::PauseReason::Idle,
        PauseReason::HostDrain => wire::PauseReason::HostDrain,
        PauseReason::HostDisconnected => wire::PauseReason::HostDisconnected,
        PauseReason::PauseAll => wire::PauseReason::PauseAll,
    }
}
