//! The `wrenn` binary: client of the API, server roles, and the launcher of a whole platform on one machine.
//!
//! One module a noun under `cmd`; `client` speaks the API, `local` is everything that touches this machine,
//! `out` is the only place that prints. This file parses the command line and turns a result into an exit code.

mod args;
mod client;
mod cmd;
mod config;
mod context;
mod error;
mod local;
mod out;
mod process;
mod signals;
mod telemetry;
mod units;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser};

use crate::{
    args::{Arguments, PageServerArguments},
    context::Context,
    error::{CliError, Exit},
};

fn main() -> ExitCode {
    let arguments = match parse() {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    let context = Context::new(arguments.global);
    match cmd::run(&context, arguments.command) {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(error) => {
            context.out.error(&error);
            ExitCode::from(error.exit.code())
        }
    }
}

fn parse() -> Result<Arguments, ExitCode> {
    let first = std::env::args_os().nth(1);
    let is_first = |word: &str| first.as_ref().is_some_and(|first| first == word);
    if is_first("page-server")
        && let Ok(arguments) = PageServerArguments::try_parse()
    {
        return Ok(arguments.into());
    }
    let command = Arguments::command();
    let parsed = if is_first("--version") {
        command.try_get_matches_from(
            ["wrenn", "version"]
                .map(Into::into)
                .into_iter()
                .chain(std::env::args_os().skip(2)),
        )
    } else {
        command.try_get_matches()
    };
    parsed
        .and_then(|matches| Arguments::from_arg_matches(&matches))
        .map_err(|error| {
            // A closed pipe loses nothing that anybody reads.
            let _ = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
        })
}

/// A runtime for a command that talks to a server or waits for processes.
///
/// Shut down without waiting, so that a read of stdin which nobody will answer does not hold the process.
fn block_on<T>(work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::local(format_args!("start the runtime: {error}")))?;
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    result
}

/// A command that stops at Ctrl-C and SIGTERM: `work` is dropped where it stands.
fn interruptible<T>(work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    block_on(async {
        let mut signals = signals::Signals::listen()?;
        tokio::select! {
            result = work => result,
            exit = signals.next() => Err(CliError::silent(exit)),
        }
    })
}

/// What a command that worked ends with.
type Outcome = Result<Exit, CliError>;

/// The exit of a command that did what it was asked.
const DONE: Exit = Exit::Code(0);
