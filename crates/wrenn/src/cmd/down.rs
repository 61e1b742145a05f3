//! `wrenn down`: stops what `wrenn up` started, and loses nothing without being told to.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use futures::{StreamExt, stream};
use wrenn_api::{Sandbox, SandboxStatus};

use super::up::serving::{follow, wait_for_end};
use crate::{
    DONE, Outcome, block_on,
    client::Client,
    config::{ConfigFile, LOCAL, Target},
    context::Context,
    error::{Attempt, CliError, Exit},
    interruptible,
    local::{
        control::{self, Connection, Request},
        machine,
        state::{HostChoice, StateDir},
    },
    out::{Progress, StepEvent},
};

/// Sandboxes destroyed at a time.
const AT_ONCE: usize = 8;
/// Sandboxes named in a refusal.
const NAMED: usize = 5;

#[derive(Debug, Args)]
#[command(
    after_help = "Running sandboxes are never lost silently: with some, the command names them and stops.\n\nExamples:\n  \
                        wrenn down\n  wrenn down --destroy\n  wrenn down --purge --yes\n\nSee also: wrenn up, wrenn status"
)]
pub(crate) struct Arguments {
    /// Destroy the sandboxes that run
    #[arg(long)]
    destroy: bool,
    /// Go on also when a sandbox cannot be destroyed or the server cannot be asked
    #[arg(long)]
    force: bool,
    /// Delete the state directory too, after asking
    #[arg(long)]
    purge: bool,
    /// The state directory
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

/// Stops agent, control plane, Redis and PostgreSQL, in that order.
pub(crate) fn run(context: &Context, arguments: &Arguments) -> Outcome {
    let state = StateDir::locate(arguments.state_dir.as_deref())?;
    if arguments.purge {
        confirm_purge(context, &state)?;
    }
    let progress = context.out.progress();
    let was_up = interruptible(spare_sandboxes(context, arguments, &state, &progress))?;
    // From here on a signal would leave things half stopped.
    block_on(stop(&state, &progress))?;
    let left = state.at("machine").exists()
        && progress.step("Leftovers", || {
            let stopped = machine::stop_left(&state)?;
            Ok::<_, CliError>((
                if stopped {
                    "stopped a virtual host that nobody looked after"
                } else {
                    "none"
                }
                .to_owned(),
                stopped,
            ))
        })?;
    drop(progress);
    if arguments.purge {
        purge(&state)?;
        context
            .out
            .note(&format!("Stopped; {} is deleted.", state.root().display()));
    } else if was_up || left {
        context.out.note(&format!(
            "Stopped. Everything is kept in {}.\n\n  Next        wrenn up",
            state.root().display()
        ));
    } else {
        context.out.note("Nothing was running.");
    }
    Ok(DONE)
}

/// Makes sure that no sandbox is lost; returns whether a supervisor runs.
async fn spare_sandboxes(
    context: &Context,
    arguments: &Arguments,
    state: &StateDir,
    progress: &Progress,
) -> Result<bool, CliError> {
    let Some(status) = control::status(state).await? else {
        return Ok(false);
    };
    if !status.settled || status.settings.host == Some(HostChoice::None) {
        return Ok(true);
    }
    let result = async {
        let client = local_client(context, &status.settings.local_url())?;
        let sandboxes: Vec<Sandbox> = client
            .sandbox_list("status=pending,starting,running")
            .await?;
        if sandboxes.is_empty() {
            return Ok(());
        }
        if !arguments.destroy && !arguments.force {
            return Err(refusal(&sandboxes));
        }
        destroy(&client, &sandboxes, progress).await
    }
    .await;
    match result {
        Err(error) if arguments.force && error.code != "sandboxes_running" => {
            context.out.warning(&error.message);
            Ok(true)
        }
        Err(error) if error.code == "sandboxes_running" => Err(error),
        Err(error) => Err(error.hint("anyway", "wrenn down --force")),
        Ok(()) => Ok(true),
    }
}

fn refusal(sandboxes: &[Sandbox]) -> CliError {
    let names: Vec<String> = sandboxes
        .iter()
        .take(NAMED)
        .map(|sandbox| sandbox.id.to_string())
        .collect();
    let more = if sandboxes.len() > NAMED {
        format!(" and {} more", sandboxes.len() - NAMED)
    } else {
        String::new()
    };
    let (verb, noun) = if sandboxes.len() == 1 {
        ("runs", "sandbox")
    } else {
        ("run", "sandboxes")
    };
    CliError::new(
        Exit::Conflict,
        "sandboxes_running",
        format_args!(
            "{} {noun} still {verb} and would be lost: {}{more}",
            sandboxes.len(),
            names.join(", ")
        ),
    )
    .hint("look", "wrenn sandbox ls")
    .hint("lose", "wrenn down --destroy")
}

async fn destroy(
    client: &Client,
    sandboxes: &[Sandbox],
    progress: &Progress,
) -> Result<(), CliError> {
    let begun = std::time::Instant::now();
    progress.event(&StepEvent::Step {
        name: "Sandboxes".into(),
    });
    let mut results = stream::iter(sandboxes)
        .map(|sandbox| async move {
            client.sandbox_destroy(sandbox.id).await?;
            // Deleting may answer before the host is done; it is gone when it is `stopped`.
            for _ in 0..120 {
                if client.sandbox_get(sandbox.id).await?.status == SandboxStatus::Stopped {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
            Ok::<_, CliError>(())
        })
        .buffer_unordered(AT_ONCE);
    let mut done = 0;
    while let Some(result) = results.next().await {
        result?;
        done += 1;
        progress.note(&format!("{done} of {} destroyed", sandboxes.len()), None);
    }
    let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    progress.event(&StepEvent::Done {
        name: "Sandboxes".into(),
        note: format!("{done} destroyed"),
        ms,
    });
    Ok(())
}

/// A client of the local instance, whatever context is current.
pub(super) fn local_client(context: &Context, url: &str) -> Result<Client, CliError> {
    let file = ConfigFile::load(&ConfigFile::path()?)?;
    let api_key = file
        .context(LOCAL)
        .filter(|local| local.base_url == url)
        .and_then(|local| local.api_key);
    let api_key = api_key.or_else(|| {
        std::env::var("WRENN_API_KEY")
            .ok()
            .filter(|key| !key.is_empty())
    });
    let target = Target {
        context: LOCAL.to_owned(),
        base_url: url.to_owned(),
        api_key,
    };
    Client::new(
        target,
        context.global.timeout.unwrap_or(Duration::from_secs(10)),
        context.out.clone(),
    )
}

async fn stop(state: &StateDir, progress: &Progress) -> Result<(), CliError> {
    let Some(connection) = Connection::ask(state, Request::Down).await? else {
        return Ok(());
    };
    follow(connection, progress).await?;
    wait_for_end(state).await
}

fn confirm_purge(context: &Context, state: &StateDir) -> Result<(), CliError> {
    let root = state.root();
    if root.exists() && !state.at("up.json").exists() {
        return Err(CliError::usage(format_args!(
            "{} is no state directory of wrenn up",
            root.display()
        )));
    }
    if context.global.yes || !root.exists() {
        return Ok(());
    }
    if !context.out.may_ask() {
        return Err(CliError::usage(format_args!(
            "--purge deletes {} and needs --yes",
            root.display()
        )));
    }
    let typed = context.out.ask(&format!(
        "This deletes {} with all sandboxes, keys and records.\nType the path to go on:",
        root.display()
    ))?;
    if typed == root.display().to_string() {
        Ok(())
    } else {
        Err(CliError::new(
            Exit::Failure,
            "declined",
            "nothing was stopped or deleted",
        ))
    }
}

fn purge(state: &StateDir) -> Result<(), CliError> {
    let root = state.root();
    if !root.exists() {
        return Ok(());
    }
    std::fs::remove_dir_all(root).attempt(|| format!("delete {}", root.display()))?;
    let path = ConfigFile::path()?;
    let mut file = ConfigFile::load(&path)?;
    if file.state_dir(LOCAL).is_some_and(|dir| dir == root) {
        file.remove(LOCAL);
        file.store(&path)?;
    }
    Ok(())
}
