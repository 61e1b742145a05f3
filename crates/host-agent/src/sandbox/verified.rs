//! Which files are known to hold what was written, so that they are not read again for it.

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt as _,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use wrenn_memory::{Checksum, contents};

/// Files that were read whole, or written, since the agent started: they are not read again for their
/// checksum while nobody has written to them, by their length and time of change. The kernel guards what it
/// has in memory; what was on the disk before is read once.
#[derive(Debug, Default)]
pub(crate) struct Verified {
    files: Mutex<HashMap<(u64, u64), (Stamp, Checksum)>>,
}

/// Files remembered; beyond, all are forgotten and read again when they are needed.
const REMEMBERED: usize = 65_536;

/// Longer than a tick of the clock that files' times are taken from.
const SETTLED: Duration = Duration::from_secs(1);

/// Tells whether a file was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    bytes: u64,
    modified: (i64, i64),
}

impl Verified {
    /// Does nothing for a file that was just written to: more of that could not be told by its time.
    pub(super) fn remember(&self, file: &File, checksum: Checksum) {
        let settled = |stat: &fs::Metadata| {
            let age = SystemTime::now().duration_since(stat.modified().ok()?);
            age.ok().filter(|age| *age > SETTLED)
        };
        let Some(stat) = file.metadata().ok().filter(|stat| settled(stat).is_some()) else {
            return; // then it is read again
        };
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if files.len() >= REMEMBERED {
            files.clear();
        }
        files.insert((stat.dev(), stat.ino()), (stamp(&stat), checksum));
    }

    /// Of a file that is open to be read.
    pub(super) fn checksum(&self, file: &File) -> io::Result<Checksum> {
        let stat = file.metadata()?;
        let known = {
            let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
            files.get(&(stat.dev(), stat.ino())).copied()
        };
        match known {
            Some((at, checksum)) if at == stamp(&stat) => Ok(checksum),
            _ => {
                let checksum = contents(file)?.checksum;
                self.remember(file, checksum);
                Ok(checksum)
            }
        }
    }
}

/// Of a file with these facts.
pub(crate) fn stamp(stat: &fs::Metadata) -> Stamp {
    Stamp {
        bytes: stat.len(),
        modified: (stat.mtime(), stat.mtime_nsec()),
    }
}
