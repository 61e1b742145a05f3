//! `wrenn page-server`: serves the memory of one restored VM. The host agent starts it; it ends with the VM.

use std::path::PathBuf;

use clap::Args;
use wrenn_memory::page_server::{self, Options};

use crate::{DONE, Outcome, error::Attempt};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Directory of the snapshot's memory
    #[arg(long, value_name = "DIRECTORY")]
    snapshot: PathBuf,
    /// Where the VM connects
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    /// Who may connect, as UID:GID
    #[arg(long, value_name = "UID:GID", value_parser = owner)]
    owner: Option<(u32, u32)>,
    /// Working set to bring ahead of the guest
    #[arg(long, value_name = "FILE")]
    prefetch: Option<PathBuf>,
    /// Where the working set is recorded
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Where counters are kept
    #[arg(long, value_name = "FILE")]
    stats: Option<PathBuf>,
}

/// Serves until the VM ends. One thread, and next to no system calls: nothing else may run in this process.
pub(crate) fn run(arguments: Arguments) -> Outcome {
    let options = Options {
        snapshot: arguments.snapshot,
        socket: arguments.socket,
        owner: arguments.owner,
        prefetch: arguments.prefetch,
        record: arguments.record,
        stats: arguments.stats,
    };
    page_server::run(&options).attempt(|| "serve the memory of a VM")?;
    Ok(DONE)
}

fn owner(text: &str) -> Result<(u32, u32), &'static str> {
    let parsed = text
        .split_once(':')
        .and_then(|(user, group)| Some((user.parse().ok()?, group.parse().ok()?)));
    parsed.ok_or("must be two numbers with ':' between them")
}
