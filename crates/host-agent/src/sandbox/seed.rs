//! What a sandbox can be restored from without being it: the copy that a fork leaves in each child's
//! directory, and a snapshot template.
//!
//! ```text
//! templates/<template id>/template.json   what is restored from it, written last
//! templates/<template id>/cow.img         the disk beside its base
//! templates/<template id>/base.ext4       the base itself, where it can be kept
//! templates/<template id>/gen-1/          the snapshot
//! ```
//!
//! A snapshot's files are shared by hard links, the disk is copied without its holes. Everything here blocks.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::{SeekFrom, copy_file_range, seek};
use serde::{Deserialize, Serialize};
use wrenn_ids::TemplateId;

use super::{
    host::{BASE, COW},
    manifest::Manifest,
    snapshot::{self, Snapshot},
};
use crate::durable;

/// Number of the snapshot in whatever was copied.
const FIRST: u64 = 1;
/// Bytes copied by one call.
const PIECE: usize = 64 << 20;
const RECORD: &str = "template.json";

/// A copy that was not made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused.
    #[error("{action} {}", path.display())]
    File {
        /// What was attempted.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Its record cannot be written or read.
    #[error("keep the copy's record")]
    Record(#[from] durable::Error),
}

/// A snapshot template.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SnapshotTemplate {
    /// Its name.
    pub name: String,
    /// The operation that made it.
    pub op_id: String,
    /// What it was made from, paused.
    pub sandbox: Manifest,
}

/// A paused sandbox's files, to be copied.
#[derive(Debug, Clone)]
pub(crate) struct Seed {
    pub(crate) directory: PathBuf,
    pub(crate) snapshot: Snapshot,
}

impl Seed {
    /// Copies everything that a restore needs into the new directory `to`; gives the snapshot there.
    /// Durable but for the record that will name it.
    pub(crate) fn copy(&self, to: &Path) -> Result<Snapshot, Error> {
        if let Err(error) = fs::remove_dir_all(to)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(failed("clear", to)(error));
        }
        let generation = snapshot::directory(to, FIRST);
        for directory in [to, &generation] {
            let made = DirBuilder::new()
                .mode(0o700)
                .recursive(true)
                .create(directory);
            made.map_err(failed("create", directory))?;
        }
        let old = snapshot::directory(&self.directory, self.snapshot.number);
        for file in &self.snapshot.files {
            link(&old.join(&file.name), &generation.join(&file.name))?;
        }
        let base = self.directory.join(BASE);
        if base.exists() {
            link(&base, &to.join(BASE))?;
        }
        copy_sparse(&self.directory.join(COW), &to.join(COW))?;
        for directory in [&generation, to] {
            let synced = File::open(directory).and_then(|directory| directory.sync_all());
            synced.map_err(failed("sync directory", directory))?;
        }
        Ok(Snapshot {
            number: FIRST,
            ..self.snapshot.clone()
        })
    }
}

impl SnapshotTemplate {
    /// Makes the template `to` from `seed`, whose sandbox is `manifest`. It is there when its record is.
    pub(crate) fn create(
        to: &Path,
        seed: &Seed,
        manifest: &Manifest,
        name: &str,
        op_id: &str,
    ) -> Result<Self, Error> {
        let snapshot = seed.copy(to)?;
        let template = Self {
            name: name.to_owned(),
            op_id: op_id.to_owned(),
            sandbox: manifest.at_rest(snapshot),
        };
        durable::write_json(&to.join(RECORD), &template)?;
        Ok(template)
    }

    /// The template in `directory`, if there is one.
    pub(crate) fn read(directory: &Path) -> Result<Option<Self>, durable::Error> {
        durable::read_json(&directory.join(RECORD))
    }

    /// Allocated bytes of all that it holds.
    pub(crate) fn size_bytes(&self, directory: &Path) -> u64 {
        use std::os::unix::fs::MetadataExt as _;
        let disk = fs::metadata(directory.join(COW)).map_or(0, |stat| stat.blocks() * 512);
        let snapshot = self.sandbox.snapshot.as_ref();
        disk + snapshot.map_or(0, |snapshot| snapshot.allocated(directory))
    }

    /// Removes the template in `directory`: first its record, so that it is gone when only a part of it is.
    pub(crate) fn remove(directory: &Path) -> Result<(), Error> {
        durable::remove(&directory.join(RECORD))?;
        match fs::remove_dir_all(directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("delete", directory)(error))
            }
            _ => Ok(()),
        }
    }

    /// Removes what a creation or a removal that was cut off has left.
    pub(crate) fn sweep(directory: &Path) -> Result<(), Error> {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if !path.join(RECORD).exists() {
                tracing::info!(path = %path.display(), "swept a part of a template");
                Self::remove(&path)?;
            }
        }
        Ok(())
    }

    /// The templates in `directory`, by id; what has no record is a half-made or half-removed one.
    pub(crate) fn list(directory: &Path) -> Vec<(TemplateId, Self)> {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let mut found: Vec<_> = entries
            .filter_map(|entry| {
                let id = entry.file_name().to_str()?.parse().ok()?;
                Some((id, Self::read(&entry.path()).ok()??))
            })
            .collect();
        found.sort_by_key(|(id, _)| *id);
        found
    }
}

fn link(from: &Path, to: &Path) -> Result<(), Error> {
    fs::hard_link(from, to).map_err(failed("link", to))
}

/// Copies a file without its holes, sharing its blocks where the file system can.
fn copy_sparse(from: &Path, to: &Path) -> Result<(), Error> {
    let source = File::open(from).map_err(failed("open", from))?;
    let length = source.metadata().map_err(failed("measure", from))?.len();
    let mut options = File::options();
    let target = options.write(true).create_new(true).mode(0o600).open(to);
    let target = target.map_err(failed("create", to))?;
    let copy = || -> io::Result<()> {
        target.set_len(length)?;
        let mut at = 0;
        loop {
            at = match seek(&source, SeekFrom::Data(at)) {
                Err(rustix::io::Errno::NXIO) => break, // no more data
                start => start?,
            };
            let end = seek(&source, SeekFrom::Hole(at))?;
            while at < end {
                let (mut read, mut write) = (at, at);
                let piece = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
                let copied =
                    copy_file_range(&source, Some(&mut read), &target, Some(&mut write), piece)?;
                if copied == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                at += copied as u64;
            }
        }
        target.sync_all()
    };
    copy().map_err(failed("copy to", to))
}

fn failed(action: &'static str, path: &Path) -> impl Fn(io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::File {
        action,
        path: path.clone(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt as _, MetadataExt as _};

    use super::*;

    #[test]
    fn a_copy_has_the_same_bytes_and_the_same_holes() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        let file = File::create(&from).unwrap();
        file.set_len(1 << 30).unwrap();
        for at in [0, 5 << 20, (1 << 30) - 4096] {
            file.write_all_at(&[at as u8 | 1; 4096], at).unwrap();
        }
        file.sync_all().unwrap();
        copy_sparse(&from, &to).unwrap();
        let (copy, stat) = (File::open(&to).unwrap(), fs::metadata(&to).unwrap());
        assert_eq!(stat.len(), 1 << 30);
        assert!(stat.blocks() * 512 < 1 << 20, "{} blocks", stat.blocks());
        for at in [0, 5 << 20, (1 << 30) - 4096, 4096] {
            let (mut new, mut old) = ([0; 4096], [0; 4096]);
            copy.read_exact_at(&mut new, at).unwrap();
            file_at(&from).read_exact_at(&mut old, at).unwrap();
            assert_eq!(new, old, "at {at}");
        }
        assert!(copy_sparse(&from, &to).is_err(), "nothing is overwritten");
    }

    fn file_at(path: &Path) -> File {
        File::open(path).unwrap()
    }
}
