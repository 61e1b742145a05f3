//! Processes that outlive the call that started them: streamed ones and those in the background.

use std::{collections::HashMap, path::Path, pin::Pin, sync::Arc};

use futures::{Stream, StreamExt as _, stream};
use parking_lot::Mutex;
use rustix::process::Signal;
use tokio::{io::AsyncWriteExt as _, process::ChildStdin, time::timeout_at};
use wrenn_rpc::{
    connectrpc::{ConnectError, ErrorCode},
    hostagent::{
        __buffa::oneof::exec_stream_response::Event,
        Command, ExecStreamRequest, ExecStreamResponse, KillProcessRequest, Process,
        SendProcessInputRequest, StartBackgroundRequest,
        error_detail::Reason,
        exec_stream_response::{Exited, Started},
        kill_process_request,
    },
};

use super::{
    exec::{self, Output, Running},
    service::deadline,
    state::refusal,
};

/// A process that has not ended yet.
#[derive(Debug)]
struct Live {
    sandbox_id: String,
    command: Command,
    tag: String,
    stdin: Arc<tokio::sync::Mutex<Option<ChildStdin>>>,
}

/// The live processes of all sandboxes, by pid.
#[derive(Debug, Default)]
pub(super) struct Processes {
    live: Arc<Mutex<HashMap<u32, Live>>>,
}

pub(super) type Events =
    Pin<Box<dyn Stream<Item = Result<ExecStreamResponse, ConnectError>> + Send>>;

impl Processes {
    /// Starts a command whose output goes to the caller; it ends with the stream.
    pub(super) fn stream(
        &self,
        request: ExecStreamRequest,
        environment: &HashMap<String, String>,
        directory: &Path,
    ) -> Events {
        let mut running = exec::start(&request.command, environment, directory, request.stdin);
        let pid = running.pid;
        let command = request.command.into_option().unwrap_or_default();
        let ended = self.remember(&mut running, request.sandbox_id, command, String::new());
        let deadline = deadline(request.timeout_ms);
        let started = Started {
            pid,
            ..Default::default()
        };
        let first = stream::once(async move { Ok(event(started.into())) });
        let rest = stream::unfold(Some((running, ended)), move |held| async move {
            let (mut running, ended) = held?;
            let exited = |exit_code, timed_out| Exited {
                exit_code,
                timed_out,
                ..Default::default()
            };
            let (next, last) = match timeout_at(deadline, running.output.recv()).await {
                Ok(Some(Output::Stdout(bytes))) => (Event::Stdout(bytes), false),
                Ok(Some(Output::Stderr(bytes))) => (Event::Stderr(bytes), false),
                Ok(Some(Output::Exited(exit_code))) => (exited(exit_code, false).into(), true),
                Ok(None) => return None,
                Err(_) => (exited(137, true).into(), true),
            };
            Some((Ok(event(next)), (!last).then_some((running, ended))))
        });
        Box::pin(first.chain(rest))
    }

    /// Starts a command that outlives the call; its pid.
    pub(super) fn start_background(
        &self,
        request: &StartBackgroundRequest,
        environment: &HashMap<String, String>,
        directory: &Path,
    ) -> Result<u32, ConnectError> {
        let taken =
            self.live.lock().values().any(|process| {
                process.sandbox_id == request.sandbox_id && process.tag == request.tag
            });
        if taken {
            let text = "the tag is in use";
            return Err(refusal(ErrorCode::AlreadyExists, Reason::TAG_IN_USE, text));
        }
        let mut running = exec::start(&request.command, environment, directory, false);
        let pid = running.pid;
        if pid == 0 {
            let (code, reason) = (ErrorCode::InvalidArgument, Reason::PROGRAM_NOT_FOUND);
            return Err(refusal(code, reason, "no such program"));
        }
        let command = request.command.as_option().cloned().unwrap_or_default();
        let (sandbox_id, tag) = (request.sandbox_id.clone(), request.tag.clone());
        let ended = self.remember(&mut running, sandbox_id, command, tag);
        tokio::spawn(async move {
            let _ended = ended;
            while running.output.recv().await.is_some() {}
        });
        Ok(pid)
    }

    /// Enters a process into the table until the answer is dropped.
    fn remember(
        &self,
        running: &mut Running,
        sandbox_id: String,
        command: Command,
        tag: String,
    ) -> Forget {
        let live = Live {
            sandbox_id,
            command,
            tag,
            stdin: Arc::new(tokio::sync::Mutex::new(running.stdin.take())),
        };
        self.live.lock().insert(running.pid, live);
        Forget {
            pid: running.pid,
            live: Arc::clone(&self.live),
        }
    }

    /// Writes to a process's standard input, closes it, or both.
    pub(super) async fn input(&self, request: SendProcessInputRequest) -> Result<(), ConnectError> {
        let stdin = {
            let live = self.live.lock();
            let process = live.get(&request.pid).ok_or_else(no_process)?;
            Arc::clone(&process.stdin)
        };
        let mut stdin = stdin.lock().await;
        if !request.data.is_empty() {
            let pipe = stdin
                .as_mut()
                .ok_or_else(|| ConnectError::internal("stdin is closed"))?;
            pipe.write_all(&request.data)
                .await
                .map_err(|error| ConnectError::internal(error.to_string()))?;
        }
        if request.close {
            *stdin = None;
        }
        Ok(())
    }

    /// The live processes of a sandbox.
    pub(super) fn list(&self, sandbox_id: &str) -> Vec<Process> {
        let live = self.live.lock();
        let of_sandbox = live
            .iter()
            .filter(|(_, process)| process.sandbox_id == sandbox_id);
        of_sandbox
            .map(|(pid, process)| Process {
                pid: *pid,
                tag: process.tag.clone(),
                cmd: process.command.cmd.clone(),
                args: process.command.args.clone(),
                ..Default::default()
            })
            .collect()
    }

    /// Signals a process's group.
    pub(super) fn kill(&self, request: &KillProcessRequest) -> Result<(), ConnectError> {
        use kill_process_request::Process as Selector;
        let found = {
            let live = self.live.lock();
            live.iter()
                .filter(|(_, process)| process.sandbox_id == request.sandbox_id)
                .find(|(pid, process)| match &request.process {
                    Some(Selector::Pid(wanted)) => *pid == wanted,
                    Some(Selector::Tag(wanted)) => process.tag == *wanted,
                    None => false,
                })
                .map(|(pid, _)| *pid)
        };
        let signal = if request.signal == 15 {
            Signal::TERM
        } else {
            Signal::KILL
        };
        match found {
            Some(pid) if exec::kill(pid, signal) => Ok(()),
            _ => Err(no_process()),
        }
    }
}

/// Forgets a live process when it ends, however it ends.
#[derive(Debug)]
struct Forget {
    pid: u32,
    live: Arc<Mutex<HashMap<u32, Live>>>,
}

impl Drop for Forget {
    fn drop(&mut self) {
        self.live.lock().remove(&self.pid);
    }
}

fn event(event: Event) -> ExecStreamResponse {
    ExecStreamResponse {
        event: Some(event),
        ..Default::default()
    }
}

fn no_process() -> ConnectError {
    let (code, reason) = (ErrorCode::NotFound, Reason::PROCESS_NOT_FOUND);
    refusal(code, reason, "no such process")
}
