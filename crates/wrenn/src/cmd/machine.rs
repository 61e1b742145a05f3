//! `wrenn machine`: the virtual host alone.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use wrenn_virtual_host::VirtualHost;

use super::up::serving::follow;
use crate::{
    DONE, Outcome, block_on,
    context::Context,
    error::{Attempt, CliError, Exit},
    local::{
        control::{self, Connection, Request},
        machine,
        state::StateDir,
    },
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start the virtual host of a platform that runs
    Start(Place),
    /// Shut the virtual host down; its disk stays
    Stop(Place),
    /// Show whether it runs, and how
    Status(Place),
    /// Open a shell in it, or run a command
    Ssh(Ssh),
    /// Show its console
    Logs(Place),
    /// Delete it with its disk and every sandbox on it
    Rm(Place),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wrenn machine status\n  wrenn machine stop\n  wrenn machine start"
)]
pub(crate) struct Place {
    /// The state directory
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  wrenn machine ssh\n  wrenn machine ssh -- dmesg")]
pub(crate) struct Ssh {
    #[command(flatten)]
    place: Place,
    /// A command to run there
    #[arg(value_name = "CMD", last = true)]
    command: Vec<String>,
}

/// Runs `command`.
pub(crate) fn run(context: &Context, command: &Command) -> Outcome {
    match command {
        Command::Start(place) => ask(context, place, Request::MachineStart),
        Command::Stop(place) => {
            let state = state(place)?;
            if block_on(control::status(&state))?.is_some() {
                return ask(context, place, Request::MachineStop);
            }
            let stopped = machine::stop_left(&state)?;
            context.out.note(if stopped {
                "Stopped."
            } else {
                "It does not run."
            });
            Ok(DONE)
        }
        Command::Status(place) => status(context, place),
        Command::Ssh(arguments) => ssh(arguments),
        Command::Logs(place) => {
            let path = state(place)?.at("machine/console.log");
            context
                .out
                .bytes(&std::fs::read(&path).attempt(|| format!("read {}", path.display()))?)?;
            Ok(DONE)
        }
        Command::Rm(place) => rm(context, place),
    }
}

fn state(place: &Place) -> Result<StateDir, CliError> {
    StateDir::locate(place.state_dir.as_deref())
}

fn attach(state: &StateDir) -> Result<VirtualHost, CliError> {
    VirtualHost::attach(&state.at("machine"))
        .attempt(|| "look for the virtual host")?
        .ok_or_else(|| {
            CliError::new(
                Exit::Unavailable,
                "not_running",
                "the virtual host does not run",
            )
            .hint("start", "wrenn up")
        })
}

fn ask(context: &Context, place: &Place, request: Request) -> Outcome {
    let state = state(place)?;
    let progress = context.out.progress();
    block_on(async {
        let connection = Connection::ask(&state, request).await?.ok_or_else(|| {
            CliError::new(
                Exit::Unavailable,
                "not_running",
                "the platform does not run",
            )
            .hint("start", "wrenn up")
        })?;
        follow(connection, &progress).await
    })?;
    Ok(DONE)
}

fn status(context: &Context, place: &Place) -> Outcome {
    let host = attach(&state(place)?)?;
    if context.out.is_json() {
        context.out.json(&serde_json::json!({
            "pid": host.pid(),
            "agent_port": host.agent_port(),
            "ssh_port": host.ssh_port(),
            "cpus": machine::name(host.acceleration()),
        }))?;
    } else {
        context.out.pairs(&[
            ("process", host.pid().to_string()),
            ("cpus run", machine::name(host.acceleration()).to_owned()),
            ("agent", format!("127.0.0.1:{}", host.agent_port())),
            ("ssh", format!("127.0.0.1:{}", host.ssh_port())),
        ])?;
    }
    Ok(DONE)
}

fn ssh(arguments: &Ssh) -> Outcome {
    let host = attach(&state(&arguments.place)?)?;
    let status = host
        .ssh_command()
        .args(&arguments.command)
        .status()
        .attempt(|| "run ssh")?;
    Ok(Exit::Code(
        status
            .code()
            .and_then(|code| u8::try_from(code).ok())
            .unwrap_or(255),
    ))
}

fn rm(context: &Context, place: &Place) -> Outcome {
    let state = state(place)?;
    let dir: &Path = &state.at("machine");
    if block_on(control::status(&state))?.is_some() {
        return Err(
            CliError::new(Exit::Conflict, "running", "the platform runs")
                .hint("first", "wrenn down"),
        );
    }
    if !dir.exists() {
        context.out.note("There is no virtual host.");
        return Ok(DONE);
    }
    if !context.global.yes {
        if !context.out.may_ask() {
            return Err(CliError::usage(format_args!(
                "this deletes {} with every sandbox in it and needs --yes",
                dir.display()
            )));
        }
        if context.out.ask(&format!(
            "Delete {} with every sandbox in it? [y/N]",
            dir.display()
        ))? != "y"
        {
            return Err(CliError::new(
                Exit::Failure,
                "declined",
                "nothing was deleted",
            ));
        }
    }
    machine::stop_left(&state)?;
    std::fs::remove_dir_all(dir).attempt(|| format!("delete {}", dir.display()))?;
    Ok(DONE)
}
