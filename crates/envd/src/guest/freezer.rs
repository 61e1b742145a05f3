//! Stops and continues the processes of the guest, by the freezer of their cgroups.
//!
//! Freezing a group freezes all below it and leaves the switches of those as they are: what the guest froze
//! itself, this envd's own groups included, stays frozen when the rest goes on.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Serialize;
use tokio::{
    io::Interest,
    time::{Instant, timeout},
};

use crate::process::watched;

/// More groups are frozen like the others and not counted.
const MAX_COUNTED: usize = 4096;

/// How many groups a freeze reached, `user`, `pty` and all below them, and how long it took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Frozen {
    requested: usize,
    frozen: usize,
    not_frozen: usize,
    /// The kernel refused to freeze them.
    failed: usize,
    /// Whether they are frozen cannot be seen.
    unobservable: usize,
    wait_ms: u64,
}

/// The groups that hold the guest's processes.
#[derive(Debug)]
pub(crate) struct Freezer {
    groups: Vec<Group>,
}

#[derive(Debug)]
struct Group {
    path: PathBuf,
    /// This envd has frozen it, and not the guest.
    ours: Mutex<bool>,
}

impl Freezer {
    /// Of `groups`, none of which is below another.
    pub(crate) fn new(groups: impl IntoIterator<Item = PathBuf>) -> Self {
        let groups = groups.into_iter().map(|path| Group {
            path,
            ours: Mutex::new(false),
        });
        Self {
            groups: groups.collect(),
        }
    }

    /// Freezes, and waits at most `patience` for what does not stop at once.
    pub(crate) async fn freeze(&self, patience: Duration) -> Frozen {
        let begun = Instant::now();
        let mut result = Frozen::default();
        let mut asked = Vec::new();
        for group in &self.groups {
            match group.freeze() {
                Ok(()) => asked.push(&group.path),
                Err(fault) => {
                    tracing::warn!(%fault, "cannot freeze a cgroup");
                    result.failed += 1;
                }
            }
        }
        for group in &asked {
            // A group whose events cannot be followed is counted as it is.
            let left = patience.saturating_sub(begun.elapsed());
            let _ = timeout(left, settled(group)).await;
        }
        result.wait_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        for group in asked.iter().flat_map(|group| tree(group)) {
            result.requested += 1;
            match is_frozen(&group) {
                Ok(true) => result.frozen += 1,
                Ok(false) => result.not_frozen += 1,
                // Gone since it was found.
                Err(fault) if fault.kind() == io::ErrorKind::NotFound => result.requested -= 1,
                Err(_) => result.unobservable += 1,
            }
        }
        result
    }

    /// What a freeze without cgroups comes to.
    pub(crate) fn unobservable() -> Frozen {
        Frozen {
            unobservable: 2,
            ..Frozen::default()
        }
    }

    /// Continues what `freeze` has stopped; nothing when it has stopped nothing.
    pub(crate) fn thaw(&self) -> io::Result<()> {
        self.groups.iter().try_for_each(Group::thaw)
    }
}

impl Group {
    fn freeze(&self) -> io::Result<()> {
        let switch = self.path.join("cgroup.freeze");
        let mut ours = self.ours();
        if !*ours && fs::read_to_string(&switch)?.trim() == "0" {
            fs::write(&switch, "1")?;
            *ours = true;
        }
        Ok(())
    }

    fn thaw(&self) -> io::Result<()> {
        let mut ours = self.ours();
        if *ours {
            fs::write(self.path.join("cgroup.freeze"), "0")?;
            *ours = false;
        }
        Ok(())
    }

    fn ours(&self) -> MutexGuard<'_, bool> {
        self.ours.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Completes when the group and all below it stand still.
async fn settled(group: &Path) -> io::Result<()> {
    // The kernel tells of a change by urgent readiness of this file.
    let events = File::open(group.join("cgroup.events"))?;
    let events = watched(events.into(), Interest::PRIORITY)?;
    loop {
        let mut text = [0; 256];
        let length = rustix::io::pread(events.get_ref(), &mut text, 0)?;
        if says_frozen(&text[..length]) {
            return Ok(());
        }
        events.ready(Interest::PRIORITY).await?.clear_ready();
    }
}

fn is_frozen(group: &Path) -> io::Result<bool> {
    Ok(says_frozen(&fs::read(group.join("cgroup.events"))?))
}

fn says_frozen(events: &[u8]) -> bool {
    events
        .split(|byte| *byte == b'\n')
        .any(|line| line == b"frozen 1")
}

/// A group and those below it.
fn tree(root: &Path) -> Vec<PathBuf> {
    let mut found = vec![root.to_path_buf()];
    let mut seen = 0;
    while let Some(group) = found.get(seen) {
        seen += 1;
        let below = fs::read_dir(group).into_iter().flatten();
        let below = below.filter_map(Result::ok);
        let below: Vec<_> = below
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| entry.path())
            .take(MAX_COUNTED.saturating_sub(found.len()))
            .collect();
        found.extend(below);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_read_and_rubbish_is_not_frozen() {
        assert!(says_frozen(b"populated 1\nfrozen 1\n"));
        assert!(says_frozen(b"frozen 1"));
        for other in [
            &b"populated 1\nfrozen 0\n"[..],
            b"",
            b"frozen 11\n",
            b"\xff\n",
        ] {
            assert!(!says_frozen(other), "{other:?}");
        }
    }
}
