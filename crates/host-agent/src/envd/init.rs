//! `POST /init`: what a guest is told after each boot and restore (guest.md §9).

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use serde::Serialize;
use tokio::time::{Instant, sleep, timeout};
use wrenn_rpc::connectrpc::client::full_body;

use super::{Envd, Error, Reason};
use crate::identity::Token;

/// How long the whole exchange may take, repeats included.
const LIMIT: Duration = Duration::from_secs(10);

/// What the guest is told.
#[derive(Debug)]
pub struct Init<'a> {
    /// Authenticates the host; the guest knows its hash from MMDS.
    pub host_key: &'a Token,
    /// New for every boot.
    pub generation_id: &'a str,
    /// What callers must show from now on.
    pub access_token: &'a Token,
    /// Variables of the sandbox; absent, it keeps those that it has.
    pub env: Option<&'a BTreeMap<String, String>>,
    /// User of requests that name none.
    pub default_user: &'a str,
    /// Host name.
    pub hostname: &'a str,
    /// PEM roots to trust in addition.
    pub ca_bundle: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    generation_id: &'a str,
    timestamp: String,
    access_token: &'a str,
    entropy: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    env_vars: Option<&'a BTreeMap<String, String>>,
    default_user: &'a str,
    hostname: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ca_bundle: Option<&'a str>,
}

impl Envd {
    /// Initialises the guest. Safe to repeat, and repeated here while the guest cannot be reached or is not
    /// ready, as one whose metadata service is slow.
    ///
    /// # Errors
    /// When the guest refuses or stays unreachable.
    pub async fn init(&self, init: &Init<'_>) -> Result<(), Error> {
        let limit = self.inner.pace.stretch(LIMIT);
        let end = Instant::now() + limit;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match timeout(left, self.init_once(init)).await {
                Err(_) => return Err(Error::Deadline(limit)),
                Ok(Err(Error::Unreachable(error))) => {
                    tracing::debug!(%error, "the guest was not reached for /init, asking again");
                    sleep(Duration::from_millis(50)).await;
                }
                Ok(answer) => return answer,
            }
        }
    }

    async fn init_once(&self, init: &Init<'_>) -> Result<(), Error> {
        let mut entropy = [0u8; 64];
        getrandom::fill(&mut entropy).map_err(|error| Error::Unreachable(error.into()))?;
        let body = Body {
            generation_id: init.generation_id,
            timestamp: jiff::Timestamp::now().to_string(),
            access_token: init.access_token.expose(),
            entropy: STANDARD.encode(entropy),
            env_vars: init.env,
            default_user: init.default_user,
            hostname: init.hostname,
            ca_bundle: init.ca_bundle,
        };
        let body = serde_json::to_vec(&body).map_err(|error| Error::Unreachable(error.into()))?;
        let mut key =
            HeaderValue::from_str(init.host_key.expose()).map_err(|_| Error::BadHeader)?;
        key.set_sensitive(true);
        let request = Request::post(self.uri("/init"))
            .header("x-wrenn-host-key", key)
            .header(header::CONTENT_TYPE, "application/json")
            .body(full_body(Bytes::from(body)))
            .map_err(|_| Error::BadHeader)?;
        let answer = self.send(request).await?;
        let (status, reason) = (
            answer.status(),
            Reason::of_status(answer.status(), answer.headers()),
        );
        let _ = answer.into_body().frame().await;
        if status == StatusCode::NO_CONTENT {
            return Ok(());
        }
        tracing::warn!(%status, "the guest refused /init");
        if status == StatusCode::SERVICE_UNAVAILABLE {
            return Err(Error::Unreachable(
                "the guest is not ready for /init".into(),
            ));
        }
        Err(Error::Refused(reason))
    }
}
