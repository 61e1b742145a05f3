//! What is remembered of sandboxes that are gone: the highest generation, and the last operation with its
//! result, so that a late or repeated request is answered rightly. Kept for a day.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use wrenn_ids::SandboxId;

use super::Failure;
use crate::durable;

/// How long a gone sandbox is remembered: longer than any operation is retried.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// What is remembered of one sandbox.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Tombstone {
    /// Highest generation seen.
    pub(crate) generation: u64,
    /// The operation that ended it; `None` when it ended by itself.
    pub(crate) op_id: Option<String>,
    /// Why its creation failed, if that is how it ended.
    pub(crate) failure: Option<Failure>,
}

/// The tombstones of one host.
#[derive(Debug, Clone)]
pub(crate) struct Graveyard {
    directory: PathBuf,
}

impl Graveyard {
    /// Tombstones under `state_dir`.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub(crate) fn open(state_dir: &Path) -> std::io::Result<Self> {
        let directory = state_dir.join("gone");
        fs::create_dir_all(&directory)?;
        Ok(Self { directory })
    }

    pub(crate) fn find(&self, id: SandboxId) -> Result<Option<Tombstone>, durable::Error> {
        durable::read_json(&self.path(id))
    }

    pub(crate) fn bury(&self, id: SandboxId, tombstone: &Tombstone) -> Result<(), durable::Error> {
        durable::write_json(&self.path(id), tombstone)
    }

    /// Forgets one at once.
    pub(crate) fn forget(&self, id: SandboxId) {
        if let Err(error) = durable::remove(&self.path(id)) {
            tracing::warn!(sandbox_id = %id, error = %crate::chain(&error), "a tombstone stays");
        }
    }

    /// Forgets those that are old enough; called at start and hourly.
    pub(crate) fn forget_old(&self) {
        let Ok(entries) = fs::read_dir(&self.directory) else {
            return;
        };
        for entry in entries.flatten() {
            let written = entry.metadata().and_then(|metadata| metadata.modified());
            let age = written
                .ok()
                .and_then(|at| SystemTime::now().duration_since(at).ok());
            if age.is_some_and(|age| age > KEPT)
                && let Err(error) = durable::remove(&entry.path())
            {
                tracing::warn!(error = %crate::chain(&error), "an old tombstone stays");
            }
        }
    }

    fn path(&self, id: SandboxId) -> PathBuf {
        self.directory.join(format!("{id}.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_buried_is_found_and_forgotten_after_a_day() {
        let directory = tempfile::tempdir().unwrap();
        let graveyard = Graveyard::open(directory.path()).unwrap();
        let id = SandboxId::new();
        assert!(graveyard.find(id).unwrap().is_none());
        graveyard
            .bury(
                id,
                &Tombstone {
                    generation: 3,
                    op_id: None,
                    failure: None,
                },
            )
            .unwrap();
        graveyard.forget_old();
        assert_eq!(graveyard.find(id).unwrap().unwrap().generation, 3);
        let old = SystemTime::now() - KEPT - Duration::from_secs(60);
        fs::File::open(graveyard.path(id))
            .unwrap()
            .set_modified(old)
            .unwrap();
        graveyard.forget_old();
        assert!(graveyard.find(id).unwrap().is_none());
    }
}
