//! The virtual host as a component: attached to or started, watched, started again when it ended.
//!
//! Unlike the other components it outlives the supervisor: sandboxes run in it. A newer binary takes the agent's
//! place in the running machine, so that an upgrade loses no sandbox. Everything that `wrenn-virtual-host` does
//! blocks, so it runs on blocking threads.

use std::{path::Path, sync::Arc, time::Duration};

use tokio_util::{sync::CancellationToken, task::TaskTracker};
use wrenn_virtual_host::{
    Cache, VirtualHost,
    image::ImagesDir,
    kvm,
    machine::{Acceleration, MachineConfig, OnDrop},
};

use super::{
    component::{Phase, Status, StatusCell},
    images::{build_id, own_binary},
    platform::Platform,
    state::StateDir,
};
use crate::{
    config::write_private,
    error::{Attempt, CliError, chain},
};

/// How long a machine may take to shut down before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(90);
const AGENT_LIMIT: Duration = Duration::from_secs(120);
const WATCH_PERIOD: Duration = Duration::from_secs(1);
/// So many watch periods pass between two looks at the agent.
const AGENT_PERIODS: u32 = 10;
const AGENT_ANSWER: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Shows what is being done.
pub(crate) type Progress = Arc<dyn Fn(&str) + Send + Sync>;

/// A virtual host that is being kept running.
#[derive(Debug)]
pub(crate) struct Machine {
    status: StatusCell,
    stop: CancellationToken,
    task: TaskTracker,
    /// Whether it ran before this supervisor, perhaps with sandboxes in it.
    pub(crate) found_running: bool,
}

impl Machine {
    /// Attaches to the running machine or starts it, then watches it.
    ///
    /// What starts it blocks in `starts`: a start that is given up has ended, and left nothing, when `starts` was
    /// closed, interrupted and is empty.
    pub(crate) async fn start(
        platform: Arc<Platform>,
        starts: TaskTracker,
        progress: Progress,
    ) -> Result<Self, CliError> {
        let status = StatusCell::new("virtual-host", "");
        let (host, found_running) = begin(&platform, &status, &starts, progress).await?;
        let (stop, task) = (CancellationToken::new(), TaskTracker::new());
        task.spawn(keep(platform, status.clone(), starts, host, stop.clone()));
        task.close();
        Ok(Self {
            status,
            stop,
            task,
            found_running,
        })
    }

    pub(crate) fn status(&self) -> Status {
        self.status.get()
    }

    /// Watches it no more; it runs on.
    pub(crate) async fn leave(&self) {
        self.stop.cancel();
        self.task.wait().await;
    }

    /// Shuts it down.
    pub(crate) async fn stop(&self, state: &StateDir) -> Result<(), CliError> {
        self.leave().await;
        let state = state.clone();
        blocking(move || stop_left(&state)).await?;
        self.status.enter(Phase::Stopped, |_| {});
        Ok(())
    }
}

/// How a machine would run here, for people.
pub(crate) fn acceleration() -> Acceleration {
    if kvm::usable().is_ok() {
        Acceleration::Kvm
    } else {
        Acceleration::Emulated
    }
}

/// How the machine's CPUs run, for people.
pub(crate) fn name(acceleration: Acceleration) -> &'static str {
    match acceleration {
        Acceleration::Kvm => "KVM",
        Acceleration::Emulated => "emulated",
    }
}

/// Stops the machine that runs on `state`, if one does; returns whether it did.
pub(crate) fn stop_left(state: &StateDir) -> Result<bool, CliError> {
    match VirtualHost::attach(&state.at("machine")).attempt(|| "look for the virtual host")? {
        Some(host) => {
            let how = host.stop(STOP_LIMIT).attempt(|| "stop the virtual host")?;
            tracing::info!(?how, "virtual host stopped");
            Ok(true)
        }
        None => Ok(false),
    }
}

/// Attaches to the running machine, or starts one: then the flag is false. One that was started and whose agent
/// does not answer is ended again.
async fn begin(
    platform: &Platform,
    status: &StatusCell,
    starts: &TaskTracker,
    progress: Progress,
) -> Result<(Arc<VirtualHost>, bool), CliError> {
    status.enter(Phase::Starting, |_| {});
    let dir = platform.state.at("machine");
    let attached =
        blocking(move || VirtualHost::attach(&dir).attempt(|| "look for the virtual host")).await?;
    let found_running = attached.is_some();
    let record = platform.state.at("machine/agent-build");
    let host = match attached {
        Some(host) => {
            let host = renew_agent(host, &record, Arc::clone(&progress)).await?;
            blocking(move || wait_for_agent(&host, &progress).map(|()| host)).await?
        }
        None => {
            let config = config(platform).await?;
            let given_up = starts.clone();
            let starting = starts.spawn_blocking(move || {
                let host = start(&config, &record, &progress)?;
                if given_up.is_closed() {
                    host.kill();
                    return Err(CliError::local("the start was given up"));
                }
                Ok(host)
            });
            joined(starting.await)?
        }
    };
    running(status, &host);
    Ok((Arc::new(host), found_running))
}

/// Starts a machine whose agent answers; one whose agent does not is ended again.
fn start(
    config: &MachineConfig,
    record: &Path,
    progress: &Progress,
) -> Result<VirtualHost, CliError> {
    let cache = Cache::from_env().attempt(|| "find the image cache")?;
    let host =
        VirtualHost::start(config, &cache, &|note: &str| progress(note)).map_err(|error| {
            CliError::local(format_args!("start the virtual host: {}", chain(&error)))
                .hint("logs", "wrenn logs virtual-host --tail 50")
                .hint("check", "wrenn doctor --only virtualisation")
        })?;
    let ready = write_private(record, build_id()?.as_bytes())
        .and_then(|()| wait_for_agent(&host, progress));
    match ready {
        Ok(()) => Ok(host),
        Err(error) => {
            host.kill();
            Err(error)
        }
    }
}

fn wait_for_agent(host: &VirtualHost, progress: &Progress) -> Result<(), CliError> {
    progress("waiting for the host agent");
    host.wait_for_agent(AGENT_LIMIT).map_err(|error| {
        let said = last_line(&host.agent_log_path()).map_or_else(
            || chain(&error),
            |said| format!("the host agent does not start: {said}"),
        );
        CliError::local(said).hint("logs", "wrenn logs host-agent --tail 50")
    })
}

fn running(status: &StatusCell, host: &VirtualHost) {
    status.enter(Phase::Running, |status| {
        status.pid = u32::try_from(host.pid()).ok();
        status.address = format!(
            "127.0.0.1:{}, {}",
            host.agent_port(),
            name(host.acceleration())
        );
        status.last_error = None;
    });
}

/// Gives the machine this binary's agent when it has another one; sandboxes run on.
async fn renew_agent(
    host: VirtualHost,
    record: &Path,
    progress: Progress,
) -> Result<VirtualHost, CliError> {
    let build = build_id()?;
    if std::fs::read_to_string(record).is_ok_and(|known| known == build) {
        return Ok(host);
    }
    let host = blocking(move || {
        progress("renewing the host agent");
        let binary = own_binary()?;
        let bytes = std::fs::read(&binary).attempt(|| format!("read {}", binary.display()))?;
        // A name of its own: the one before is being executed. The machine's own loop starts the agent again.
        let new = format!("wrenn-agent-{}", jiff::Timestamp::now().as_millisecond());
        host.put(&format!("/run/{new}"), &bytes)
            .attempt(|| "send the new host agent to the virtual host")?;
        let replace = format!(
            "mount --bind /run/{new} /opt/wrenn/bin/wrenn && kill $(cat /run/agent.pid) \
             && find /run -maxdepth 1 -name 'wrenn-agent-*' ! -name {new} -delete"
        );
        let done = host
            .exec(&replace, Duration::from_secs(30))
            .attempt(|| "start the new host agent")?;
        if done.code == 0 {
            Ok(host)
        } else {
            Err(CliError::local(format_args!(
                "start the new host agent: {}",
                done.text()
            )))
        }
    })
    .await?;
    write_private(record, build.as_bytes())?;
    Ok(host)
}

async fn config(platform: &Platform) -> Result<MachineConfig, CliError> {
    let state = &platform.state;
    let images = ImagesDir::open(&state.at("images"))
        .attempt(|| "open the images")?
        .ok_or_else(|| {
            CliError::local("the images are not complete").hint("make", "wrenn setup")
        })?;
    let mut config = MachineConfig::new(state.at("machine"));
    config.images = Some(images);
    config.wrenn = Some(own_binary()?);
    config.agent_env = Some(platform.virtual_agent_environment().await?);
    config.on_drop = OnDrop::Leave;
    config.acceleration = acceleration();
    let cpus = config.acceleration.default_cpus();
    config.cpus = platform.settings.cpus.unwrap_or(cpus);
    config.memory_mib = platform.settings.memory_mib.unwrap_or(config.memory_mib);
    config.disk_gib = platform.settings.disk_gib.unwrap_or(config.disk_gib);
    Ok(config)
}

/// Watches the machine and starts it again, until `stop`.
async fn keep(
    platform: Arc<Platform>,
    status: StatusCell,
    starts: TaskTracker,
    mut host: Arc<VirtualHost>,
    stop: CancellationToken,
) {
    let watching = async {
        loop {
            watch(&status, &host).await;
            tracing::warn!("the virtual host ended");
            host = start_again(&platform, &status, &starts).await;
        }
    };
    tokio::select! {
        () = watching => {}
        () = stop.cancelled() => {}
    }
}

/// Returns when the machine has ended; meanwhile the status tells whether its agent answers.
async fn watch(status: &StatusCell, host: &Arc<VirtualHost>) {
    let mut periods = 0;
    while host.is_running() {
        tokio::time::sleep(WATCH_PERIOD).await;
        periods += 1;
        if periods % AGENT_PERIODS != 0 {
            continue;
        }
        let asked = Arc::clone(host);
        let answers = blocking(move || Ok(asked.wait_for_agent(AGENT_ANSWER).is_ok()))
            .await
            .unwrap_or(false);
        match (answers, status.get().phase) {
            (true, Phase::Running) => {}
            (true, _) => running(status, host),
            (false, _) => status.enter(Phase::Waiting, |status| {
                status.last_error = Some("the host agent in it does not answer".to_owned());
            }),
        }
    }
}

async fn start_again(
    platform: &Platform,
    status: &StatusCell,
    starts: &TaskTracker,
) -> Arc<VirtualHost> {
    let mut pause = FIRST_PAUSE;
    let mut error = "it ended".to_owned();
    loop {
        status.enter(Phase::Waiting, |status| {
            status.restarts += 1;
            status.last_error = Some(std::mem::take(&mut error));
        });
        tokio::time::sleep(pause).await;
        match begin(platform, status, starts, Arc::new(|_| {})).await {
            Ok((host, _)) => return host,
            Err(failed) => {
                tracing::error!("{}", failed.message);
                error = failed.message;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// The last line of a log, cut to a sentence's length.
fn last_line(path: &Path) -> Option<String> {
    let text = std::fs::read(path).ok()?;
    let text = String::from_utf8_lossy(&text[text.len().saturating_sub(8192)..]).into_owned();
    let line = text.lines().rev().find(|line| line.contains("error"))?;
    Some(line.chars().filter(|c| !c.is_control()).take(400).collect())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CliError> + Send + 'static,
) -> Result<T, CliError> {
    joined(tokio::task::spawn_blocking(work).await)
}

fn joined<T>(done: Result<Result<T, CliError>, tokio::task::JoinError>) -> Result<T, CliError> {
    done.unwrap_or_else(|error| {
        Err(CliError::local(format_args!(
            "the virtual host's thread: {error}"
        )))
    })
}
