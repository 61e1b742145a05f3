//! `wrenn status`: what runs on this machine and how it is. Exit 0 healthy, 9 degraded, 7 not running.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use jiff::Timestamp;
use wrenn_api::Sandbox;

use super::down::local_client;
use crate::{
    DONE, Outcome,
    context::Context,
    error::{CliError, Exit},
    interruptible,
    local::{component::Phase, control, state::StateDir},
    out::{Style, Table},
    units,
};

#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 healthy, 9 degraded, 7 not running\n\nExamples:\n  wrenn status\n  wrenn status --json\n\n\
                        See also: wrenn doctor, wrenn logs"
)]
pub(crate) struct Arguments {
    /// The state directory
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

/// Shows components, host, sandboxes and disk.
pub(crate) fn run(context: &Context, arguments: &Arguments) -> Outcome {
    let state = StateDir::locate(arguments.state_dir.as_deref())?;
    interruptible(async {
        let Some(status) = control::status(&state).await? else {
            return Err(CliError::new(
                Exit::Unavailable,
                "not_running",
                format_args!("nothing runs from {}", state.root().display()),
            )
            .hint("start", "wrenn up"));
        };
        let url = status.settings.local_url();
        let sandboxes = async {
            local_client(context, &url, Duration::from_secs(10))?
                .sandbox_list::<Sandbox>("")
                .await
        }
        .await;
        let healthy = status.settled
            && status
                .components
                .iter()
                .all(|component| component.phase == Phase::Running)
            && sandboxes.is_ok();
        let outcome = if healthy { DONE } else { Exit::Unhealthy };
        if context.out.is_json() {
            context.out.json(&serde_json::json!({
                "healthy": healthy,
                "url": url,
                "host": status.host,
                "host_why": status.host_why,
                "state_dir": state.root(),
                "supervisor_pid": status.pid,
                "components": status.components,
                "sandboxes": sandboxes.as_ref().ok().map(|sandboxes| counts(sandboxes)),
            }))?;
            return Ok(outcome);
        }
        let mut table = Table::new(&["COMPONENT", "STATE", "PID", "SINCE", "RESTARTS", "ADDRESS"]);
        for component in &status.components {
            let since = Timestamp::from_millisecond(component.since_ms).map_or_else(
                |_| "-".to_owned(),
                |since| units::age(since, Timestamp::now()),
            );
            table.row(vec![
                component.name.clone(),
                format!("{:?}", component.phase).to_lowercase(),
                component
                    .pid
                    .map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
                since,
                component.restarts.to_string(),
                component.address.clone(),
            ]);
        }
        context.out.table(&table)?;
        context.out.line("")?;
        let sandboxes_text = match &sandboxes {
            Ok(sandboxes) if sandboxes.is_empty() => "none".to_owned(),
            Ok(sandboxes) => counts(sandboxes)
                .iter()
                .map(|(status, count)| format!("{count} {status}"))
                .collect::<Vec<_>>()
                .join(", "),
            Err(error) => error.message.clone(),
        };
        context.out.pairs(&[
            (
                "State",
                if healthy {
                    context.out.paint(Style::Good, "healthy")
                } else {
                    context.out.paint(Style::Bad, "degraded")
                },
            ),
            (
                "Dashboard",
                format!("http://localhost:{}", status.settings.listen.port()),
            ),
            ("Host", status.host.clone()),
            ("Why so", status.host_why.clone()),
            ("Sandboxes", sandboxes_text),
            (
                "Directory",
                format!("{}, {}", state.root().display(), free(&state)),
            ),
            ("Supervisor", format!("process {}", status.pid)),
        ])?;
        for component in status
            .components
            .iter()
            .filter(|component| component.phase != Phase::Running)
        {
            if let Some(error) = &component.last_error {
                context.out.warning(&format!("{}: {error}", component.name));
            }
        }
        if !healthy {
            context
                .out
                .note("\n  repair  wrenn up\n  look    wrenn doctor; wrenn logs --tail 50");
        }
        Ok(outcome)
    })
}

fn counts(sandboxes: &[Sandbox]) -> std::collections::BTreeMap<&'static str, usize> {
    let mut counts = std::collections::BTreeMap::new();
    for sandbox in sandboxes {
        *counts.entry(sandbox.status.as_str()).or_default() += 1;
    }
    counts
}

fn free(state: &StateDir) -> String {
    rustix::fs::statvfs(state.root()).map_or_else(
        |_| "unreadable".to_owned(),
        |disk| {
            format!(
                "{} free",
                units::show_mebibytes((disk.f_bavail * disk.f_frsize) >> 20)
            )
        },
    )
}
