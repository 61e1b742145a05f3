//! `wrenn supervise`: the process behind `wrenn up`, started by it and not by people.

use std::path::PathBuf;

use clap::Args;

use crate::{
    DONE, Outcome, block_on,
    context::Context,
    local::{state::StateDir, supervisor},
    telemetry,
};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The state directory
    #[arg(long, value_name = "DIR")]
    state_dir: PathBuf,
}

/// Serves until it is told to end.
pub(crate) fn run(_context: &Context, arguments: &Arguments) -> Outcome {
    // A session of its own: closing the terminal of `wrenn up` does not reach it.
    let _ = rustix::process::setsid();
    telemetry::start()?;
    let state = StateDir::locate(Some(&arguments.state_dir))?;
    let settings = state.settings()?.unwrap_or_default();
    // Held until the process is gone: whoever waits for the lock finds nothing of it left.
    std::mem::forget(supervisor::lock(&state)?);
    block_on(supervisor::serve(state, settings))?;
    Ok(DONE)
}
