//! Ctrl-C and SIGTERM as values to wait for.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::{Attempt, CliError, Exit};

/// The two signals that ask a command to end.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Listens from now on; the default action of both is off.
    pub(crate) fn listen() -> Result<Self, CliError> {
        let listen = |kind| signal(kind).attempt(|| "listen for signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    /// The next of them, as the exit code that it stands for.
    pub(crate) async fn next(&mut self) -> Exit {
        tokio::select! {
            _ = self.interrupt.recv() => Exit::Interrupted,
            _ = self.terminate.recv() => Exit::Terminated,
        }
    }
}
