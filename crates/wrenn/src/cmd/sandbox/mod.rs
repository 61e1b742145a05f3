//! `wrenn sandbox`: sandboxes, one module a verb.

pub(crate) mod cp;
pub(crate) mod create;
pub(crate) mod exec;
mod fork;
pub(crate) mod get;
pub(crate) mod ls;
pub(crate) mod pause;
mod ping;
pub(crate) mod resume;
pub(crate) mod rm;
mod selection;

use clap::Subcommand;

use crate::{Outcome, block_on, context::Context, interruptible};

/// What can be done with sandboxes.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a sandbox and wait until it runs
    Create(create::Arguments),
    /// List sandboxes, newest first
    Ls(ls::Arguments),
    /// Show everything about a sandbox
    Get(get::Arguments),
    /// Run a command in a sandbox
    Exec(exec::Arguments),
    /// Copy a file into or out of a sandbox
    Cp(cp::Arguments),
    /// Pause sandboxes: memory and disk are kept, nothing runs
    Pause(pause::Arguments),
    /// Resume paused sandboxes and wait until they run
    Resume(resume::Arguments),
    /// Make sandboxes from one as it is: memory, programs and files
    Fork(fork::Arguments),
    /// Destroy sandboxes
    Rm(rm::Arguments),
    /// Reset the idle timer of sandboxes
    Ping(ping::Arguments),
}

/// Runs `command`.
pub(crate) fn run(context: &Context, command: Command) -> Outcome {
    match command {
        Command::Create(arguments) => interruptible(create::run(context, arguments)),
        Command::Ls(arguments) => interruptible(ls::run(context, arguments)),
        Command::Get(arguments) => interruptible(get::run(context, arguments)),
        Command::Exec(arguments) => block_on(exec::run(context, arguments)),
        Command::Cp(arguments) => interruptible(cp::run(context, arguments)),
        Command::Pause(arguments) => interruptible(pause::run(context, arguments)),
        Command::Resume(arguments) => interruptible(resume::run(context, arguments)),
        Command::Fork(arguments) => interruptible(fork::run(context, arguments)),
        Command::Rm(arguments) => interruptible(rm::run(context, arguments)),
        Command::Ping(arguments) => interruptible(ping::run(context, arguments)),
    }
}

/// Reads `KEY=VALUE`.
pub(crate) fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
    if key.is_empty() {
        return Err("the key is empty".to_owned());
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// Reads `KEY=VALUE`, or `KEY` to copy the value from this environment.
pub(crate) fn environment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some(("", _)) => Err("the name is empty".to_owned()),
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
        None => std::env::var(text)
            .map(|value| (text.to_owned(), value))
            .map_err(|_| format!("{text} is not set here, so there is nothing to copy")),
    }
}
