//! `envd`, the agent inside a Wrenn guest.
//!
//! One binary with two names: called as `wrenn-init` it is the first process of the guest and brings the
//! machine up (`init`); else it is the agent that serves processes and files on port 49983 (`agent`).
//! It links no C library at run time, starts no helper program to do its own work and trusts neither its
//! callers nor the programs beside it.
//!
//! It is a library so that its parsers can be fuzzed; the product is the binary.

mod agent;
mod console;
mod filesystem;
mod flags;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod guest;
mod http;
mod init;
mod paths;
mod ports;
mod process;
mod reason;
mod sandbox;
mod secret;
mod server;
mod standstill;
#[cfg(test)]
mod trial;
mod users;

use std::{ffi::OsString, io::Write as _, path::Path, process::ExitCode};

use crate::flags::{Command, USAGE};

/// Does what the command line asks for, the program's name included; serving ends with the process.
pub fn run(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let name = arguments.next().unwrap_or_default();
    if Path::new(&name)
        .file_name()
        .is_some_and(|name| name == "wrenn-init")
    {
        return init::run();
    }
    let written = match flags::parse(arguments) {
        Ok(Command::Serve(settings)) => return agent::run(settings),
        Ok(Command::Version) => {
            writeln!(std::io::stdout(), "envd {}", env!("CARGO_PKG_VERSION")).map(|()| true)
        }
        Err(fault) => writeln!(std::io::stderr(), "envd: {fault}\n{USAGE}").map(|()| false),
    };
    match written {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) | Err(_) => ExitCode::from(2),
    }
}
