//! A directory of build results, each named by what went into it.
//!
//! Invariant: an entry that exists is complete. It is built under a temporary name while a lock is
//! held, then renamed, so a killed build leaves nothing that is taken for a result, and two
//! builders of the same entry do the work once.
//! Entries are never changed; deleting any of them, or all, is always safe.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use sha2::{Digest, Sha256};

use crate::Progress;

/// How long one builder waits for another one of the same entry.
const LOCK_DEADLINE: Duration = Duration::from_secs(1800);

/// Entries that pruning leaves of a kind.
const KEPT: usize = 3;
/// An entry this recent may be about to be used, and is left.
const YOUNG: Duration = Duration::from_secs(3600);

/// The cache of one user, shared by all state directories and source trees.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

/// Why the cache could not be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// Neither `WRENN_CACHE_DIR`, `XDG_CACHE_HOME` nor `HOME` is set.
    #[error("no cache directory: set WRENN_CACHE_DIR, XDG_CACHE_HOME or HOME")]
    NoDirectory,
    /// A file of the cache could not be read or written.
    #[error("using the cache at {}", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Another process has been building the same entry for too long.
    #[error("another process has held {} for {} s", path.display(), LOCK_DEADLINE.as_secs())]
    Locked { path: PathBuf },
}

impl Cache {
    /// The cache in `root`, which is made when the first entry is built.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// `$WRENN_CACHE_DIR`, else `wrenn` in `$XDG_CACHE_HOME`, else `~/.cache/wrenn`.
    pub fn from_env() -> Result<Self, CacheError> {
        let var = |name| {
            std::env::var_os(name)
                .filter(|v| !v.is_empty())
                .map(PathBuf::from)
        };
        var("WRENN_CACHE_DIR")
            .or_else(|| var("XDG_CACHE_HOME").map(|d| d.join("wrenn")))
            .or_else(|| var("HOME").map(|d| d.join(".cache/wrenn")))
            .map(Self::at)
            .ok_or(CacheError::NoDirectory)
    }

    /// Its directory, with one of each kind of entry in it.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directory of the entry `kind`/`key`, built by `build` (given an empty directory) unless
    /// it exists.
    pub(crate) fn entry<E: From<CacheError>>(
        &self,
        kind: &str,
        key: &Key,
        progress: Progress<'_>,
        build: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        let entry = self.root.join(kind).join(key.name());
        if entry.is_dir() {
            return Ok(entry);
        }
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| E::from(CacheError::Io { path, source })
        };
        let building = self.root.join("building");
        fs::create_dir_all(&building).map_err(at(&building))?;
        fs::create_dir_all(self.root.join(kind)).map_err(at(&entry))?;
        let name = format!("{kind}-{}", key.name());
        let _lock = lock(&building.join(format!("{name}.lock")), progress)?;
        if entry.is_dir() {
            return Ok(entry);
        }
        let unfinished = tempfile::Builder::new()
            .prefix(&format!("{name}-"))
            .tempdir_in(&building)
            .map_err(at(&building))?;
        build(unfinished.path())?;
        fs::rename(unfinished.path(), &entry).map_err(at(&entry))?;
        // Renamed away: there is nothing left for the guard to remove.
        let _ = unfinished.keep();
        Ok(entry)
    }

    /// Forgets old entries of `kind` but never `current`: for kinds of which each code change
    /// makes a large one. Whoever has one open or linked loses nothing.
    pub(crate) fn prune(&self, kind: &str, current: &Path) {
        if let Err(error) = prune(&self.root.join(kind), current, YOUNG) {
            tracing::warn!(%error, kind, "removing old cache entries failed");
        }
    }
}

/// Removes the oldest of `entries` that are neither young nor `current`, until [`KEPT`] are left.
fn prune(entries: &Path, current: &Path, young: Duration) -> io::Result<()> {
    let mut found: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(entries)? {
        let entry = entry?;
        found.push((entry.metadata()?.modified()?, entry.path()));
    }
    found.sort();
    let surplus = found.len().saturating_sub(KEPT);
    for (built, path) in found.into_iter().take(surplus) {
        if path != current && built.elapsed().is_ok_and(|age| age >= young) {
            fs::remove_dir_all(path)?;
        }
    }
    Ok(())
}

fn lock(path: &Path, progress: Progress<'_>) -> Result<File, CacheError> {
    let failed = |source| CacheError::Io {
        path: path.to_owned(),
        source,
    };
    let file = File::create(path).map_err(failed)?;
    let deadline = Instant::now() + LOCK_DEADLINE;
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                return Err(CacheError::Locked {
                    path: path.to_owned(),
                });
            }
            Err(TryLockError::WouldBlock) => {
                if !told {
                    progress("waiting for another process that builds the same image");
                    told = true;
                }
                std::thread::sleep(Duration::from_millis(200));
            }
        }
    }
}

/// What an entry was made from: a digest over named inputs in order.
#[derive(Debug, Clone)]
pub(crate) struct Key(Sha256);

impl Key {
    /// A key for results of `recipe`, a number that is raised when the building code changes.
    pub(crate) fn new(recipe: u32) -> Self {
        Self(Sha256::new()).bytes(&recipe.to_le_bytes())
    }

    /// Adds one input. Its length is part of the digest, so inputs cannot run into each other.
    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    pub(crate) fn text(self, text: &str) -> Self {
        self.bytes(text.as_bytes())
    }

    fn name(&self) -> String {
        hex::encode(&self.0.clone().finalize()[..12])
    }
}

/// SHA-256 of a file's content, in hex.
pub(crate) fn sha256_file(path: &Path) -> io::Result<String> {
    let (mut file, mut hasher) = (File::open(path)?, Sha256::new());
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(hasher.finalize())),
            n => hasher.update(&buffer[..n]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn build(cache: &Cache, text: &str, runs: &Cell<u32>) -> Result<PathBuf, CacheError> {
        cache.entry("kind", &Key::new(1).text(text), &|_| {}, |dir| {
            runs.set(runs.get() + 1);
            fs::write(dir.join("file"), text).unwrap();
            match text {
                "broken" => Err(CacheError::NoDirectory),
                _ => Ok(()),
            }
        })
    }

    #[test]
    fn an_entry_is_built_once_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let (cache, runs) = (Cache::at(dir.path()), Cell::new(0));
        let first = build(&cache, "a", &runs).unwrap();
        assert_eq!(build(&cache, "a", &runs).unwrap(), first);
        assert_eq!(fs::read_to_string(first.join("file")).unwrap(), "a");
        assert_ne!(build(&cache, "b", &runs).unwrap(), first);
        assert_eq!(runs.get(), 2);
    }

    #[test]
    fn a_failed_build_leaves_no_entry_and_no_files() {
        let dir = tempfile::tempdir().unwrap();
        let (cache, runs) = (Cache::at(dir.path()), Cell::new(0));
        build(&cache, "broken", &runs).unwrap_err();
        build(&cache, "broken", &runs).unwrap_err();
        assert_eq!(runs.get(), 2);
        let left: Vec<_> = fs::read_dir(dir.path().join("building")).unwrap().collect();
        assert_eq!(left.len(), 1, "only the lock file stays: {left:?}");
    }

    #[test]
    fn pruning_keeps_the_newest_the_young_and_the_current() {
        let dir = tempfile::tempdir().unwrap();
        let names: Vec<_> = (0..6).map(|n| dir.path().join(n.to_string())).collect();
        for (n, name) in names.iter().enumerate() {
            fs::create_dir(name).unwrap();
            let built = SystemTime::now() - Duration::from_secs(1000 - n as u64);
            File::open(name).unwrap().set_modified(built).unwrap();
        }
        let left = || names.iter().filter(|name| name.exists()).count();
        prune(dir.path(), &names[0], Duration::from_secs(3600)).unwrap();
        assert_eq!(left(), 6);
        prune(dir.path(), &names[0], Duration::from_secs(60)).unwrap();
        assert!(names[0].exists() && !names[1].exists() && !names[2].exists());
        assert_eq!(left(), 4);
    }

    #[test]
    fn inputs_do_not_run_into_each_other() {
        let name = |parts: &[&str]| {
            parts
                .iter()
                .fold(Key::new(1), |key, part| key.text(part))
                .name()
        };
        assert_ne!(name(&["ab", "c"]), name(&["a", "bc"]));
    }
}
