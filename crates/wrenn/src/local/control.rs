//! The socket between a command and the supervisor: one request line, then JSON lines until it is answered.
//!
//! It lies in the state directory with mode 0600, so that whoever can open it may stop the platform anyway.

use std::{path::Path, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    net::UnixStream,
};

use super::{component, state::StateDir};
use crate::{
    error::{Attempt, CliError},
    out::StepEvent,
};

/// What a command asks of the supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request {
    /// Verify every step, start what is missing.
    Up,
    /// Stop everything and end.
    Down,
    /// End, but leave the virtual host running for the next supervisor.
    HandOver,
    /// Tell how everything is.
    Status,
    /// Stop the virtual host alone.
    MachineStop,
    /// Start the virtual host again.
    MachineStart,
}

/// What the supervisor answers; all but `Step` end the answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    Step(StepEvent),
    Status(Status),
    Failed(CliError),
    Done,
}

/// How the supervisor and its components are. A field that a supervisor of another version does not send takes
/// its default: an upgrade must understand whom it replaces.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Status {
    pub(crate) pid: u32,
    /// Tells one build of the binary from another.
    pub(crate) build: String,
    /// Tells which PostgreSQL and Redis it uses.
    pub(crate) external: u64,
    /// The settings it started with.
    pub(crate) settings: super::state::Settings,
    pub(crate) components: Vec<component::Status>,
    /// How sandboxes run here, for people, and why so.
    pub(crate) host: String,
    pub(crate) host_why: String,
    /// Whether every step of the last `up` was done.
    pub(crate) settled: bool,
}

/// Where the socket lies.
pub(crate) fn socket(state: &StateDir) -> std::path::PathBuf {
    state.at("run/supervisor.sock")
}

/// A connection to the supervisor.
#[derive(Debug)]
pub(crate) struct Connection {
    lines: Lines<BufReader<UnixStream>>,
}

impl Connection {
    /// Connects and asks; `None` when no supervisor listens.
    pub(crate) async fn ask(state: &StateDir, request: Request) -> Result<Option<Self>, CliError> {
        let path = socket(state);
        let mut stream = match connect(&path).await {
            Ok(stream) => stream,
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused
                ) =>
            {
                return Ok(None);
            }
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                return Err(CliError::local(format_args!(
                    "the platform in {} belongs to another user",
                    state.root().display()
                ))
                .hint("try", "the same with sudo"));
            }
            Err(error) => {
                return Err(CliError::local(format_args!(
                    "connect to {}: {error}",
                    path.display()
                )));
            }
        };
        let mut line = serde_json::to_string(&request).attempt(|| "write the request")?;
        line.push('\n');
        stream
            .write_all(line.as_bytes())
            .await
            .attempt(|| "ask the supervisor")?;
        Ok(Some(Self {
            lines: BufReader::new(stream).lines(),
        }))
    }

    /// The next reply.
    pub(crate) async fn next(&mut self) -> Result<Reply, CliError> {
        let line = self
            .lines
            .next_line()
            .await
            .attempt(|| "read the supervisor's answer")?;
        let line = line.ok_or_else(|| {
            CliError::local("the supervisor ended before it answered")
                .hint("see", "wrenn logs supervisor --tail 50")
                .hint("then", "wrenn up")
        })?;
        serde_json::from_str(&line).attempt(|| "read the supervisor's answer")
    }
}

async fn connect(path: &Path) -> std::io::Result<UnixStream> {
    match tokio::time::timeout(Duration::from_secs(5), UnixStream::connect(path)).await {
        Ok(result) => result,
        Err(_) => Err(std::io::Error::new(
            std::io::ErrorKind::TimedOut,
            "the supervisor does not answer",
        )),
    }
}

/// The supervisor's status; `None` when none runs.
pub(crate) async fn status(state: &StateDir) -> Result<Option<Status>, CliError> {
    let Some(mut connection) = Connection::ask(state, Request::Status).await? else {
        return Ok(None);
    };
    let reply = tokio::time::timeout(Duration::from_secs(10), connection.next()).await;
    match reply.map_err(|_| CliError::local("the supervisor does not answer"))?? {
        Reply::Status(status) => Ok(Some(status)),
        other => Err(CliError::local(format_args!(
            "the supervisor answered something else: {other:?}"
        ))),
    }
}
