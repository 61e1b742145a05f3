//! What a sandbox can be restored from without being it: the copy that a fork leaves in each child's
//! directory, and a snapshot template.
//!
//! ```text
//! templates/<template id>/template.json   what is restored from it, written last
//! templates/<template id>/base.ext4       the base of its disk, where it can be kept
//! templates/<template id>/disk-<n>.img    its disk: frozen, see `disk`
//! templates/<template id>/gen-1/          the snapshot
//! ```
//!
//! All copies of one operation, and all that is made of a template, share these files by hard links. Everything
//! here blocks.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use wrenn_block::DiskSize;
use wrenn_ids::TemplateId;

use super::{
    disk::{self, DiskError},
    manifest::Manifest,
    snapshot::{self, FileRecord, Snapshot, failed, sync_directory},
    working_set,
};
use crate::{durable, failpoint};

/// Number of the snapshot in whatever was copied.
const FIRST: u64 = 1;
const RECORD: &str = "template.json";

/// A copy that was not made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] snapshot::Error),
    /// The disk cannot be copied.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Its record cannot be written or read.
    #[error("keep the copy's record")]
    Record(#[from] durable::Error),
}

impl Error {
    /// Whether what was to be copied is not there any more.
    pub(crate) fn is_gone(&self) -> bool {
        match self {
            Self::File(error) | Self::Disk(DiskError::File(error)) => error.is_absence(),
            _ => false,
        }
    }
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

/// The files of a paused sandbox, or of a snapshot template, to be copied.
#[derive(Debug, Clone)]
pub(crate) struct Seed {
    pub(crate) directory: PathBuf,
    pub(crate) snapshot: Snapshot,
    /// What its disk lies on.
    pub(crate) frozen: Vec<FileRecord>,
    pub(crate) size: DiskSize,
}

/// What is in every directory that a seed was copied to.
#[derive(Debug, Clone)]
pub(crate) struct Copied {
    pub(crate) snapshot: Snapshot,
    pub(crate) frozen: Vec<FileRecord>,
}

impl Seed {
    /// Of the sandbox or template in `directory` that has this record; `None` when it has no snapshot.
    pub(crate) fn of(
        directory: PathBuf,
        manifest: &Manifest,
    ) -> Result<Option<Self>, wrenn_block::Error> {
        let size = DiskSize::mib(manifest.disk_mib)?;
        Ok(manifest.snapshot.clone().map(|snapshot| Self {
            directory,
            snapshot,
            frozen: manifest.frozen.clone(),
            size,
        }))
    }

    /// Copies everything that a restore needs, but an own CoW file, into each of the new directories `targets`:
    /// once, and to the others by links. Durable but for the records that will name it. On an error none of
    /// them is left.
    pub(crate) fn copy(&self, targets: &[PathBuf]) -> Result<Copied, Error> {
        let copied = self.copy_all(targets);
        if copied.is_err() {
            for target in targets {
                let _ = fs::remove_dir_all(target); // it may not be there
            }
        }
        copied
    }

    fn copy_all(&self, targets: &[PathBuf]) -> Result<Copied, Error> {
        let mut frozen: Option<(&Path, Vec<FileRecord>)> = None;
        for to in targets {
            if let Err(error) = fs::remove_dir_all(to)
                && error.kind() != io::ErrorKind::NotFound
            {
                return Err(failed("clear", to)(error).into());
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
                disk::link(&old.join(&file.name), &generation.join(&file.name))?;
            }
            match &frozen {
                None => {
                    let made = disk::freeze(&self.directory, &self.frozen, self.size, to)?;
                    frozen = Some((to, made));
                }
                Some((from, frozen)) => disk::share(from, frozen, to)?,
            }
            working_set::share(&self.directory, to);
            sync_directory(&generation)?;
            sync_directory(to)?;
        }
        Ok(Copied {
            snapshot: Snapshot {
                number: FIRST,
                ..self.snapshot.clone()
            },
            frozen: frozen.map(|(_, frozen)| frozen).unwrap_or_default(),
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
        let copied = seed.copy(&[to.to_owned()])?;
        let template = Self {
            name: name.to_owned(),
            op_id: op_id.to_owned(),
            sandbox: manifest.at_rest(copied),
        };
        let recorded = durable::write_json(&to.join(RECORD), &template);
        recorded.inspect_err(|_| drop(fs::remove_dir_all(to)))?;
        Ok(template)
    }

    /// The template in `directory`, if there is one.
    pub(crate) fn read(directory: &Path) -> Result<Option<Self>, durable::Error> {
        durable::read_json(&directory.join(RECORD))
    }

    /// Allocated bytes of all that it holds.
    pub(crate) fn size_bytes(&self, directory: &Path) -> u64 {
        let disk = snapshot::allocated(directory, &self.sandbox.frozen);
        let snapshot = self.sandbox.snapshot.as_ref();
        disk + snapshot.map_or(0, |snapshot| snapshot.allocated(directory))
    }

    /// Removes the template in `directory`: first its record, so that it is gone when only a part of it is.
    pub(crate) fn remove(directory: &Path) -> Result<(), Error> {
        let record = directory.join(RECORD);
        durable::remove(&record)?;
        failpoint::at_file("remove", &record).map_err(failed("delete", directory))?;
        match fs::remove_dir_all(directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("delete", directory)(error).into())
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
