//! Processes that run in a sandbox: what they are, and ending them. Neither wakes a sandbox.

use wrenn_api::{Process, ProcessSelector, Processes, Signal};
use wrenn_database::SandboxRow;
use wrenn_rpc::hostagent::{KillProcessRequest, ListProcessesRequest, kill_process_request};

use super::{Result, exec::SIDE_CALL, sandbox::running_client};
use crate::{
    hosts::{
        Client,
        error::{Call, from_rpc},
        pool::within,
    },
    state::App,
};

/// The live processes that were started through the API, by pid.
///
/// # Errors
/// Not running, or host or guest fail.
pub(crate) async fn list(app: &App, row: &SandboxRow) -> Result<Processes> {
    let client = running_client(app, row).await?;
    let request = ListProcessesRequest {
        sandbox_id: row.id().to_string(),
        ..ListProcessesRequest::default()
    };
    let answer = client
        .list_processes_with_options(request, within(SIDE_CALL))
        .await
        .map_err(|error| from_rpc(error, Call::Process))?
        .into_owned();
    let processes = answer.processes.into_iter().map(|process| Process {
        pid: process.pid,
        tag: (!process.tag.is_empty()).then_some(process.tag),
        cmd: process.cmd,
        args: process.args,
    });
    let mut processes: Vec<Process> = processes.collect();
    processes.sort_unstable_by_key(|process| process.pid);
    Ok(Processes { processes })
}

/// Sends a signal to a process's group.
///
/// # Errors
/// No such process, not running, or host or guest fail.
pub(crate) async fn signal(
    app: &App,
    row: &SandboxRow,
    process: ProcessSelector,
    signal: Signal,
) -> Result<()> {
    let client = running_client(app, row).await?;
    send_signal(&client, row.id().to_string(), process, signal).await
}

pub(super) async fn send_signal(
    client: &Client,
    sandbox_id: String,
    process: ProcessSelector,
    signal: Signal,
) -> Result<()> {
    use kill_process_request::Process as Wire;
    let request = KillProcessRequest {
        sandbox_id,
        process: Some(match process {
            ProcessSelector::Pid(pid) => Wire::Pid(pid),
            ProcessSelector::Tag(tag) => Wire::Tag(tag),
        }),
        signal: match signal {
            Signal::Term => 15,
            Signal::Kill => 9,
        },
        ..KillProcessRequest::default()
    };
    client
        .kill_process_with_options(request, within(SIDE_CALL))
        .await
        .map_err(|error| from_rpc(error, Call::Process))?;
    Ok(())
}
