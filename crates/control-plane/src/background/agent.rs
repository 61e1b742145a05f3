//! What the operations say to a host's agent and read from its answers.

use std::time::Duration;

use wrenn_api::{OnIdle as WireOnIdle, Reason, sandbox::Network, sandbox::Versions};
use wrenn_database::{OpRow, ReadyFacts, SandboxRow};
use wrenn_rpc::{
    connectrpc::{ConnectError, ErrorCode as RpcCode},
    hostagent::{GetSandboxRequest, NetworkPolicy, OnIdle, Operation, PauseReason, Sandbox},
};

use crate::{
    app::Result,
    hosts::{
        Client,
        error::{Call, from_rpc},
        pool::within,
    },
    state::App,
};

/// How long a host may take to say how a sandbox is.
const LOOK_WITHIN: Duration = Duration::from_secs(10);

/// Identity of a mutation, as the agent compares it.
pub(super) fn operation(op: &OpRow, row: &SandboxRow) -> Operation {
    Operation {
        op_id: op.id.to_string(),
        generation: u64::try_from(op.generation).unwrap_or(0),
        host_id: row.host_id().map(|id| id.to_string()).unwrap_or_default(),
        ..Operation::default()
    }
}

/// Whether the agent may have accepted a call that failed so: it did not say no.
pub(super) fn is_unknown(error: &ConnectError) -> bool {
    matches!(
        error.code,
        RpcCode::Unavailable | RpcCode::Aborted | RpcCode::Canceled | RpcCode::DeadlineExceeded
    )
}

/// The client of the sandbox's host; `None` when it has none or the host was deleted.
pub(super) async fn client_of(app: &App, row: &SandboxRow) -> Result<Option<Client>> {
    match row.host_id() {
        Some(host) => app.pool.client(host).await,
        None => Ok(None),
    }
}

/// The sandbox as its host has it; `None` when the host has no such sandbox, or there is no such host.
///
/// # Errors
/// The host does not answer.
pub(super) async fn look(app: &App, row: &SandboxRow) -> Result<Option<Sandbox>> {
    let Some(client) = client_of(app, row).await? else {
        return Ok(None);
    };
    let request = GetSandboxRequest {
        sandbox_id: row.id().to_string(),
        ..Default::default()
    };
    match client
        .get_sandbox_with_options(request, within(LOOK_WITHIN))
        .await
    {
        Ok(answer) => Ok(answer.into_owned().sandbox.into_option()),
        Err(error) if error.code == RpcCode::NotFound => Ok(None),
        Err(error) => Err(from_rpc(error, Call::Lifecycle)),
    }
}

/// What the row keeps of a sandbox that runs.
pub(super) fn facts(sandbox: Sandbox) -> ReadyFacts {
    let versions = sandbox.versions.into_option().unwrap_or_default();
    ReadyFacts {
        guest_ip: sandbox.guest_ip,
        host_ip: sandbox.host_ip,
        versions: Versions {
            kernel_version: versions.kernel,
            firecracker_version: versions.firecracker,
            agent_version: versions.agent,
            envd_version: versions.envd,
        },
    }
}

/// What idleness does, in the agent's words.
pub(crate) fn on_idle(text: &str) -> OnIdle {
    match text.parse() {
        Ok(WireOnIdle::Destroy) => OnIdle::Destroy,
        _ => OnIdle::Pause,
    }
}

/// What a sandbox may reach, in the agent's words.
pub(crate) fn network(network: &Network) -> NetworkPolicy {
    NetworkPolicy {
        allow_internet: network.allow_internet,
        allow_out: network.allow_out.clone(),
        deny_out: network.deny_out.clone(),
        ..NetworkPolicy::default()
    }
}

/// Why a sandbox is paused, in ours; `None` when its host does not say.
pub(super) fn pause_reason(reason: PauseReason) -> Option<Reason> {
    match reason {
        PauseReason::Unspecified => None,
        PauseReason::User => Some(Reason::User),
        PauseReason::Idle => Some(Reason::Idle),
        PauseReason::HostDrain => Some(Reason::HostDrain),
        PauseReason::HostDisconnected => Some(Reason::HostDisconnected),
        PauseReason::PauseAll => Some(Reason::PauseAll),
    }
}

/// A number of the database as the contract has it.
pub(crate) fn number(value: i32) -> u32 {
    u32::try_from(value).unwrap_or(0)
}
