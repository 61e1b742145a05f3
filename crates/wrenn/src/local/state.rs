//! The state directory of a local instance: where everything lies, its settings, its secrets, its locks.
//!
//! Layout: `up.json` (settings), `control-plane.env` (the state file of control-plane.md §14), `secrets/`,
//! `images/`, `postgres/`, `redis/`, `host/` or `machine/`, `logs/`, `run/` (sockets, locks). The directory can be entered by the users that the services run as, but
//! only listed by its owner; files with secrets are 0600 and replaced by rename.

use std::{
    fs::{self, DirBuilder, File},
    io::{Read, Seek, Write},
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    config::{home_dir, write_private},
    error::{Attempt, CliError, Exit},
};

/// A Unix socket's path has room for this many bytes; the longest of ours is PostgreSQL's lock file.
const SOCKET_PATH_LIMIT: usize = 107;

/// Where sandboxes run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum HostChoice {
    /// On this machine itself.
    Native,
    /// In a QEMU machine that this machine runs.
    Virtual,
    /// Nowhere here: other machines join as hosts.
    None,
}

/// What `wrenn up` was told, and tells the next one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Settings {
    /// Where the control plane listens.
    pub(crate) listen: SocketAddr,
    /// The chosen host; `None` decides by this machine.
    pub(crate) host: Option<HostChoice>,
    /// Of the virtual host.
    pub(crate) cpus: Option<u32>,
    /// MiB, of the virtual host.
    pub(crate) memory_mib: Option<u32>,
    /// GiB, of the virtual host's data disk.
    pub(crate) disk_gib: Option<u32>,
    /// Where the native agent listens.
    pub(crate) agent_listen: SocketAddr,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            host: None,
            cpus: None,
            memory_mib: None,
            disk_gib: None,
            agent_listen: SocketAddr::from(([127, 0, 0, 1], 9443)),
        }
    }
}

impl Settings {
    /// The address by which this machine reaches the control plane.
    pub(crate) fn local_url(&self) -> String {
        let address = if self.listen.ip().is_unspecified() {
            SocketAddr::from(([127, 0, 0, 1], self.listen.port()))
        } else {
            self.listen
        };
        format!("http://{address}")
    }
}

/// A state directory, which need not exist yet.
#[derive(Debug, Clone)]
pub(crate) struct StateDir {
    root: PathBuf,
}

impl StateDir {
    /// `flag`, else `WRENN_STATE_DIR`, else `/var/lib/wrenn` for root and `$XDG_STATE_HOME/wrenn` for others.
    pub(crate) fn locate(flag: Option<&Path>) -> Result<Self, CliError> {
        let named = flag.map(Path::to_owned).or_else(|| {
            std::env::var_os("WRENN_STATE_DIR")
                .filter(|dir| !dir.is_empty())
                .map(PathBuf::from)
        });
        let root = match named {
            Some(dir) => std::path::absolute(&dir).attempt(|| format!("use {}", dir.display()))?,
            None if rustix::process::geteuid().is_root() => PathBuf::from("/var/lib/wrenn"),
            None => home_dir("XDG_STATE_HOME", ".local/state")?.join("wrenn"),
        };
        Ok(Self { root })
    }

    /// The directory itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A path in it.
    pub(crate) fn at(&self, below: &str) -> PathBuf {
        self.root.join(below)
    }

    /// Makes the directory and its parts.
    pub(crate) fn prepare(&self) -> Result<(), CliError> {
        let longest = self.at("run/postgres/.s.PGSQL.5432.lock");
        if longest.as_os_str().len() > SOCKET_PATH_LIMIT {
            return Err(CliError::local(format_args!(
                "{} is too long a path: sockets below it would pass {SOCKET_PATH_LIMIT} bytes",
                self.root.display()
            ))
            .hint("try", "wrenn up --state-dir /srv/wrenn"));
        }
        make_dir(&self.root, 0o711)?;
        for (name, mode) in [("run", 0o711), ("logs", 0o700), ("secrets", 0o700)] {
            make_dir(&self.at(name), mode)?;
        }
        Ok(())
    }

    /// What the last `wrenn up` was told, if one got that far.
    pub(crate) fn settings(&self) -> Result<Option<Settings>, CliError> {
        let path = self.at("up.json");
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .attempt(|| format!("read {}", path.display())),
            // A directory of another user's instance says nothing to us.
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(CliError::local(format_args!(
                "read {}: {error}",
                path.display()
            ))),
        }
    }

    /// Remembers `settings`.
    pub(crate) fn store_settings(&self, settings: &Settings) -> Result<(), CliError> {
        let json = serde_json::to_vec_pretty(settings).attempt(|| "write settings")?;
        let path = self.at("up.json");
        write_private(&path, &json)?;
        // No secret is in it, and commands of other users find the local instance by it.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))
            .attempt(|| format!("write {}", path.display()))
    }

    /// The file with the secret `name`, 64 hex digits made once.
    pub(crate) fn secret(&self, name: &str) -> Result<PathBuf, CliError> {
        let path = self.at("secrets").join(name);
        if !path.exists() {
            write_private(&path, format!("{}\n", random_hex()?).as_bytes())?;
        }
        Ok(path)
    }

    /// Takes the lock `name` for `purpose`.
    ///
    /// # Errors
    /// With the holder's process and purpose when another process has it.
    pub(crate) fn lock(&self, name: &str, purpose: &str) -> Result<Lock, CliError> {
        let path = self.at("run").join(name);
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .attempt(|| format!("open {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                let holder = if holder.is_empty() {
                    "another process".to_owned()
                } else {
                    holder.trim().to_owned()
                };
                return Err(CliError::new(
                    Exit::Conflict,
                    "locked",
                    format_args!("{} is in use by {holder}", self.root.display()),
                )
                .hint("wait", "until it is done, then try again")
                .hint("see", "wrenn status"));
            }
            Err(fs::TryLockError::Error(error)) => {
                return Err(CliError::local(format_args!(
                    "lock {}: {error}",
                    path.display()
                )));
            }
        }
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| write!(file, "{purpose} (process {})", std::process::id()));
        written.attempt(|| format!("write {}", path.display()))?;
        Ok(Lock { _file: file })
    }
}

/// A lock that ends with this value or this process.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// Makes `dir` and its parents; `dir` gets `mode`.
pub(crate) fn make_dir(dir: &Path, mode: u32) -> Result<(), CliError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(dir)
        .and_then(|()| fs::set_permissions(dir, fs::Permissions::from_mode(mode)))
        .map_err(|error| {
            let failed = CliError::local(format_args!("make {}: {error}", dir.display()));
            match error.kind() {
                std::io::ErrorKind::PermissionDenied => failed
                    .hint("try", "sudo wrenn up")
                    .hint("or", "wrenn up --state-dir ~/wrenn"),
                std::io::ErrorKind::StorageFull => {
                    failed.hint("free", "space on this disk, then: wrenn up")
                }
                _ => failed,
            }
        })
}

fn random_hex() -> Result<String, CliError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| CliError::local(format_args!("get random bytes: {error}")))?;
    Ok(hex::encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> (tempfile::TempDir, StateDir) {
        let dir = tempfile::tempdir().expect("a directory");
        let state = StateDir {
            root: dir.path().join("s"),
        };
        state.prepare().expect("prepared");
        (dir, state)
    }

    #[test]
    fn secrets_are_made_once_and_private() {
        let (_dir, state) = state();
        let path = state.secret("master").expect("made");
        let first = fs::read_to_string(&path).expect("read");
        assert_eq!(
            (first.trim().len(), state.secret("master").expect("found")),
            (64, path.clone())
        );
        assert_eq!(fs::read_to_string(&path).expect("read"), first);
        assert_ne!(
            fs::read_to_string(state.secret("other").expect("made")).expect("read"),
            first
        );
        let mode = fs::metadata(&path).expect("meta").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn the_second_taker_of_a_lock_learns_who_has_it() {
        let (_dir, state) = state();
        let lock = state.lock("up.lock", "wrenn up").expect("taken");
        let error = state.lock("up.lock", "wrenn down").expect_err("held");
        assert!(
            error
                .message
                .contains(&format!("wrenn up (process {})", std::process::id())),
            "{}",
            error.message
        );
        drop(lock);
        state.lock("up.lock", "wrenn down").expect("free again");
    }

    #[test]
    fn a_path_too_long_for_sockets_is_refused() {
        let state = StateDir {
            root: PathBuf::from(format!("/{}", "x".repeat(90))),
        };
        assert!(
            state
                .prepare()
                .expect_err("refused")
                .message
                .contains("too long")
        );
    }

    #[test]
    fn settings_survive() {
        let (_dir, state) = state();
        assert!(state.settings().expect("none").is_none());
        let settings = Settings {
            host: Some(HostChoice::Virtual),
            cpus: Some(3),
            ..Settings::default()
        };
        state.store_settings(&settings).expect("stored");
        let read = state.settings().expect("read").expect("some");
        assert_eq!(
            (read.host, read.cpus, read.local_url()),
            (
                Some(HostChoice::Virtual),
                Some(3),
                "http://127.0.0.1:8080".to_owned()
            )
        );
    }
}
