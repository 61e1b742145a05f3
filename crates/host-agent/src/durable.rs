//! Writing files that survive a crash at any instant: temporary file → fsync → rename → fsync of the
//! directory. A reader sees the old content or the new, never a part of either.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::failpoint;

/// Why a durable file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused.
    #[error("{action} {}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        #[source]
        /// What the system said.
        source: io::Error,
    },
    /// The content is not what this version writes.
    #[error("decode {}", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        #[source]
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// Replaces `path` by `value` as JSON, readable by its owner only: every durable record of the agent may
/// hold a token.
///
/// # Errors
/// When the file system refuses; the old content is then intact.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), Error> {
    let bytes = serde_json::to_vec_pretty(value).map_err(|source| Error::Decode {
        path: path.to_owned(),
        source,
    })?;
    write(path, &bytes)
}

/// Reads what [`write_json`] wrote; `None` when there is no such file.
///
/// # Errors
/// When the file cannot be read or is not such a record.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(Error::Io {
                action: "read",
                path: path.to_owned(),
                source,
            });
        }
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|source| Error::Decode {
            path: path.to_owned(),
            source,
        })
}

/// Removes `path`; one that is gone already is fine.
///
/// # Errors
/// When the file system refuses.
pub fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::Io {
            action: "remove",
            path: path.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |source| Error::Io {
            action,
            path,
            source,
        }
    };
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = directory.join(name);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(failed("create", &temporary))?;
    failpoint::write_all(&mut file, path, bytes)
        .and_then(|()| failpoint::sync(&file, path))
        .map_err(failed("write", &temporary))?;
    fs::rename(&temporary, path).map_err(failed("replace", path))?;
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(failed("sync directory", directory))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_written_is_read_and_private() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record.json");
        assert_eq!(read_json::<u32>(&path).unwrap(), None);
        write_json(&path, &7u32).unwrap();
        write_json(&path, &8u32).unwrap();
        assert_eq!(read_json::<u32>(&path).unwrap(), Some(8));
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(
            fs::read_dir(directory.path()).unwrap().count(),
            1,
            "no temporary file stays"
        );
        remove(&path).unwrap();
        remove(&path).unwrap();
    }

    #[test]
    fn a_torn_record_is_an_error_and_not_a_default() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record.json");
        fs::write(&path, b"{\"half").unwrap();
        assert!(matches!(read_json::<u32>(&path), Err(Error::Decode { .. })));
    }
}
