//! The host agent: turns a Linux host into a place where sandboxes run.
//!
//! - [`sandbox`]: one task a sandbox, creation with guards, durable records, re-adoption.
//! - [`rpc`]: what the control plane calls, over mutual TLS only.
//! - [`identity`]: registration, credentials, heartbeat.
//! - [`envd`]: client of the agent in each guest, whose every byte is hostile.
//! - [`checks`]: what a host needs.
//!
//! The agent's truth is on its disk, not in its memory: killed at any instant it restarts, finds its VMs
//! running and carries on. It never talks to the control plane's database, and stopping it stops no VM.

pub mod backoff;
pub mod checks;
pub mod config;
mod contact;
pub mod durable;
pub mod envd;
pub mod events;
pub mod facts;
pub mod failpoint;
pub mod identity;
pub mod pace;
pub mod reaper;
pub mod rpc;
pub mod sandbox;
pub mod telemetry;
pub mod templates;

use std::{fmt, sync::Arc, time::Duration};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::{
    checks::{Check, KvmProbe, Outcome},
    config::{Config, ConfigError, Prefetch},
};
use self::{
    events::Events,
    identity::{Facts, HeartbeatReport, Heartbeats, Identity},
    reaper::Reaper,
    sandbox::{Host, Registry},
};

/// Time that tasks get to end when the agent stops.
const GRACE: Duration = Duration::from_secs(10);

/// Why the agent does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host lacks something.
    #[error("this host cannot run sandboxes: {}", listed(.0))]
    Host(Vec<Check>),
    /// It has no identity.
    #[error("get this host's identity")]
    Identity(#[from] identity::Error),
    /// Events of earlier runs cannot be read.
    #[error("open the event log")]
    Events(#[source] durable::Error),
    /// Sandboxes cannot be held.
    #[error("prepare the host for sandboxes")]
    Open(#[from] sandbox::OpenError),
    /// The RPC server does not run.
    #[error("serve the control plane")]
    Serve(#[from] rpc::ServeError),
    /// Metrics are not served.
    #[error("serve metrics")]
    Metrics(#[from] telemetry::Error),
}

fn listed(checks: &[Check]) -> String {
    checks
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

/// Runs the agent until `cancel`; VMs run on after that.
///
/// # Errors
/// When the host lacks something, there is no identity, or an address is taken. Never for a failure of the
/// control plane after registration.
pub async fn run(config: Config, cancel: CancellationToken) -> Result<(), Error> {
    let checked = config.clone();
    let checks = tokio::task::spawn_blocking(move || checks::run(&checked))
        .await
        .unwrap_or_default();
    let missing: Vec<_> = checks
        .into_iter()
        .filter(|check| check.outcome == Outcome::Missing)
        .collect();
    if !missing.is_empty() {
        return Err(Error::Host(missing));
    }
    let events = Events::open(&config.state_dir, facts::boot_id()).map_err(Error::Events)?;
    let identity = Identity::establish(&config, host_facts(&config), &cancel).await?;
    let tasks = TaskTracker::new();
    let (reaper, owe) = Reaper::new();
    tasks.spawn(reaper.run(cancel.clone()));
    let metrics = telemetry::serve(config.metrics_listen, cancel.clone()).await?;
    tasks.spawn(metrics);

    let host = Host::open(config.clone(), Arc::new(events), owe, cancel.clone()).await?;
    let registry = Arc::new(Registry::open(Arc::clone(&host)).await);
    tasks.spawn(Arc::clone(&host).keep_ready());
    let server = rpc::Server::bind(Arc::clone(&registry), Arc::clone(&identity)).await?;
    tracing::info!(host_id = %identity.host_id(), address = %config.listen, "host agent serves");
    let report = {
        let registry = Arc::clone(&registry);
        move || heartbeat(&registry)
    };
    let (heartbeats, contact) = Heartbeats::new(identity, report);
    tasks.spawn(heartbeats.run(cancel.clone()));
    let limit = config.disconnect_pause;
    tasks.spawn(contact::keep(registry, contact, limit, cancel.clone()));
    server.run(cancel).await?;

    host.tasks.close();
    tasks.close();
    let ended = async { tokio::join!(host.tasks.wait(), tasks.wait()) };
    if tokio::time::timeout(GRACE, ended).await.is_err() {
        tracing::warn!("some tasks did not end in time: the next start finishes their work");
    }
    Ok(())
}

fn host_facts(config: &Config) -> Facts {
    Facts {
        arch: std::env::consts::ARCH.to_owned(),
        cpu_cores: facts::cpu_cores(),
        memory_mb: facts::memory().total_mib,
        disk_gb: facts::disk(&config.state_dir).total_mib / 1024,
        agent_version: facts::AGENT_VERSION.to_owned(),
    }
}

fn heartbeat(registry: &Registry) -> HeartbeatReport {
    let host = registry.host();
    HeartbeatReport {
        agent_version: facts::AGENT_VERSION.to_owned(),
        boot_id: host.events.boot_id().to_owned(),
        going_down: false,
        memory_free_mb: facts::memory().free_mib,
        disk_free_gb: facts::disk(&host.state_dir).free_mib / 1024,
        sandboxes: registry.list().len().try_into().unwrap_or(u32::MAX),
    }
}

/// An error with its causes, in one line for the log.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> impl fmt::Display + use<> {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        line.push_str(": ");
        line.push_str(&source.to_string());
        cause = source.source();
    }
    line
}
