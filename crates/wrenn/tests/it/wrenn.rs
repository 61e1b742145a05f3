//! Runs the binary against an installation, with a configuration of its own.

use std::{
    process::{Output, Stdio},
    time::Duration,
};

use tokio::{io::AsyncWriteExt, process::Command};
use wrenn_testkit::{
    control_plane::{Options, Replica, World},
    simulated_agent::{Capacity, SimulatedAgent},
};

/// How long a command may take before the test fails.
const LIMIT: Duration = Duration::from_secs(60);

/// An installation with one replica and one simulated agent.
pub(crate) struct Installation {
    pub(crate) world: World,
    pub(crate) replica: Replica,
    pub(crate) agent: SimulatedAgent,
    home: tempfile::TempDir,
}

impl Installation {
    pub(crate) async fn new() -> Self {
        let world = World::new().await.unwrap();
        let replica = world.replica(Options::default()).unwrap();
        let agent = world.agent(&replica, Capacity::default()).await.unwrap();
        Self {
            world,
            replica,
            agent,
            home: tempfile::tempdir().unwrap(),
        }
    }

    /// The binary with `arguments`, as a user of this installation.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = binary(self.home.path(), arguments);
        command
            .env("WRENN_BASE_URL", self.replica.base_url())
            .env("WRENN_API_KEY", &self.world.api_key);
        command
    }

    pub(crate) async fn run(&self, arguments: &[&str]) -> Ran {
        finish(self.command(arguments)).await
    }

    /// Runs with `input` on standard input.
    pub(crate) async fn pipe(&self, arguments: &[&str], input: &[u8]) -> Ran {
        self.pipe_to(self.command(arguments), input).await
    }

    /// Where the binary finds its configuration.
    pub(crate) fn home(&self) -> &std::path::Path {
        self.home.path()
    }

    /// Runs `command` with `input` on standard input.
    pub(crate) async fn pipe_to(&self, command: Command, input: &[u8]) -> Ran {
        pipe_to(command, input).await
    }
}

/// The binary with `arguments` and nothing else in its environment than a home.
pub(crate) fn binary(home: &std::path::Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wrenn"));
    command
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", home)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Runs `command` with `input` on standard input.
pub(crate) async fn pipe_to(mut command: Command, input: &[u8]) -> Ran {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let write = tokio::spawn(async move {
        // A command that does not read its input closes it.
        let _ = stdin.write_all(&input).await;
    });
    let output = tokio::time::timeout(LIMIT, child.wait_with_output())
        .await
        .unwrap()
        .unwrap();
    write.await.unwrap();
    Ran::of(output)
}

pub(crate) async fn finish(mut command: Command) -> Ran {
    Ran::of(
        tokio::time::timeout(LIMIT, command.output())
            .await
            .unwrap()
            .unwrap(),
    )
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) bytes: Vec<u8>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            bytes: output.stdout,
        }
    }

    /// Fails unless the exit code is `code`.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }
}
