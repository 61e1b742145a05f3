//! `wrenn down`: stops what `wrenn up` started, and loses nothing without being told to.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use futures::{StreamExt, stream};
use wrenn_api::{Sandbox, SandboxStatus};
use wrenn_ids::SandboxId;

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

/// Sandboxes paused or destroyed at a time.
const AT_ONCE: usize = 8;
/// Sandboxes named in a refusal.
const NAMED: usize = 5;
/// Longest wait for one sandbox: what is starting comes to its end first, and a pause writes its memory.
const PATIENCE: Duration = Duration::from_secs(300);
/// Between two looks at a sandbox.
const LOOK: Duration = Duration::from_millis(250);

#[derive(Debug, Args)]
#[command(
    after_help = "Running sandboxes are paused first and wake when they are used after the next `wrenn up`. With one that \
                        cannot be paused, the command names it and stops.\n\nExamples:\n  \
                        wrenn down\n  wrenn down --destroy\n  wrenn down --purge --yes\n\nSee also: wrenn up, wrenn status"
)]
pub(crate) struct Arguments {
    /// Destroy the sandboxes that run, instead of pausing them
    #[arg(long)]
    destroy: bool,
    /// Go on also when a sandbox cannot be paused or the server cannot be asked
    #[arg(long)]
    force: bool,
    /// Delete the state directory with all sandboxes too, after asking
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
        let client = local_client(context, &status.settings.local_url(), PATIENCE)?;
        let sandboxes: Vec<Sandbox> = client
            .sandbox_list("status=pending,starting,running")
            .await?;
        if sandboxes.is_empty() {
            return Ok(());
        }
        let left = if arguments.destroy || arguments.purge {
            each(&client, &sandboxes, progress, "destroyed", destroy).await
        } else {
            each(&client, &sandboxes, progress, "paused", pause).await
        };
        left.map_or(Ok(()), |left| Err(refusal(&left)))
    }
    .await;
    match result {
        Err(error) if arguments.force => {
            context.out.warning(&error.message);
            Ok(true)
        }
        Err(error) => Err(error.hint("anyway", "wrenn down --force")),
        Ok(()) => Ok(true),
    }
}

/// Says which sandboxes are in the way, and what the first one's trouble is.
fn refusal(left: &[(SandboxId, CliError)]) -> CliError {
    let names: Vec<String> = left
        .iter()
        .take(NAMED)
        .map(|(id, _)| id.to_string())
        .collect();
    let more = match left.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let (noun, verb) = match left.len() {
        1 => ("sandbox", "runs"),
        _ => ("sandboxes", "run"),
    };
    let why = left.first().map_or("", |(_, error)| &error.message);
    CliError::new(
        Exit::Conflict,
        "sandboxes_running",
        format_args!(
            "{} {noun} still {verb} and would be lost: {}{more}: {why}",
            left.len(),
            names.join(", ")
        ),
    )
    .hint("look", "wrenn sandbox ls")
    .hint("lose", "wrenn down --destroy")
}

/// Does the same with every sandbox, and shows how far it is; gives those with which it failed.
async fn each<'a, F>(
    client: &'a Client,
    sandboxes: &[Sandbox],
    progress: &Progress,
    done: &str,
    work: impl Fn(&'a Client, SandboxId) -> F,
) -> Option<Vec<(SandboxId, CliError)>>
where
    F: Future<Output = Result<(), CliError>>,
{
    let begun = std::time::Instant::now();
    let name = "Sandboxes";
    progress.event(&StepEvent::Step { name: name.into() });
    let mut results = stream::iter(sandboxes)
        .map(|sandbox| {
            let working = work(client, sandbox.id);
            async move { (sandbox.id, working.await) }
        })
        .buffer_unordered(AT_ONCE);
    let (mut count, mut left) = (0, Vec::new());
    while let Some((id, result)) = results.next().await {
        match result {
            Ok(()) => count += 1,
            Err(error) => left.push((id, error)),
        }
        progress.note(&format!("{count} of {} {done}", sandboxes.len()), None);
    }
    let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    progress.event(&StepEvent::Done {
        name: name.into(),
        note: format!("{count} {done}"),
        ms,
    });
    (!left.is_empty()).then_some(left)
}

async fn pause(client: &Client, id: SandboxId) -> Result<(), CliError> {
    let begun = |status| !matches!(status, SandboxStatus::Pending | SandboxStatus::Starting);
    wait(client, id, begun).await?;
    match client.sandbox_pause(id).await {
        // It may have ended, or gone to sleep by itself, a moment ago.
        Err(error) => match client.sandbox_get(id).await?.status {
            SandboxStatus::Paused | SandboxStatus::Stopped => Ok(()),
            _ => Err(error),
        },
        Ok(_) => Ok(()),
    }
}

async fn destroy(client: &Client, id: SandboxId) -> Result<(), CliError> {
    client.sandbox_destroy(id).await?;
    // Deleting may answer before the host is done; it is gone when it is `stopped`.
    wait(client, id, |status| status == SandboxStatus::Stopped).await?;
    Ok(())
}

/// Waits until a sandbox is as wanted; gives what it is then, also when that takes too long.
async fn wait(
    client: &Client,
    id: SandboxId,
    wanted: impl Fn(SandboxStatus) -> bool,
) -> Result<SandboxStatus, CliError> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let status = client.sandbox_get(id).await?.status;
        if wanted(status) || tokio::time::Instant::now() >= deadline {
            return Ok(status);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// A client of the local instance, whatever context is current.
pub(super) fn local_client(
    context: &Context,
    url: &str,
    timeout: Duration,
) -> Result<Client, CliError> {
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
        ..Target::default()
    };
    Client::new(
        target,
        context.global.timeout.unwrap_or(timeout),
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
