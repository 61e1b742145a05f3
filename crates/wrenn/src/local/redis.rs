//! The private Redis (or Valkey): append-only file on, reached by a Unix socket only.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use super::{
    component::{Component, Phase, Spec},
    program::{User, find, missing, service_user},
    state::{StateDir, make_dir},
};
use crate::error::CliError;

const OLDEST: u32 = 7;
const PACKAGES: &str = "redis-server";
const READY_LIMIT: Duration = Duration::from_secs(60);

/// A private Redis in a state directory.
#[derive(Debug, Clone)]
pub(crate) struct Redis {
    server: PathBuf,
    user: Option<User>,
    data: PathBuf,
    socket: PathBuf,
    log: PathBuf,
    record: PathBuf,
}

/// The installed server and its version.
pub(crate) fn find_server() -> Result<(PathBuf, String), CliError> {
    let server = find("valkey-server")
        .or_else(|| find("redis-server"))
        .ok_or_else(|| missing("Redis", PACKAGES).hint("or", "REDIS_URL=redis://… wrenn up"))?;
    let version = version(&server).unwrap_or_default();
    let major: u32 = version
        .split('.')
        .next()
        .and_then(|major| major.parse().ok())
        .unwrap_or(0);
    if major < OLDEST {
        return Err(CliError::local(format_args!(
            "{} has version {version}, {OLDEST} or newer is needed",
            server.display()
        ))
        .hint(
            "install",
            format_args!("sudo apt-get install -y {PACKAGES}"),
        )
        .hint("or", "REDIS_URL=redis://… wrenn up"));
    }
    Ok((server, version))
}

fn version(server: &Path) -> Option<String> {
    let output = std::process::Command::new(server)
        .arg("--version")
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace()
        .find_map(|word| word.strip_prefix("v="))
        .map(str::to_owned)
}

impl Redis {
    pub(crate) fn new(state: &StateDir) -> Result<Self, CliError> {
        let (server, _) = find_server()?;
        Ok(Self {
            server,
            user: service_user("redis", PACKAGES)?,
            data: state.at("redis"),
            socket: state.at("run/redis/redis.sock"),
            log: state.at("logs/redis.log"),
            record: state.at("run/redis.pid"),
        })
    }

    /// How the control plane reaches it.
    pub(crate) fn url(state: &StateDir) -> String {
        format!("unix://{}", state.at("run/redis/redis.sock").display())
    }

    /// Makes its directories.
    pub(crate) fn prepare(&self) -> Result<(), CliError> {
        for dir in [Some(self.data.as_path()), self.socket.parent()]
            .into_iter()
            .flatten()
        {
            match &self.user {
                Some(user) => user.make_dir(dir)?,
                None => make_dir(dir, 0o700)?,
            }
        }
        Ok(())
    }

    /// The component that runs it.
    pub(crate) fn spec(&self) -> Spec {
        let text = |path: &Path| path.display().to_string();
        let settings = [
            ["--port", "0"].map(str::to_owned),
            ["--unixsocket".to_owned(), text(&self.socket)],
            ["--unixsocketperm", "700"].map(str::to_owned),
            ["--dir".to_owned(), text(&self.data)],
            ["--appendonly", "yes"].map(str::to_owned),
            ["--save", ""].map(str::to_owned),
            ["--daemonize", "no"].map(str::to_owned),
        ];
        Spec {
            name: "redis",
            program: self.server.clone(),
            arguments: settings.concat(),
            environment: BTreeMap::new(),
            user: self.user.clone(),
            stop_signal: Signal::TERM,
            grace: Duration::from_secs(30),
            log: self.log.clone(),
            record: self.record.clone(),
            address: text(&self.socket),
        }
    }

    /// Waits until it answers.
    pub(crate) async fn wait_ready(&self, component: &Component) -> Result<(), CliError> {
        let begun = Instant::now();
        loop {
            let status = component.status();
            if status.phase == Phase::Running && self.pong().await.unwrap_or(false) {
                return Ok(());
            }
            if status.phase == Phase::Failed || begun.elapsed() > READY_LIMIT {
                let why = status
                    .last_error
                    .unwrap_or_else(|| component.tail().join(" | "));
                return Err(CliError::local(format_args!("Redis does not start: {why}"))
                    .hint("logs", "wrenn logs redis --tail 50"));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn pong(&self) -> std::io::Result<bool> {
        let ask = async {
            let mut stream = UnixStream::connect(&self.socket).await?;
            stream.write_all(b"PING\r\n").await?;
            let mut answer = [0; 5];
            stream.read_exact(&mut answer).await?;
            // While its file is being read it answers -LOADING.
            Ok(&answer == b"+PONG")
        };
        tokio::time::timeout(Duration::from_secs(2), ask)
            .await
            .unwrap_or(Ok(false))
    }
}
