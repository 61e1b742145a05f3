//! The loop that keeps the host known: a heartbeat every 30 s, new credentials daily and when refused.

use std::{sync::Arc, time::Duration};

use serde::Serialize;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{Identity, RefreshError};
use crate::{
    backoff::{Backoff, jittered},
    chain,
    contact::Contact,
};

/// Between two heartbeats, ± 10 %.
const PERIOD: Duration = Duration::from_secs(30);
/// Between two refreshes of the credentials.
const REFRESH_PERIOD: Duration = Duration::from_secs(24 * 3600);

/// What a heartbeat tells.
#[derive(Debug, Clone, Serialize)]
pub struct HeartbeatReport {
    /// Of this agent.
    pub agent_version: String,
    /// Changes when the host reboots.
    pub boot_id: String,
    /// The agent stops on purpose; its sandboxes run on.
    pub going_down: bool,
    /// Memory that a new process could get, in MiB.
    pub memory_free_mb: u64,
    /// Free space of the state directory, in GiB.
    pub disk_free_gb: u64,
    /// Sandboxes that run.
    pub sandboxes: u32,
}

/// The heartbeat loop of one identity.
#[derive(Debug)]
pub struct Heartbeats<R> {
    identity: Arc<Identity>,
    contact: watch::Sender<Contact>,
    report: R,
}

impl<R: Fn() -> HeartbeatReport> Heartbeats<R> {
    /// Heartbeats that carry what `report` says at that moment, and tell how each went.
    pub(crate) fn new(identity: Arc<Identity>, report: R) -> (Self, watch::Receiver<Contact>) {
        let (contact, told) = watch::channel(Contact::Held);
        let heartbeats = Self {
            identity,
            contact,
            report,
        };
        (heartbeats, told)
    }

    /// Runs until `cancel`; no error of the control plane ends it.
    pub async fn run(self, cancel: CancellationToken) {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        let mut refresh_at = Instant::now() + jittered(REFRESH_PERIOD);
        let mut answered = Instant::now();
        loop {
            let beat = async {
                if Instant::now() >= refresh_at {
                    self.refresh().await?;
                    refresh_at = Instant::now() + jittered(REFRESH_PERIOD);
                }
                self.beat().await
            };
            let beaten = tokio::select! {
                () = cancel.cancelled() => break,
                beaten = beat => beaten,
            };
            let wait = match beaten {
                Ok(()) => {
                    metrics::counter!("wrenn_agent_heartbeats_total", "result" => "ok")
                        .increment(1);
                    answered = Instant::now();
                    self.contact.send_replace(Contact::Held);
                    backoff.reset();
                    jittered(PERIOD)
                }
                Err(error) => {
                    metrics::counter!("wrenn_agent_heartbeats_total", "result" => "error")
                        .increment(1);
                    tracing::warn!(error = %chain(&error), "heartbeat failed");
                    self.contact.send_modify(|contact| {
                        *contact = match error.is_refusal() {
                            true => Contact::Refused,
                            false => contact.failed(answered),
                        };
                    });
                    backoff.next()
                }
            };
            tokio::select! {
                () = cancel.cancelled() => break,
                () = tokio::time::sleep(wait) => {}
            }
        }
        self.farewell().await;
    }

    /// One heartbeat; a refused credential is refreshed and the heartbeat tried once more.
    async fn beat(&self) -> Result<(), BeatError> {
        match self.send(false).await {
            Err(error) if error.is_unauthorised() => {
                self.refresh().await?;
                Ok(self.send(false).await?)
            }
            sent => Ok(sent?),
        }
    }

    async fn send(&self, going_down: bool) -> Result<(), super::AuthorityError> {
        let report = HeartbeatReport {
            going_down,
            ..(self.report)()
        };
        self.identity
            .authority
            .heartbeat(&self.identity.credentials(), &report)
            .await
    }

    async fn refresh(&self) -> Result<(), BeatError> {
        Ok(self.identity.refresh().await?)
    }

    /// Tells that the agent stops on purpose; best effort, its sandboxes run on whatever comes of it.
    async fn farewell(&self) {
        let sent = tokio::time::timeout(Duration::from_secs(2), self.send(true)).await;
        if !matches!(sent, Ok(Ok(()))) {
            tracing::info!("the control plane was not told that this agent stops");
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum BeatError {
    #[error("send a heartbeat")]
    Send(#[from] super::AuthorityError),
    #[error("refresh the credentials")]
    Refresh(#[from] RefreshError),
}

impl BeatError {
    /// Whether the control plane will never again know this host by what it has.
    fn is_refusal(&self) -> bool {
        match self {
            Self::Refresh(RefreshError::Authority(error)) => error.is_unauthorised(),
            _ => false,
        }
    }
}
