//! How a sandbox is started, step by step: by a boot or from a snapshot. Each step has a deadline, can be
//! overtaken by a destroy, and has its time recorded; after it stands a failpoint `<kind>.after.<step>`.

use std::{future::Future, time::Duration};

use tokio::{
    sync::{AcquireError, SemaphorePermit},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{BadSpec, Failure, FailureKind, Host, pages, seed, snapshot, stack::Undo};
use crate::{envd, failpoint::Armed, telemetry, templates};

/// Longest time for a step of the host, before stretching.
pub(crate) const HOST_STEP: Duration = Duration::from_secs(20);

/// Why a creation or a resumption ended; its text is for the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("keep the sandbox's record")]
    Record(#[from] crate::durable::Error),
    #[error("make the sandbox's directory")]
    Directory(#[source] std::io::Error),
    #[error("find the images")]
    Images(#[from] templates::Error),
    #[error("{0}")]
    Refused(Failure),
    #[error("check the request")]
    Spec(#[source] BadSpec),
    #[error("network")]
    Network(#[from] wrenn_network::Error),
    #[error("disk")]
    Disk(#[from] wrenn_block::Error),
    #[error("snapshot")]
    Snapshot(#[from] snapshot::Error),
    #[error("copy the template")]
    Copy(#[from] seed::Error),
    #[error("start the page server")]
    Pages(#[from] pages::Error),
    #[error("jail")]
    Jail(#[from] wrenn_firecracker::JailError),
    #[error("configure the VM")]
    Configure(#[from] wrenn_firecracker::ApiError),
    #[error("start the VM")]
    Start(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the guest did not come up: {how}; its console ends with: {console}")]
    Boot { how: String, console: String },
    #[error("initialise the guest")]
    Init(#[source] envd::Error),
    #[error("make keys")]
    Random(#[source] getrandom::Error),
    #[error("step {step}: not done after {after:?}")]
    Late { step: &'static str, after: Duration },
    #[error("overtaken by a destroy")]
    Superseded,
    #[error("the agent is stopping")]
    Stopping,
    #[error("failpoint {0}")]
    Failpoint(String, Undo),
}

impl StartError {
    /// What the caller is told.
    pub(crate) fn failure(&self) -> Failure {
        let (kind, message) = match self {
            Self::Refused(failure) => return failure.clone(),
            Self::Images(templates::Error::Missing(id)) => {
                let message = format!("template {id} is not on this host");
                return Failure::new(FailureKind::TemplateMissing, message);
            }
            Self::Copy(error) if error.is_gone() => (
                FailureKind::TemplateMissing,
                "the template was deleted meanwhile",
            ),
            Self::Boot { .. } => (FailureKind::BootFailed, "the sandbox did not boot"),
            Self::Init(_) => (
                FailureKind::BootFailed,
                "the sandbox did not accept its settings",
            ),
            Self::Superseded => (FailureKind::Superseded, "the sandbox was destroyed"),
            Self::Stopping => (FailureKind::Stopping, "the host agent is stopping"),
            Self::Snapshot(error) if error.is_damage() => (
                FailureKind::SnapshotDamaged,
                "a file of the sandbox's snapshot is damaged",
            ),
            _ => (
                FailureKind::Internal,
                "the host could not start the sandbox",
            ),
        };
        Failure::new(kind, message)
    }

    /// How often the undo shall run.
    pub(crate) fn undo(&self) -> Undo {
        match self {
            Self::Failpoint(_, undo) => *undo,
            _ => Undo::Once,
        }
    }
}

/// What a start holds while it runs; none while the agent stops.
type Permit<'a> = Result<SemaphorePermit<'a>, AcquireError>;

/// The steps of one start.
#[derive(Debug)]
pub(crate) struct Steps<'a> {
    pub(crate) host: &'a Host,
    /// `create` or `resume`.
    pub(crate) kind: &'static str,
    /// Ends it at its present step.
    pub(crate) superseded: CancellationToken,
}

impl Steps<'_> {
    /// A step that the host alone takes.
    pub(crate) async fn host_step<T>(
        &self,
        name: &'static str,
        work: impl Future<Output = Result<T, StartError>>,
    ) -> Result<T, StartError> {
        self.step(name, Some(self.host.pace.stretch(HOST_STEP)), work)
            .await
    }

    /// Waits until a start does not slow others down.
    pub(crate) async fn permit(&self) -> Result<Permit<'_>, StartError> {
        let permit = async { Ok(self.host.boots.acquire().await) };
        self.step("permit", None, permit).await
    }

    /// Runs one step, unless the start is overtaken; its time goes to log and histogram.
    pub(crate) async fn step<T>(
        &self,
        name: &'static str,
        limit: Option<Duration>,
        work: impl Future<Output = Result<T, StartError>>,
    ) -> Result<T, StartError> {
        let begun = Instant::now();
        let limited = async {
            match limit {
                None => work.await,
                Some(after) => timeout(after, work)
                    .await
                    .unwrap_or(Err(StartError::Late { step: name, after })),
            }
        };
        let done = tokio::select! {
            biased;
            () = self.superseded.cancelled() => Err(StartError::Superseded),
            () = self.host.stopping.cancelled() => Err(StartError::Stopping),
            done = limited => done,
        };
        telemetry::step(self.kind, name, begun.elapsed());
        done
    }

    /// The failpoint after a step.
    pub(crate) fn passed(&self, step: &str) -> Result<(), StartError> {
        let name = format!("{}.after.{step}", self.kind);
        match self.host.failpoints.reached(&name) {
            None => Ok(()),
            Some(Armed::Fail | Armed::Errno(_)) => Err(StartError::Failpoint(name, Undo::Once)),
            Some(Armed::FailTwice) => Err(StartError::Failpoint(name, Undo::Twice)),
        }
    }
}
