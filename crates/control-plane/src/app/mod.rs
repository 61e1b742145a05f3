//! Decisions: what a request is allowed to bring about, and in which order.
//!
//! Functions here take authority as values that only the extractors of `http/` can make, and never see a
//! request, a header or a connection. Work that must outlive its caller is a row first.

pub(crate) mod admission;
mod error;
pub(crate) mod exec;
pub(crate) mod files;
pub(crate) mod fork;
pub(crate) mod host;
pub(crate) mod idempotency;
pub(crate) mod pause;
pub(crate) mod policy;
pub(crate) mod processes;
pub(crate) mod sandbox;
pub(crate) mod scheduler;
pub(crate) mod snapshot;
pub(crate) mod wake;

pub(crate) use error::{Error, Result};
use wrenn_database::KeyActor;
use wrenn_ids::TeamId;

/// Somebody who acts for a team. Only a proven credential makes one.
#[derive(Debug, Clone)]
pub(crate) struct TeamActor {
    pub(crate) key: KeyActor,
    /// SHA-256 of the credential, to prove it again on long streams.
    pub(crate) proof: [u8; 32],
}

impl TeamActor {
    pub(crate) fn team(&self) -> TeamId {
        self.key.team_id
    }
}
