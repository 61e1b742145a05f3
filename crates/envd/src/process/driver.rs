//! One process from its launch to its end.
//!
//! ```text
//! launch ─▶ running ─▶ leader exited ─▶ output at its end ─▶ ended
//!                 └ timeout, SendSignal: the group is signalled; then output has 2 s more
//! ```
//!
//! The end is told when the leader has exited and its output is at its end. A descendant that keeps a pipe
//! open keeps the process alive, unless the process was struck down: then it has two seconds, after
//! which its output is read and thrown away. A terminal has these two seconds always.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use rustix::{
    fs::{Mode, OFlags},
    pipe::{PipeFlags, pipe_with},
    process::Signal,
};
use tokio::{
    io::{AsyncReadExt as _, Interest, unix::AsyncFd},
    net::unix::pipe,
    sync::Notify,
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use super::{
    Processes,
    command::{Command, Input, Size, Words},
    leader::{Leader, ticks_since_boot, watched},
    output::{Budget, End, Origin, Output, Past, Subscription},
    running::RunningTime,
    spawn::{self, Controlling, SpawnError, Stdio},
    stdin::{InputError, Stdin},
    terminal::Terminal,
};
use crate::users::User;

const CHUNK: usize = 16 << 10;
const GRACE: Duration = Duration::from_secs(2);

/// A process that envd has started.
#[derive(Debug)]
pub(crate) struct Process {
    key: u64,
    tag: Option<String>,
    words: Words,
    leader: Leader,
    output: Output,
    stdin: Stdin,
    terminal: Option<Terminal>,
    /// Somebody has struck the group down.
    struck: Notify,
}

impl Process {
    pub(crate) fn key(&self) -> u64 {
        self.key
    }

    pub(crate) fn pid(&self) -> u32 {
        self.leader.pid()
    }

    pub(crate) fn tag(&self) -> Option<&String> {
        self.tag.as_ref()
    }

    pub(super) fn words(&self) -> &Words {
        &self.words
    }

    pub(super) fn output(&self) -> &Output {
        &self.output
    }

    /// Writes to the pipe of standard input.
    pub(super) async fn write_stdin(&self, bytes: &[u8]) -> Result<(), InputError> {
        self.pipe()?.write(bytes).await
    }

    /// Closes the pipe of standard input.
    pub(super) async fn close_stdin(&self) -> Result<(), InputError> {
        self.pipe()?.close().await
    }

    /// Gives back what an ended process has no use for, when whoever writes is done.
    pub(super) async fn close(&self) {
        if let Some(terminal) = &self.terminal {
            terminal.close();
        }
        // Who still writes is told that it was in vain, and then the pipe is dropped with the record.
        let _ = self.stdin.close().await;
    }

    fn pipe(&self) -> Result<&Stdin, InputError> {
        match self.terminal {
            Some(_) => Err(InputError::Terminal),
            None => Ok(&self.stdin),
        }
    }

    pub(super) fn terminal(&self) -> Result<&Terminal, InputError> {
        self.terminal.as_ref().ok_or(InputError::NoTerminal)
    }

    pub(super) fn leader(&self) -> &Leader {
        &self.leader
    }

    /// Signals the whole group.
    pub(super) fn strike(&self, signal: Signal) {
        self.leader.signal(signal);
        self.struck.notify_one();
    }
}

/// A process whose tasks do not run yet.
#[derive(Debug)]
pub(super) struct Launched {
    process: Arc<Process>,
    subscription: Subscription,
    pidfd: AsyncFd<OwnedFd>,
    pipes: Option<Pipes>,
    timeout: Option<Duration>,
}

#[derive(Debug)]
struct Pipes {
    stdout: pipe::Receiver,
    stderr: pipe::Receiver,
}

/// Spawns `command` and waits until its program runs.
pub(super) async fn launch(
    key: u64,
    command: Command,
    cgroup: Option<Arc<OwnedFd>>,
    budget: &Arc<Budget>,
) -> Result<Launched, SpawnError> {
    let image = command
        .image()
        .map_err(|fault| SpawnError::Prepare(fault.into()))?;
    let Standard {
        stdio,
        stdin,
        pipes,
        terminal,
    } = match command.terminal {
        Some(size) => on_terminal(size, &command.user),
        None => on_pipes(command.input),
    }
    .map_err(SpawnError::Prepare)?;
    let started = ticks_since_boot();
    let user = command.user;
    let spawned = tokio::task::spawn_blocking(move || {
        let cgroup = cgroup.as_ref().map(AsFd::as_fd);
        spawn::spawn(&image, &user, &stdio, cgroup)
    });
    let spawned = spawned.await.map_err(|_| SpawnError::Lost)??;
    let pidfd = watched(spawned.pidfd, Interest::READABLE).map_err(SpawnError::Prepare)?;
    let process = Arc::new(Process {
        key,
        tag: command.tag,
        words: command.words,
        leader: Leader::new(spawned.pid, started),
        output: Output::new(budget, command.terminal.is_some()),
        stdin: Stdin::new(stdin),
        terminal,
        struck: Notify::new(),
    });
    // The pump is not running yet, so this subscriber sees the first byte. A new process has no others.
    let subscription = Subscription::new(&process, Past::Skip).map_err(|_| SpawnError::Lost)?;
    Ok(Launched {
        process,
        subscription,
        pidfd,
        pipes,
        timeout: command.timeout,
    })
}

impl Launched {
    pub(super) fn process(&self) -> &Arc<Process> {
        &self.process
    }

    /// Starts the tasks of the process.
    pub(super) fn run(self, processes: Arc<Processes>) -> Subscription {
        let Self {
            process,
            subscription,
            pidfd,
            pipes,
            timeout,
        } = self;
        let pump = match pipes {
            Some(pipes) => tokio::spawn(pump_pipes(Arc::clone(&process), pipes)),
            None => tokio::spawn(pump_terminal(Arc::clone(&process))),
        };
        tokio::spawn(async move {
            let end = drive(&process, pidfd, pump, timeout, &processes.running).await;
            processes.retire(&process, end);
        });
        subscription
    }
}

async fn drive(
    process: &Process,
    pidfd: AsyncFd<OwnedFd>,
    mut pump: JoinHandle<()>,
    timeout: Option<Duration>,
    time: &RunningTime,
) -> End {
    let due = time.now() + timeout.unwrap_or_default();
    let mut timed_out = None;
    let mut exit = None;
    // The exit of its session's leader hangs a terminal up: whoever still holds it cannot write any more.
    let mut struck = process.terminal.is_some();
    let mut drained = false;
    let mut give_up: Option<Instant> = None;
    loop {
        if let (Some(exit), true) = (exit, drained) {
            return End { exit, timed_out };
        }
        if exit.is_some() && struck && give_up.is_none() {
            give_up = Some(Instant::now() + GRACE);
        }
        tokio::select! {
            ended = process.leader.exited(&pidfd), if exit.is_none() => exit = Some(ended),
            _ = &mut pump, if !drained => drained = true,
            () = process.struck.notified() => struck = true,
            () = time.reach(due), if timed_out.is_none() && timeout.is_some() => {
                timed_out = timeout;
                struck = true;
                process.leader.signal(Signal::KILL);
            }
            () = sleep_until(give_up.unwrap_or_else(Instant::now)), if give_up.is_some() => drained = true,
        }
    }
}

/// Reads both pipes to their ends, whether anybody listens or not.
async fn pump_pipes(process: Arc<Process>, mut pipes: Pipes) {
    let (mut stdout, mut stderr) = (BytesMut::new(), BytesMut::new());
    let (mut stdout_open, mut stderr_open) = (true, true);
    while stdout_open || stderr_open {
        let (origin, bytes) = tokio::select! {
            bytes = read(&mut pipes.stdout, &mut stdout), if stdout_open => (Origin::Stdout, bytes),
            bytes = read(&mut pipes.stderr, &mut stderr), if stderr_open => (Origin::Stderr, bytes),
        };
        match bytes {
            Some(bytes) => process.output.deliver(origin, bytes).await,
            None if origin == Origin::Stdout => stdout_open = false,
            None => stderr_open = false,
        }
    }
}

/// Reads a terminal to its end, whether anybody listens or not.
async fn pump_terminal(process: Arc<Process>) {
    let Some(terminal) = &process.terminal else {
        return;
    };
    let mut buffer = Vec::new();
    while let Some(bytes) = terminal.read(&mut buffer).await {
        process.output.deliver(Origin::Terminal, bytes).await;
    }
}

/// The next bytes; nothing at the end. Cancel-safe: what is read is in `buffer` or returned.
async fn read(pipe: &mut pipe::Receiver, buffer: &mut BytesMut) -> Option<Bytes> {
    buffer.reserve(CHUNK);
    match pipe.read_buf(buffer).await {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(buffer.split().freeze()),
    }
}

/// The child's standard descriptors and our ends of them.
struct Standard {
    stdio: Stdio,
    stdin: Option<OwnedFd>,
    /// Absent where there is a terminal.
    pipes: Option<Pipes>,
    terminal: Option<Terminal>,
}

fn on_terminal(size: Size, user: &User) -> io::Result<Standard> {
    let (terminal, other) = Terminal::open(size, user)?;
    Ok(Standard {
        stdio: Stdio {
            stdin: other.try_clone()?,
            stdout: other.try_clone()?,
            stderr: other,
            controlling: Controlling::Terminal,
        },
        stdin: None,
        pipes: None,
        terminal: Some(terminal),
    })
}

fn on_pipes(input: Input) -> io::Result<Standard> {
    let (child_stdin, stdin) = match input {
        Input::Null => {
            let null =
                rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
            (null, None)
        }
        Input::Pipe => {
            let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
            rustix::io::ioctl_fionbio(&writer, true)?;
            (reader, Some(writer))
        }
    };
    let (stdout, child_stdout) = output_pipe()?;
    let (stderr, child_stderr) = output_pipe()?;
    Ok(Standard {
        stdio: Stdio {
            stdin: child_stdin,
            stdout: child_stdout,
            stderr: child_stderr,
            controlling: Controlling::Nothing,
        },
        stdin,
        pipes: Some(Pipes { stdout, stderr }),
        terminal: None,
    })
}

/// Our end does not block; the child's does, as programs expect.
fn output_pipe() -> io::Result<(pipe::Receiver, OwnedFd)> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&reader, true)?;
    Ok((pipe::Receiver::from_owned_fd_unchecked(reader)?, writer))
}
