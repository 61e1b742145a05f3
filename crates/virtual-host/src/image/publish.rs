//! Puts finished files into an images directory.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::ImageError;
use crate::FileError;
use crate::cache::sha256_file;
use crate::tool::Tool;

const COPY_DEADLINE: Duration = Duration::from_secs(600);

/// An images directory that is being filled.
#[derive(Debug)]
pub(crate) struct Directory {
    root: PathBuf,
    files: BTreeMap<String, String>,
}

impl Directory {
    pub(crate) fn open(root: &Path) -> Result<Self, FileError> {
        fs::create_dir_all(root).map_err(FileError::at("making", root))?;
        Ok(Self {
            root: root.to_owned(),
            files: BTreeMap::new(),
        })
    }

    /// Makes the file `to` of the directory the same as `from`: a hard link where both are on one
    /// file system, else a copy that shares or skips what it can.
    pub(crate) fn place(&mut self, from: &Path, to: &str) -> Result<(), ImageError> {
        let sha256 = sha256_file(from).map_err(FileError::at("reading", from))?;
        self.place_known(from, to, sha256)
    }

    /// As [`Directory::place`], for a file whose SHA-256 is known.
    pub(crate) fn place_known(
        &mut self,
        from: &Path,
        to: &str,
        sha256: String,
    ) -> Result<(), ImageError> {
        self.files.insert(to.to_owned(), sha256);
        self.stage(from, to)
    }

    /// As [`Directory::place`], but not listed.
    pub(crate) fn stage(&self, from: &Path, to: &str) -> Result<(), ImageError> {
        let path = self.root.join(to);
        let parent = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(parent).map_err(FileError::at("making", parent))?;
        if same_file(from, &path) {
            return Ok(());
        }
        let staged = tempfile::Builder::new().prefix(".new-").tempdir_in(parent);
        let staged = staged.map_err(FileError::at("making", parent))?;
        let new = staged.path().join("file");
        if fs::hard_link(from, &new).is_err() {
            Tool::new("cp", COPY_DEADLINE)
                .args(["--reflink=auto", "--sparse=always", "--preserve=mode"])
                .arg(from)
                .arg(&new)
                .run()?;
        }
        Ok(fs::rename(&new, &path).map_err(FileError::at("writing", &path))?)
    }

    /// SHA-256 by path of all files placed.
    pub(crate) fn finish(self) -> BTreeMap<String, String> {
        self.files
    }
}

/// Writes `value` to `path` so that a crash leaves the old or the new content.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), FileError> {
    let failed = FileError::at("writing", path);
    let parent = path.parent().unwrap_or(Path::new("."));
    let write = || {
        let mut file = tempfile::NamedTempFile::new_in(parent)?;
        serde_json::to_writer_pretty(&mut file, value)?;
        file.write_all(b"\n")?;
        // A temporary file is private; this one holds nothing secret.
        file.as_file()
            .set_permissions(fs::Permissions::from_mode(0o644))?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        File::open(parent)?.sync_all()
    };
    write().map_err(failed)
}

fn same_file(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (fs::metadata(a), fs::metadata(b)) {
        (Ok(a), Ok(b)) => a.dev() == b.dev() && a.ino() == b.ino(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_placed_and_replaced_and_listed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("images");
        for content in ["one", "two"] {
            let from = dir.path().join(content);
            fs::write(&from, content).unwrap();
            let mut directory = Directory::open(&root).unwrap();
            directory.place(&from, "bin/x").unwrap();
            directory.place(&from, "bin/x").unwrap();
            assert_eq!(fs::read_to_string(root.join("bin/x")).unwrap(), content);
            let listed = directory.finish();
            assert_eq!(listed["bin/x"], sha256_file(&from).unwrap());
        }
        assert_eq!(
            fs::read_dir(root.join("bin")).unwrap().count(),
            1,
            "nothing else is left"
        );
    }
}
