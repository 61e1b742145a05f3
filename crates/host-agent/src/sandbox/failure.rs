//! Why a change failed; of a creation, in the form that is recorded and answered again to a repeated
//! operation.

use serde::{Deserialize, Serialize};

/// Kinds of failure, as callers tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The template is not on this host.
    TemplateMissing,
    /// This host cannot hold it.
    NoCapacity,
    /// The request does not fit the template.
    BadRequest,
    /// The guest did not come up.
    BootFailed,
    /// The guest does not answer.
    GuestUnreachable,
    /// A file of the snapshot is not what was written.
    SnapshotDamaged,
    /// The host has no room for what is to be written.
    HostDiskFull,
    /// A destroy overtook it.
    Superseded,
    /// The agent is stopping.
    Stopping,
    /// Something of the host failed; the log says what.
    Internal,
}

/// A failed change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Its kind.
    pub kind: FailureKind,
    /// For people: no host path, address or cause.
    pub message: String,
}

impl Failure {
    /// A failure of this kind.
    pub(crate) fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }
}
