//! `wrenn up`: a whole platform on this machine, then a first sandbox.
//!
//! This process checks, makes the images and shows the steps; the services belong to the supervisor. With
//! `--foreground` the supervisor is a task of this process. Interrupted anywhere, it leaves nothing running that
//! did not run before.

mod first;
pub(super) mod serving;
mod show;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Instant};

use clap::Args;
use tokio::task::JoinError;
use tokio_util::task::TaskTracker;
use wrenn_virtual_host::machine::Acceleration;

use self::{
    first::FirstSandbox,
    serving::{Serving, follow_up, stop, wait_for_end},
};
use crate::{
    DONE, Outcome, block_on,
    context::Context,
    error::CliError,
    local::{
        checks, control,
        external::External,
        images, machine,
        state::{HostChoice, Settings, StateDir},
    },
    out::Progress,
    signals::Signals,
    units,
};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wrenn up\n  wrenn up --listen 127.0.0.1:9090 --memory 8G\n  wrenn up --plan\n\n\
                        See also: wrenn status, wrenn down, wrenn doctor"
)]
pub(crate) struct Arguments {
    /// Address of the API [default: 127.0.0.1:8080]
    #[arg(
        long,
        value_name = "ADDR",
        env = "WRENN_LISTEN",
        hide_env_values = true
    )]
    listen: Option<SocketAddr>,
    /// Where everything is kept [default: /var/lib/wrenn, or ~/.local/state/wrenn]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Where sandboxes run [default: native where KVM is usable, else virtual]
    #[arg(long, value_name = "WHERE")]
    host: Option<HostChoice>,
    /// Processors of the virtual host [default: half of this machine]
    #[arg(long, value_name = "N")]
    cpus: Option<u32>,
    /// Memory of the virtual host [default: half of this machine]
    #[arg(long, value_name = "SIZE", value_parser = units::mebibytes)]
    memory: Option<u32>,
    /// Disk of the virtual host when it is first made [default: 40G]
    #[arg(long, value_name = "SIZE", value_parser = units::mebibytes)]
    disk: Option<u32>,
    /// Stay; Ctrl-C stops the services and leaves sandboxes to the next up
    #[arg(long)]
    foreground: bool,
    /// Do not try a first sandbox
    #[arg(long)]
    no_first_run: bool,
    /// Print the steps and change nothing
    #[arg(long)]
    plan: bool,
}

impl Arguments {
    fn settings(&self, last: Option<Settings>) -> Settings {
        let last = last.unwrap_or_default();
        Settings {
            listen: self.listen.unwrap_or(last.listen),
            host: self.host.or(last.host),
            cpus: self.cpus.or(last.cpus),
            memory_mib: self.memory.or(last.memory_mib),
            disk_gib: self
                .disk
                .map(|mebibytes| mebibytes.div_ceil(1024))
                .or(last.disk_gib),
            agent_listen: last.agent_listen,
        }
    }
}

/// Starts what is missing and shows how to go on.
pub(crate) fn run(context: &Context, arguments: &Arguments) -> Outcome {
    let begun = Instant::now();
    let state = StateDir::locate(arguments.state_dir.as_deref())?;
    let settings = arguments.settings(state.settings()?);
    if arguments.plan {
        return show::plan(context, &state, &settings);
    }
    confirm_exposure(context, &settings)?;
    warn_of_processors(context, &settings);
    let progress = Arc::new(context.out.progress());
    // Whoever works on this directory is named before its ports are called taken.
    let early = state
        .at("run")
        .exists()
        .then(|| state.lock("up.lock", "wrenn up"))
        .transpose()?;
    progress.step("Checks", || checks::before_up(&state, &settings))?;
    let lock = progress.step("State", || {
        state.prepare()?;
        let lock = early.map_or_else(|| state.lock("up.lock", "wrenn up"), Ok)?;
        state.store_settings(&settings)?;
        Ok::<_, CliError>((state.root().display().to_string(), lock))
    })?;
    block_on(async {
        let mut signals = Signals::listen()?;
        let builds = TaskTracker::new();
        let mut serving = Serving::Nowhere;
        let bringing_up = async {
            External::find(&state).reach().await?;
            let (host, _) = checks::host_choice(&settings)?;
            if host != HostChoice::None {
                images(&state, &progress, &builds).await?;
            }
            serving
                .begin(&state, &settings, arguments.foreground)
                .await?;
            follow_up(&state, &progress).await?;
            let first_sandbox = if arguments.no_first_run || host == HostChoice::None {
                FirstSandbox::Unwanted
            } else {
                FirstSandbox::UnlessDone
            };
            first::finish(context, &state, &settings, &progress, first_sandbox).await
        };
        let result = tokio::select! {
            result = bringing_up => result,
            exit = signals.next() => Err(CliError::silent(exit)),
        };
        progress.abandon();
        drop(progress);
        if let Err(error) = result {
            if error.silent {
                context.out.note("Interrupted: stopping what was started …");
            }
            // Another signal leaves at once.
            tokio::select! {
                stopped = give_up(&state, &builds, serving, &error) => stopped?,
                exit = signals.next() => return Err(CliError::silent(exit)),
            }
            return Err(if error.silent {
                error
            } else {
                checks::blame_disk(error, &state)
            });
        }
        show::block(context, &state, &settings, begun.elapsed()).await?;
        drop(lock);
        if let Serving::Here(task) = serving {
            context
                .out
                .note("\nCtrl-C stops the services; sandboxes are left to the next wrenn up.");
            joined(task.await)?;
        }
        Ok(DONE)
    })
}

fn confirm_exposure(context: &Context, settings: &Settings) -> Result<(), CliError> {
    if settings.listen.ip().is_loopback() {
        return Ok(());
    }
    context.out.warning(&format!(
        "{} is reachable from other machines, without https",
        settings.listen
    ));
    if context.global.yes || context.out.may_ask() {
        return Ok(());
    }
    Err(CliError::usage("listening beyond this machine needs --yes")
        .hint("go on", "wrenn up --yes …"))
}

fn warn_of_processors(context: &Context, settings: &Settings) {
    let host = checks::host_choice(settings);
    let is_emulated = matches!(host, Ok((HostChoice::Virtual, _)))
        && machine::acceleration() == Acceleration::Emulated;
    if let Some(cpus @ 2..) = settings.cpus.filter(|_| is_emulated) {
        context.out.warning(&format!(
            "a virtual host with {cpus} emulated processors may hang; it is sound with --cpus 1"
        ));
    }
}

/// Makes the images on a thread of `builds`, so that signals are heard meanwhile.
async fn images(
    state: &StateDir,
    progress: &Arc<Progress>,
    builds: &TaskTracker,
) -> Result<(), CliError> {
    let (state, progress) = (state.clone(), Arc::clone(progress));
    let making = builds.spawn_blocking(move || {
        progress.step("Images", || {
            let images = images::ensure(&state, None, &|note| progress.note(note, None))?;
            let versions = format!(
                "kernel {}, Firecracker {}",
                images.kernel_version(),
                images.firecracker_version()
            );
            Ok::<_, CliError>((versions, ()))
        })
    });
    joined(making.await)
}

/// Ends what an interrupted `up` began, and waits for what ends by itself.
async fn give_up(
    state: &StateDir,
    builds: &TaskTracker,
    serving: Serving,
    error: &CliError,
) -> Result<(), CliError> {
    builds.close();
    if !builds.is_empty() {
        wrenn_virtual_host::interrupt();
        builds.wait().await;
    }
    match serving {
        Serving::Nowhere => Ok(()),
        // It would end with this process, without stopping its services in order.
        Serving::Here(_) => stop(state).await,
        Serving::Started(_) if error.silent => stop(state).await,
        Serving::Found if error.silent => Ok(()),
        // A platform that never came up is undone by its supervisor, which then ends.
        Serving::Started(_) | Serving::Found => {
            let status = control::status(state).await.ok().flatten();
            if status.is_some_and(|status| status.settled) {
                Ok(())
            } else {
                wait_for_end(state).await
            }
        }
    }
}

fn joined<T>(done: Result<Result<T, CliError>, JoinError>) -> Result<T, CliError> {
    done.unwrap_or_else(|error| {
        Err(CliError::local(format_args!(
            "a thread of wrenn up: {error}"
        )))
    })
}
