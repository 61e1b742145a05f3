//! Waiting for a booting guest: `GET /health` until it answers.

use std::{future::Future, time::Duration};

use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use tokio::time::{Instant, sleep, timeout};
use wrenn_rpc::connectrpc::client::full_body;

use super::{Envd, Error};

/// Between two questions: from the first to the last, doubling.
const FIRST_WAIT: Duration = Duration::from_millis(10);
const LAST_WAIT: Duration = Duration::from_millis(100);
/// How long one question may take: a packet sent before the guest has a network is lost, and asking again
/// is quicker than waiting for its retransmission.
const ONE_ANSWER: Duration = Duration::from_millis(500);

/// Why the wait ended without an answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Unhealthy<D> {
    /// The VM ended.
    Died(D),
    /// The time is up.
    Late(Duration),
}

impl Envd {
    /// Asks until envd answers; ends at once when `death` does. Returns the envd version it names.
    ///
    /// # Errors
    /// When the VM dies or the time is up.
    pub async fn wait_healthy<D>(
        &self,
        limit: Duration,
        death: impl Future<Output = D>,
    ) -> Result<String, Unhealthy<D>> {
        let limit = self.inner.pace.stretch(limit);
        let end = Instant::now() + limit;
        let answer = async {
            let mut wait = FIRST_WAIT;
            loop {
                let one = self.inner.pace.stretch(ONE_ANSWER);
                if let Ok(Ok(version)) = timeout(one, self.health()).await {
                    return version;
                }
                sleep(wait).await;
                wait = (wait * 2).min(LAST_WAIT);
            }
        };
        tokio::select! {
            biased;
            died = death => Err(Unhealthy::Died(died)),
            version = answer => Ok(version),
            () = tokio::time::sleep_until(end) => Err(Unhealthy::Late(limit)),
        }
    }

    async fn health(&self) -> Result<String, Error> {
        let request = Request::get(self.uri("/health"))
            .body(full_body(bytes::Bytes::new()))
            .map_err(|_| Error::BadHeader)?;
        let answer = self.send(request).await?;
        if answer.status() != StatusCode::NO_CONTENT {
            return Err(Error::Protocol("a health status that is not 204"));
        }
        let version = answer
            .headers()
            .get("x-wrenn-version")
            .and_then(|value| value.to_str().ok());
        let version = version.map(printable).unwrap_or_default();
        let _ = answer.into_body().frame().await;
        Ok(version)
    }
}

/// At most 64 harmless characters of a text of the guest.
fn printable(text: &str) -> String {
    text.chars()
        .filter(|c| c.is_ascii_alphanumeric() || ".-+_".contains(*c))
        .take(64)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_of_the_guest_is_harmless_text() {
        assert_eq!(printable("0.1.0-rc.1+b2"), "0.1.0-rc.1+b2");
        assert_eq!(printable("1\u{1b}[31m<script>"), "131mscript");
        assert_eq!(printable(&"9".repeat(200)).len(), 64);
    }
}
