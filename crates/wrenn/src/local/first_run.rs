//! What the first `wrenn up` has to tell once: credentials, kept until they were shown, and the first sandbox's
//! times.
//!
//! The credentials exist in clear only in this file (0600) between their making and their showing, so that an
//! `up` which was killed in between loses nothing.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::state::StateDir;
use crate::{
    config::write_private,
    error::{Attempt, CliError},
};

/// Milliseconds of the first sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Times {
    pub(crate) create: u64,
    pub(crate) exec: u64,
    pub(crate) destroy: u64,
}

/// Credentials that were made and not shown yet.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Credentials {
    pub(crate) admin_email: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) admin_password: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) api_key: Option<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("admin_email", &self.admin_email)
            .finish_non_exhaustive()
    }
}

/// The record, `first-run.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FirstRun {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) credentials: Option<Credentials>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) times: Option<Times>,
}

impl FirstRun {
    fn path(state: &StateDir) -> PathBuf {
        state.at("first-run.json")
    }

    /// The record; empty before the first run got that far.
    pub(crate) fn load(state: &StateDir) -> Result<Self, CliError> {
        let path = Self::path(state);
        match std::fs::read(&path) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).attempt(|| format!("read {}", path.display()))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(CliError::local(format_args!(
                "read {}: {error}",
                path.display()
            ))),
        }
    }

    /// Replaces the record.
    pub(crate) fn store(&self, state: &StateDir) -> Result<(), CliError> {
        let json = serde_json::to_vec(self).attempt(|| "write the first run's record")?;
        write_private(&Self::path(state), &json)
    }
}
