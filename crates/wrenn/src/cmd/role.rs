//! How a server role lives: logs, a runtime of all processors, and an end that is asked for by a signal.

use tokio_util::sync::CancellationToken;

use crate::{
    error::{Attempt, CliError},
    signals::Signals,
    telemetry,
};

/// Runs `role` until it ends by itself. At SIGTERM or Ctrl-C its token is cancelled, and it drains.
pub(super) fn serve(
    role: impl AsyncFnOnce(CancellationToken) -> Result<(), CliError>,
) -> Result<(), CliError> {
    telemetry::start()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .attempt(|| "start the runtime")?;
    runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let shutdown = CancellationToken::new();
        let serving = role(shutdown.clone());
        tokio::pin!(serving);
        tokio::select! {
            result = &mut serving => result,
            _ = signals.next() => {
                shutdown.cancel();
                serving.await
            }
        }
    })
}
