//! Commands of a simulated sandbox: real processes of this machine, each leading its own group.

use std::{collections::HashMap, path::Path, process::Stdio};

use rustix::process::{Pid, Signal};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::{Child, ChildStdin, Command as Program},
    sync::mpsc,
};
use wrenn_rpc::hostagent::Command;

/// What a command yields, in order within each stream; `Exited` is last.
#[derive(Debug)]
pub(super) enum Output {
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    Exited(i32),
}

/// A running command. Dropping it kills its group.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) pid: u32,
    pub(super) stdin: Option<ChildStdin>,
    pub(super) output: mpsc::Receiver<Output>,
}

/// Starts `command` in `directory`; a missing program yields 127 and its reason on stderr, as a shell does.
pub(super) fn start(
    command: &Command,
    sandbox: &HashMap<String, String>,
    directory: &Path,
    stdin: bool,
) -> Running {
    let (send, output) = mpsc::channel(64);
    let mut program = Program::new(&command.cmd);
    program
        .args(&command.args)
        .envs(sandbox)
        .envs(&command.envs)
        .env("HOME", "/root")
        .current_dir(directory)
        .stdin(if stdin { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    match program.spawn() {
        Ok(mut child) => {
            let (pid, stdin) = (child.id().unwrap_or_default(), child.stdin.take());
            tokio::spawn(follow(child, pid, send));
            Running { pid, stdin, output }
        }
        Err(error) => {
            let code = if error.kind() == std::io::ErrorKind::NotFound {
                127
            } else {
                126
            };
            let text = format!("{}: {error}\n", command.cmd);
            let _ = send.try_send(Output::Stderr(text.into_bytes()));
            let _ = send.try_send(Output::Exited(code));
            Running {
                pid: 0,
                stdin: None,
                output,
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        kill(self.pid, Signal::KILL);
    }
}

/// Signals the group that `pid` leads, if it is still there.
pub(super) fn kill(pid: u32, signal: Signal) -> bool {
    let group = i32::try_from(pid).ok().and_then(Pid::from_raw);
    group.is_some_and(|group| rustix::process::kill_process_group(group, signal).is_ok())
}

async fn follow(mut child: Child, pid: u32, send: mpsc::Sender<Output>) {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    tokio::join!(
        pump(stdout, send.clone(), Output::Stdout),
        pump(stderr, send.clone(), Output::Stderr)
    );
    let code = match child.wait().await {
        Ok(status) => {
            use std::os::unix::process::ExitStatusExt as _;
            status
                .code()
                .unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
        }
        Err(_) => 125,
    };
    tracing::trace!(pid, code, "simulated command ended");
    let _ = send.send(Output::Exited(code)).await;
}

async fn pump(
    pipe: Option<impl AsyncRead + Unpin>,
    send: mpsc::Sender<Output>,
    wrap: fn(Vec<u8>) -> Output,
) {
    let Some(mut pipe) = pipe else { return };
    let mut chunk = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = pipe.read(&mut chunk).await {
        if send.send(wrap(chunk[..length].to_vec())).await.is_err() {
            return;
        }
    }
}
