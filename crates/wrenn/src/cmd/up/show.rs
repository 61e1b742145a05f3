//! What `up` prints: the block at its end, and the plan.

use std::time::Duration;

use crate::{
    DONE, Outcome,
    config::LOCAL,
    context::Context,
    error::CliError,
    local::{
        checks, control,
        external::External,
        first_run::FirstRun,
        state::{HostChoice, Settings, StateDir},
    },
    out::{Style, seconds},
};

/// The final block; credentials stand in it once.
pub(super) async fn block(
    context: &Context,
    state: &StateDir,
    settings: &Settings,
    took: Duration,
) -> Result<(), CliError> {
    let mut record = FirstRun::load(state)?;
    let host = control::status(state)
        .await?
        .map(|status| status.host)
        .unwrap_or_default();
    let dashboard = format!("http://localhost:{}", settings.listen.port());
    if context.out.is_json() {
        context.out.json_line(&serde_json::json!({
            "type": "up", "version": env!("CARGO_PKG_VERSION"), "url": settings.local_url(), "dashboard": dashboard, "host": host,
            "admin_email": record.credentials.as_ref().map(|c| &c.admin_email),
            "admin_password": record.credentials.as_ref().and_then(|c| c.admin_password.as_ref()),
            "api_key": record.credentials.as_ref().and_then(|c| c.api_key.as_ref()),
            "first_run": record.times,
        }))?;
    } else {
        let line = |name: &str, text: String| context.out.line(&format!("  {name:<11} {text}"));
        context.out.line(&format!(
            "\n{}\n",
            context.out.paint(
                Style::Bold,
                &format!(
                    "Wrenn {} is up ({})",
                    env!("CARGO_PKG_VERSION"),
                    seconds(took)
                )
            )
        ))?;
        line("Dashboard", dashboard)?;
        if let Some(credentials) = &record.credentials {
            if let Some(password) = &credentials.admin_password {
                line(
                    "Sign in",
                    format!(
                        "{}   password  {password}   (shown once)",
                        credentials.admin_email
                    ),
                )?;
            }
            if let Some(key) = &credentials.api_key {
                line(
                    "API key",
                    format!("{key}   (shown once; saved in context \"{LOCAL}\")"),
                )?;
            }
        }
        line("API", format!("{}/docs", settings.local_url()))?;
        line("Host", host)?;
        if let Some(times) = record.times {
            line("First run", super::first::sentence(times))?;
        }
        let next = match checks::host_choice(settings)?.0 {
            HostChoice::None => "wrenn status",
            HostChoice::Native | HostChoice::Virtual => "wrenn run -- uname -a",
        };
        context.out.line(&format!("\n  Next        {next}"))?;
    }
    if record.credentials.take().is_some() {
        record.store(state)?;
    }
    Ok(())
}

pub(super) fn plan(context: &Context, state: &StateDir, settings: &Settings) -> Outcome {
    let (host, why) = checks::host_choice(settings)?;
    let external = External::find(state);
    let database = if external.database.is_some() {
        "use DATABASE_URL"
    } else {
        "start a private one, Unix socket only"
    };
    let redis = if external.redis.is_some() {
        "use REDIS_URL"
    } else {
        "start a private one, Unix socket only"
    };
    let host_text = match host {
        HostChoice::Native => format!("run the agent on this machine ({why})"),
        HostChoice::Virtual => format!("start the virtual host ({why})"),
        HostChoice::None => format!("start none ({why})"),
    };
    context.out.pairs(&[
        ("Checks", "packages, ports, disk, memory, rights".to_owned()),
        ("State", state.root().display().to_string()),
        (
            "Images",
            if host == HostChoice::None {
                "none needed"
            } else {
                "kernel, Firecracker, template minimal"
            }
            .to_owned(),
        ),
        ("PostgreSQL", database.to_owned()),
        ("Redis", redis.to_owned()),
        ("Migrations", "to the version of this binary".to_owned()),
        ("Authority", "make it once".to_owned()),
        ("Accounts", "make admin, team and key once".to_owned()),
        ("Control plane", settings.local_url()),
        ("Host", host_text),
        ("Registration", "with a one-time token".to_owned()),
        (
            "First sandbox",
            "create, echo, destroy, the first time".to_owned(),
        ),
    ])?;
    Ok(DONE)
}
