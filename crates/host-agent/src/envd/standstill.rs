//! Holding a guest still for its snapshot (guest.md §9).

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::BodyExt as _;
use tokio::time::timeout;
use wrenn_rpc::connectrpc::client::full_body;

use super::{Envd, Error, Reason};
use crate::identity::Token;

/// What a guest may take beyond the time that it is given for its processes (guest.md §9: 3 s).
const OVERHEAD: Duration = Duration::from_secs(5);

impl Envd {
    /// Freezes the guest's processes, waiting up to `patience` for those that do not stop at once, writes back
    /// what is dirty and lets nobody but the host in.
    ///
    /// # Errors
    /// When it was not done; the guest has undone what it had begun, or does so by itself within a minute.
    pub async fn prepare_snapshot(
        &self,
        host_key: &Token,
        patience: Duration,
    ) -> Result<(), Error> {
        let body = format!(r#"{{"mode":"full","maxWaitMs":{}}}"#, patience.as_millis());
        self.host_call(host_key, "/snapshot/prepare", body, patience + OVERHEAD)
            .await
    }

    /// Lets the guest go on after a snapshot that it survives. Safe to repeat.
    ///
    /// # Errors
    /// When it did not answer; it goes on by itself within a minute.
    pub async fn unfreeze(&self, host_key: &Token) -> Result<(), Error> {
        self.host_call(host_key, "/unfreeze", String::new(), OVERHEAD)
            .await
    }

    async fn host_call(
        &self,
        host_key: &Token,
        path: &str,
        body: String,
        limit: Duration,
    ) -> Result<(), Error> {
        let mut key = HeaderValue::from_str(host_key.expose()).map_err(|_| Error::BadHeader)?;
        key.set_sensitive(true);
        let request = Request::post(self.uri(path))
            .header("x-wrenn-host-key", key)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(full_body(Bytes::from(body)))
            .map_err(|_| Error::BadHeader)?;
        let limit = self.inner.pace.stretch(limit);
        let exchange = async {
            let answer = self.send(request).await?;
            let (status, reason) = (
                answer.status(),
                Reason::of_status(answer.status(), answer.headers()),
            );
            let _ = answer.into_body().frame().await;
            match status {
                StatusCode::OK | StatusCode::NO_CONTENT => Ok(()),
                _ => Err(Error::Refused(reason)),
            }
        };
        timeout(limit, exchange)
            .await
            .unwrap_or(Err(Error::Deadline(limit)))
    }
}
