//! Health of a control-plane replica.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Answer of `/healthz` while the process serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// Always `ok`.
    pub status: String,
    /// Version of the server.
    pub version: String,
}

closed_set! {
    /// Whether one thing that requests need is usable.
    pub enum Check {
        /// Usable.
        Ok = "ok",
        /// Not usable.
        Failed = "failed",
    }
}

/// Answer of `/readyz`; with status 503 when a check failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Readiness {
    /// What was checked.
    pub checks: Checks,
}

/// What a replica needs to serve requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Checks {
    /// PostgreSQL answers.
    pub database: Check,
    /// Redis answers.
    pub redis: Check,
    /// The schema is the one this version needs.
    pub migrations: Check,
}

impl Checks {
    /// Whether every check passed.
    #[must_use]
    pub fn all_ok(&self) -> bool {
        [self.database, self.redis, self.migrations]
            .iter()
            .all(|check| *check == Check::Ok)
    }
}
