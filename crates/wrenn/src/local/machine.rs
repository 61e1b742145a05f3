//! The virtual host as a component: attached to or started, watched, started again when it ended.
//!
//! Unlike the other components it outlives the supervisor: sandboxes run in it. Everything that
//! `wrenn-virtual-host` does blocks, so it runs on blocking threads.

use std::{sync::Arc, time::Duration};

use tokio_util::{sync::CancellationToken, task::TaskTracker};
use wrenn_virtual_host::{
    Cache, VirtualHost, kvm,
    image::ImagesDir,
    machine::{Acceleration, MachineConfig, OnDrop},
};

use super::{
    component::{Phase, Status, StatusCell},
    platform::Platform,
    state::StateDir,
};
use crate::error::{Attempt, CliError, chain};

/// How long a machine may take to shut down before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(90);
const AGENT_LIMIT: Duration = Duration::from_secs(120);
const WATCH_PERIOD: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A virtual host that is being kept running.
#[derive(Debug)]
pub(crate) struct Machine {
    status: StatusCell,
    stop: CancellationToken,
    leave: CancellationToken,
    task: TaskTracker,
    /// Whether it ran before this supervisor, perhaps with sandboxes in it.
    pub(crate) found_running: bool,
}

impl Machine {
    /// Attaches to the running machine or starts it, then watches it.
    pub(crate) async fn start(platform: Arc<Platform>, progress: impl Fn(&str) + Send + Sync + 'static) -> Result<Self, CliError> {
        let status = StatusCell::new("virtual-host", "");
        let (host, found_running) = begin(Arc::clone(&platform), status.clone(), progress).await?;
        let (stop, leave, task) = (CancellationToken::new(), CancellationToken::new(), TaskTracker::new());
        task.spawn(keep(platform, status.clone(), host, stop.clone(), leave.clone()));
        task.close();
        Ok(Self { status, stop, leave, task, found_running })
    }

    pub(crate) fn status(&self) -> Status {
        self.status.get()
    }

    /// Shuts it down.
    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        self.task.wait().await;
    }

    /// Leaves it running and watches it no more.
    pub(crate) async fn leave(&self) {
        self.leave.cancel();
        self.task.wait().await;
    }
}

/// How a machine would run here, for people.
pub(crate) fn acceleration() -> Acceleration {
    if kvm::usable().is_ok() { Acceleration::Kvm } else { Acceleration::Emulated }
}

/// Attaches to the running machine, or starts one: then the flag is false. One that was started and whose agent
/// does not answer is ended again.
async fn begin(
    platform: Arc<Platform>,
    status: StatusCell,
    progress: impl Fn(&str) + Send + Sync + 'static,
) -> Result<(Arc<VirtualHost>, bool), CliError> {
    status.enter(Phase::Starting, |_| {});
    let dir = platform.state.at("machine");
    let attached = blocking(move || VirtualHost::attach(&dir).attempt(|| "look for the virtual host")).await?;
    let found_running = attached.is_some();
    let host = match attached {
        Some(host) => host,
        None => start(config(&platform).await?, progress).await?,
    };
    let host = blocking(move || match host.wait_for_agent(AGENT_LIMIT) {
        Ok(()) => Ok(host),
        Err(error) => {
            if !found_running {
                host.kill();
            }
            Err(CliError::local(chain(&error)).hint("logs", "wrenn logs host-agent --tail 50"))
        }
    })
    .await?;
    status.enter(Phase::Running, |status| {
        status.pid = u32::try_from(host.pid()).ok();
        status.address = format!("127.0.0.1:{}, {}", host.agent_port(), name(host.acceleration()));
    });
    Ok((Arc::new(host), found_running))
}

async fn start(config: MachineConfig, progress: impl Fn(&str) + Send + Sync + 'static) -> Result<VirtualHost, CliError> {
    blocking(move || {
        let cache = Cache::from_env().attempt(|| "find the image cache")?;
        VirtualHost::start(&config, &cache, &progress).map_err(|error| {
            CliError::local(format_args!("start the virtual host: {}", chain(&error)))
                .hint("logs", "wrenn logs virtual-host --tail 50")
                .hint("check", "wrenn doctor --only virtualisation")
        })
    })
    .await
}

/// Stops the machine that runs on `state`, if one does; for when no supervisor looks after it.
pub(crate) fn stop_left(state: &StateDir) -> Result<bool, CliError> {
    let left = VirtualHost::attach(&state.at("machine")).attempt(|| "look for the virtual host")?;
    left.map_or(Ok(false), |host| host.stop(STOP_LIMIT).map(|_| true).attempt(|| "stop the virtual host"))
}

/// How the machine's CPUs run, for people.
pub(crate) fn name(acceleration: Acceleration) -> &'static str {
    match acceleration {
        Acceleration::Kvm => "KVM",
        Acceleration::Emulated => "emulated",
    }
}

async fn config(platform: &Platform) -> Result<MachineConfig, CliError> {
    let state = &platform.state;
    let images = ImagesDir::open(&state.at("images"))
        .attempt(|| "open the images")?
        .ok_or_else(|| CliError::local("the images are not complete").hint("make", "wrenn setup"))?;
    let mut config = MachineConfig::new(state.at("machine"));
    config.images = Some(images);
    config.wrenn = Some(super::images::own_binary()?);
    config.agent_env = Some(platform.virtual_agent_environment().await?);
    config.on_drop = OnDrop::Leave;
    config.acceleration = acceleration();
    config.cpus = platform.settings.cpus.unwrap_or(config.cpus);
    config.memory_mib = platform.settings.memory_mib.unwrap_or(config.memory_mib);
    config.disk_gib = platform.settings.disk_gib.unwrap_or(config.disk_gib);
    Ok(config)
}

async fn keep(
    platform: Arc<Platform>,
    status: StatusCell,
    mut host: Arc<VirtualHost>,
    stop: CancellationToken,
    leave: CancellationToken,
) {
    let mut pause = FIRST_PAUSE;
    loop {
        // Ended by itself?
        while host.is_running() {
            tokio::select! {
                () = tokio::time::sleep(WATCH_PERIOD) => {}
                () = leave.cancelled() => return,
                () = stop.cancelled() => {
                    let stopped = blocking(move || match Arc::try_unwrap(host) {
                        Ok(host) => host.stop(STOP_LIMIT).attempt(|| "stop the virtual host"),
                        Err(_) => Err(CliError::local("the virtual host is in use")),
                    });
                    match stopped.await {
                        Ok(how) => tracing::info!(?how, "virtual host stopped"),
                        Err(error) => tracing::error!("{}", error.message),
                    }
                    status.enter(Phase::Stopped, |_| {});
                    return;
                }
            }
        }
        tracing::warn!("the virtual host ended");
        loop {
            status.enter(Phase::Waiting, |status| {
                status.restarts += 1;
                status.last_error = Some("it ended".to_owned());
            });
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = leave.cancelled() => return,
                () = stop.cancelled() => {
                    status.enter(Phase::Stopped, |_| {});
                    return;
                }
            }
            match begin(Arc::clone(&platform), status.clone(), |_| {}).await {
                Ok((again, _)) => {
                    host = again;
                    pause = FIRST_PAUSE;
                    break;
                }
                Err(error) => {
                    tracing::error!("{}", error.message);
                    status.enter(Phase::Waiting, |status| status.last_error = Some(error.message));
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, CliError> + Send + 'static) -> Result<T, CliError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(CliError::local(format_args!("the virtual host's thread: {error}"))))
}
