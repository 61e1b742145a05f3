//! The EBUSY rule, and the way from async code to blocking ioctls.

use std::time::Duration;

use crate::{Error, Result};

/// Tries of a removal that meets EBUSY, and the pauses between them.
const PAUSES_MS: [u64; 4] = [20, 40, 80, 160];

/// Runs a blocking device operation off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Error::ShuttingDown)?
}

/// Runs `remove` up to five times while it meets EBUSY, 20 ms doubling between tries (udev or a dying
/// process may hold the device for a moment). Any other error returns at once.
pub(crate) async fn while_busy(
    remove: impl Fn() -> Result<()> + Clone + Send + 'static,
) -> Result<()> {
    for pause in PAUSES_MS {
        match blocking(remove.clone()).await {
            Err(error) if error.is_busy() => tokio::time::sleep(Duration::from_millis(pause)).await,
            other => return other,
        }
    }
    blocking(remove).await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use rustix::io::Errno;

    use super::*;

    async fn check(errno: Errno, failures: u32, expected_tries: u32, expected_ok: bool) {
        let tries = Arc::new(AtomicU32::new(0));
        let seen = tries.clone();
        let outcome = while_busy(move || {
            if seen.fetch_add(1, Ordering::Relaxed) < failures {
                return Err(Error::Loop {
                    action: "detach",
                    number: 0,
                    source: errno,
                });
            }
            Ok(())
        })
        .await;
        assert_eq!(
            (tries.load(Ordering::Relaxed), outcome.is_ok()),
            (expected_tries, expected_ok)
        );
    }

    #[tokio::test]
    async fn a_busy_device_is_tried_five_times_and_any_other_error_once() {
        check(Errno::BUSY, 0, 1, true).await;
        check(Errno::BUSY, 4, 5, true).await;
        check(Errno::BUSY, 5, 5, false).await;
        check(Errno::INVAL, 1, 1, false).await;
    }
}
