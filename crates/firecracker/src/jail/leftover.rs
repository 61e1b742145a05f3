//! What remains of a jail, and where it goes when its guard is dropped.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::blocking;
use super::cgroup::Cgroup;
use super::error::JailError;
use super::mounts;

/// Takes what a guard could not release. It is called from `Drop`, so it must not block; the queue behind
/// it is the caller's: bounded, retrying [`Leftover::clean`], counted.
pub type Reaper = Arc<dyn Fn(Leftover) + Send + Sync>;

/// A jail to be taken down: its processes, mounts, directory and cgroup, as far as they exist.
#[derive(Clone, Debug)]
pub struct Leftover {
    cgroup: Cgroup,
    directory: PathBuf,
}

impl Leftover {
    pub(super) fn new(cgroup: Cgroup, directory: PathBuf) -> Self {
        Self { cgroup, directory }
    }

    /// Kills, waits, unmounts, deletes. What is gone already is success; call again after a failure.
    pub async fn clean(&mut self) -> Result<(), JailError> {
        self.cgroup.remove().await?;
        let directory = self.directory.clone();
        blocking(move || {
            mounts::remove_under(&directory)?;
            match std::fs::remove_dir_all(&directory) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    Err(JailError::file("delete", &directory, source))
                }
                _ => Ok(()),
            }
        })
        .await
    }
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "jail {}", self.directory.display())
    }
}

/// The inside of the guards: cleaned on release, reaped on drop.
pub(crate) struct Held {
    leftover: Option<Leftover>,
    reaper: Reaper,
}

impl Held {
    pub(super) fn new(leftover: Leftover, reaper: Reaper) -> Self {
        Self {
            leftover: Some(leftover),
            reaper,
        }
    }

    /// On an error, or when the future is dropped half-way, the jail goes to the reaper.
    pub(super) async fn release(mut self) -> Result<(), JailError> {
        if let Some(leftover) = &mut self.leftover {
            leftover.clean().await?;
        }
        self.leftover = None;
        Ok(())
    }

    /// Leaves the jail standing.
    pub(super) fn forget(mut self) {
        self.leftover = None;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(leftover) = self.leftover.take() {
            (self.reaper)(leftover);
        }
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Held").field(&self.leftover).finish()
    }
}
