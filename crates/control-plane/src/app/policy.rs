//! Settings of a sandbox that may change while it lives, in its row and on its host.

use uuid::Uuid;
use wrenn_api::{ErrorCode, UpdateSandbox};
use wrenn_database::{PolicyChange, SandboxRow, State, sandbox_update_policy};
use wrenn_ids::{HostId, SandboxId};
use wrenn_rpc::hostagent::{Operation, UpdateSandboxRequest, error_detail::Reason};

use super::{
    Error, Result,
    sandbox::{ANSWER_WITHIN, as_i32, ports},
};
use crate::{
    background::agent,
    hosts::{
        error::{Call, from_rpc, reason},
        pool::within,
    },
    state::App,
};

/// Changes settings of a sandbox.
///
/// # Errors
/// Bad fields, or the sandbox has stopped.
pub(crate) async fn update(
    app: &App,
    row: &SandboxRow,
    request: &UpdateSandbox,
) -> Result<SandboxRow> {
    request.validate()?;
    let change = PolicyChange {
        timeout_sec: request.timeout_sec.map(as_i32),
        on_idle: request.on_idle,
        auto_resume: request.auto_resume,
        public_ports: request.public_ports.as_deref().map(ports),
        metadata: request.metadata.as_ref(),
        network: request.network.as_ref(),
    };
    let row = sandbox_update_policy(&app.db, row.id(), &change).await?;
    let row = row.ok_or_else(|| Error::new(ErrorCode::InvalidState, "the sandbox has stopped"))?;
    let concerns_host =
        request.timeout_sec.is_some() || request.on_idle.is_some() || request.network.is_some();
    let on_host = matches!(
        row.status,
        State::Running
            | State::Pausing
            | State::Paused
            | State::Snapshotting
            | State::SnapshottingPaused
    );
    if concerns_host
        && on_host
        && let Some(host) = row.host_id()
    {
        let change = UpdateSandboxRequest {
            idle_timeout_sec: Some(agent::number(row.timeout_sec)),
            on_idle: agent::on_idle(&row.on_idle).into(),
            network: request.network.as_ref().map(agent::network).into(),
            ..UpdateSandboxRequest::default()
        };
        tell_agent(app, host, row.id(), row.generation, change).await?;
    }
    Ok(row)
}

/// Changes settings of a sandbox on its host.
///
/// # Errors
/// The host is away, or refuses.
pub(crate) async fn tell_agent(
    app: &App,
    host: HostId,
    id: SandboxId,
    generation: i64,
    change: UpdateSandboxRequest,
) -> Result<()> {
    let Some(client) = app.pool.client(host).await? else {
        return Ok(());
    };
    let with_network = change.network.is_set();
    let request = UpdateSandboxRequest {
        operation: Some(Operation {
            op_id: Uuid::now_v7().to_string(),
            generation: u64::try_from(generation).unwrap_or(0),
            host_id: host.to_string(),
            ..Operation::default()
        })
        .into(),
        sandbox_id: id.to_string(),
        ..change
    };
    match client
        .update_sandbox_with_options(request, within(ANSWER_WITHIN))
        .await
    {
        Ok(_) => Ok(()),
        // It sleeps or is about to; its idle policy is sent again with its resume.
        Err(error) if !with_network && reason(&error) == Some(Reason::WrongState) => Ok(()),
        Err(error) => Err(from_rpc(error, Call::Lifecycle)),
    }
}
