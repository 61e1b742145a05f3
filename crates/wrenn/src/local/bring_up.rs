//! The order in which a platform starts. Every step verifies first and starts only what is missing, so that
//! running it again completes what was interrupted and changes nothing that is whole.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    component::{Component, Phase},
    machine::{self, Machine},
    platform::Platform,
    postgres::Postgres,
    redis::Redis,
    state::HostChoice,
    supervisor::{Reporter, Services},
};
use crate::error::CliError;

const CONTROL_PLANE_LIMIT: Duration = Duration::from_secs(60);
const READY_LIMIT: Duration = Duration::from_secs(120);

/// What people call a component.
pub(crate) fn title(component: &str) -> &'static str {
    match component {
        "postgres" => "PostgreSQL",
        "redis" => "Redis",
        "control-plane" => "Control plane",
        "host-agent" => "Host agent",
        _ => "Virtual host",
    }
}

/// Every step.
pub(crate) async fn all(
    platform: &Arc<Platform>,
    services: &Services,
    reporter: &Reporter,
) -> Result<(), CliError> {
    reporter
        .step("PostgreSQL", postgres(platform, services))
        .await?;
    reporter.step("Redis", redis(platform, services)).await?;
    reporter.step("Migrations", platform.migrate()).await?;
    reporter
        .step("Authority", async { platform.ensure_authority() })
        .await?;
    reporter
        .step("Accounts", platform.ensure_accounts())
        .await?;
    reporter
        .step("Control plane", control_plane(platform, services))
        .await?;
    host(platform, services, reporter).await
}

/// The host alone: native agent, virtual host, or none.
pub(crate) async fn host(
    platform: &Arc<Platform>,
    services: &Services,
    reporter: &Reporter,
) -> Result<(), CliError> {
    match platform.host {
        HostChoice::Native => reporter.step("Host", native(platform, services)).await?,
        HostChoice::Virtual => {
            reporter
                .step("Host", virtual_host(platform, services, reporter))
                .await?
        }
        HostChoice::None => return Ok(()),
    }
    reporter
        .step("Registration", platform.wait_ready(READY_LIMIT))
        .await
}

async fn postgres(platform: &Platform, services: &Services) -> Result<String, CliError> {
    if platform.external.database.is_some() {
        return Ok("external, from DATABASE_URL".to_owned());
    }
    let postgres = Postgres::new(&platform.state)?;
    let component = match alive(services, "postgres").await {
        Some(component) => component,
        None => {
            let preparing = postgres.clone();
            let making = services.starts.spawn_blocking(move || preparing.prepare());
            making.await.unwrap_or_else(|error| {
                Err(CliError::local(format_args!("prepare PostgreSQL: {error}")))
            })?;
            start(services, postgres.spec())
        }
    };
    postgres.wait_ready(&component).await?;
    Ok("private, Unix socket only".to_owned())
}

async fn redis(platform: &Platform, services: &Services) -> Result<String, CliError> {
    if platform.external.redis.is_some() {
        return Ok("external, from REDIS_URL".to_owned());
    }
    let redis = Redis::new(&platform.state)?;
    let component = match alive(services, "redis").await {
        Some(component) => component,
        None => {
            redis.prepare()?;
            start(services, redis.spec())
        }
    };
    redis.wait_ready(&component).await?;
    Ok("private, Unix socket only".to_owned())
}

async fn control_plane(platform: &Platform, services: &Services) -> Result<String, CliError> {
    platform.write_state_file()?;
    let component = match alive(services, "control-plane").await {
        Some(component) => component,
        None => start(services, platform.control_plane_spec()?),
    };
    let begun = Instant::now();
    while !platform.is_healthy().await {
        still_trying(&component, begun, CONTROL_PLANE_LIMIT, "the control plane")?;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(platform.settings.local_url())
}

async fn native(platform: &Platform, services: &Services) -> Result<String, CliError> {
    if alive(services, "host-agent").await.is_none() {
        start(services, platform.native_agent_spec().await?);
    }
    Ok(platform.host_sentence())
}

async fn virtual_host(
    platform: &Arc<Platform>,
    services: &Services,
    reporter: &Reporter,
) -> Result<String, CliError> {
    if services
        .machine()
        .is_none_or(|machine| machine.status().phase != Phase::Running)
    {
        if let Some(machine) = services.machine() {
            machine.leave().await;
        }
        let notes = reporter.clone();
        reporter.note("Host", "starting the virtual host");
        let machine = Machine::start(
            Arc::clone(platform),
            services.starts.clone(),
            Arc::new(move |note| notes.note("Host", note)),
        )
        .await?;
        services.set_machine(Some(machine));
    }
    let how = machine::name(machine::acceleration());
    Ok(format!("virtual host, {how}"))
}

/// The component if it was started, tried again if it was given up.
async fn alive(services: &Services, name: &str) -> Option<Arc<Component>> {
    let component = services.get(name)?;
    if component.status().phase == Phase::Failed {
        component.retry();
        // It leaves `Failed` before anything else happens to it.
        while component.status().phase == Phase::Failed {
            tokio::task::yield_now().await;
        }
    }
    Some(component)
}

fn start(services: &Services, spec: super::component::Spec) -> Arc<Component> {
    let component = Arc::new(Component::start(spec));
    services.add(Arc::clone(&component));
    component
}

/// Fails when `component` was given up or `limit` is over.
fn still_trying(
    component: &Component,
    begun: Instant,
    limit: Duration,
    what: &str,
) -> Result<(), CliError> {
    let status = component.status();
    if status.phase != Phase::Failed && begun.elapsed() < limit {
        return Ok(());
    }
    let why = status
        .last_error
        .unwrap_or_else(|| format!("no answer in {} s", limit.as_secs()));
    Err(
        CliError::local(format_args!("{what} does not start: {why}"))
            .hint(
                "logs",
                format_args!("wrenn logs {} --tail 50", component.spec.name),
            )
            .hint("check", "wrenn doctor"),
    )
}
