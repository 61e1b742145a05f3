//! The supervisor, seen from the command: found, started, handed over, followed, waited for.

use std::{
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use crate::{
    error::{Attempt, CliError, Exit},
    local::{
        control::{self, Connection, Reply, Request},
        external::External,
        images,
        state::{Settings, StateDir},
        supervisor,
    },
    out::Progress,
};

/// How long the supervisor may take to answer for the first time.
const SUPERVISOR_LIMIT: Duration = Duration::from_secs(20);

/// Where the supervisor is.
#[derive(Debug)]
pub(super) enum Serving {
    /// Nothing was looked for yet.
    Nowhere,
    /// It ran before.
    Found,
    /// A process that was started now.
    Started(Child),
    /// A task of this process.
    Here(tokio::task::JoinHandle<Result<(), CliError>>),
}

impl Serving {
    /// Finds the supervisor, or starts it: here when the command stays in the foreground.
    pub(super) async fn begin(
        &mut self,
        state: &StateDir,
        settings: &Settings,
        foreground: bool,
    ) -> Result<(), CliError> {
        if let Some(status) = control::status(state).await? {
            let current = status.build == images::build_id()?
                && same(&status.settings, settings)
                && status.external == External::find(state).fingerprint();
            if current && !foreground {
                *self = Self::Found;
                return Ok(());
            }
            if foreground && current {
                return Err(CliError::new(
                    Exit::Conflict,
                    "running",
                    format_args!("the platform runs already, in process {}", status.pid),
                )
                .hint("first", "wrenn down"));
            }
            // Another build or other settings: the services start anew, sandboxes go on.
            hand_over(state).await?;
        }
        *self = if foreground {
            let lock = supervisor::lock(state)?;
            let (own_state, own_settings) = (state.clone(), settings.clone());
            Self::Here(tokio::spawn(async move {
                let _lock = lock;
                supervisor::serve(own_state, own_settings).await
            }))
        } else {
            Self::Started(detached(state)?)
        };
        self.wait(state).await
    }

    /// Waits until it answers.
    async fn wait(&mut self, state: &StateDir) -> Result<(), CliError> {
        let begun = Instant::now();
        while control::status(state).await?.is_none() {
            let ended = match self {
                Self::Nowhere | Self::Found => false,
                Self::Started(child) => child.try_wait().is_ok_and(|status| status.is_some()),
                Self::Here(task) => task.is_finished(),
            };
            if ended || begun.elapsed() > SUPERVISOR_LIMIT {
                if let Self::Here(task) = std::mem::replace(self, Self::Nowhere) {
                    super::joined(task.await)?;
                }
                return Err(CliError::local("the supervisor does not start")
                    .hint("logs", "wrenn logs supervisor --tail 20"));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

/// Starts the supervisor as a process of its own.
fn detached(state: &StateDir) -> Result<Child, CliError> {
    let log_path = state.at("logs/supervisor.log");
    let log = std::fs::File::options()
        .append(true)
        .create(true)
        .open(&log_path)
        .attempt(|| format!("open {}", log_path.display()))?;
    let errors = log.try_clone().attempt(|| "open the supervisor's log")?;
    let binary = images::own_binary()?;
    std::process::Command::new(&binary)
        .arg("supervise")
        .arg("--state-dir")
        .arg(state.root())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .spawn()
        .attempt(|| format!("start {}", binary.display()))
}

fn same(one: &Settings, other: &Settings) -> bool {
    serde_json::to_value(one).ok() == serde_json::to_value(other).ok()
}

async fn hand_over(state: &StateDir) -> Result<(), CliError> {
    let Some(mut connection) = Connection::ask(state, Request::HandOver).await? else {
        return Ok(());
    };
    while matches!(connection.next().await?, Reply::Step(_)) {}
    wait_for_end(state).await
}

/// Waits until no supervisor holds the state directory.
pub(in crate::cmd) async fn wait_for_end(state: &StateDir) -> Result<(), CliError> {
    let begun = Instant::now();
    while let Err(error) = supervisor::lock(state).map(drop) {
        if begun.elapsed() > SUPERVISOR_LIMIT {
            return Err(error);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Stops what was started, quietly.
pub(super) async fn stop(state: &StateDir) -> Result<(), CliError> {
    if let Some(mut connection) = Connection::ask(state, Request::Down).await? {
        while matches!(connection.next().await, Ok(Reply::Step(_))) {}
    }
    wait_for_end(state).await
}

pub(super) async fn follow_up(state: &StateDir, progress: &Progress) -> Result<(), CliError> {
    let connection = Connection::ask(state, Request::Up).await?;
    follow(
        connection
            .ok_or_else(|| CliError::local("the supervisor ended").hint("again", "wrenn up"))?,
        progress,
    )
    .await
}

/// Shows the steps until the work is done.
pub(in crate::cmd) async fn follow(
    mut connection: Connection,
    progress: &Progress,
) -> Result<(), CliError> {
    loop {
        match connection.next().await? {
            Reply::Step(event) => progress.event(&event),
            Reply::Failed(error) => return Err(error),
            Reply::Done | Reply::Status(_) => return Ok(()),
        }
    }
}
