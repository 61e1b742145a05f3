//! The machine that envd serves: its names, clock, entropy, disk, cgroups and the metadata service.
//!
//! Each file owns one of them and nothing else knows how it is reached. None of them is touched where the
//! machine is not ours (`Surroundings::Machine`).

pub(crate) mod cgroup;
pub(crate) mod clock;
pub(crate) mod disk;
pub(crate) mod entropy;
pub(crate) mod freezer;
pub(crate) mod mmds;
pub(crate) mod names;
pub(crate) mod trust;
pub(crate) mod vital;
pub(crate) mod writeback;

use std::{
    fs::{self, File, Permissions},
    io::{self, Write as _},
    os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

/// Longest content that is written over an old one: one page, of which the disk never has a half.
const PAGE: usize = 4096;

/// Puts `content` at `path` in one step; a link there is replaced by a file.
///
/// A file that differs in its bytes alone is written over: after a restore each page that the guest touches costs
/// a fault, and a new file touches hundreds.
pub(crate) fn replace_file(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    if content.len() <= PAGE && overwrite(path, content, mode).unwrap_or(false) {
        return Ok(());
    }
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".wrenn-new");
    let temporary = Path::new(&temporary);
    let _ = fs::remove_file(temporary);
    let written = (|| {
        let mut file = File::create_new(temporary)?;
        file.write_all(content)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        fs::rename(temporary, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(temporary);
    }
    written
}

/// Whether `path` holds `content` now; only a plain file of the same length and mode is touched.
fn overwrite(path: &Path, content: &[u8], mode: u32) -> io::Result<bool> {
    let mut options = File::options();
    options.read(true).write(true);
    let file = options.custom_flags(libc::O_NOFOLLOW).open(path)?;
    let stat = file.metadata()?;
    let is_alike = stat.is_file()
        && stat.nlink() == 1
        && stat.mode() & 0o7777 == mode
        && stat.len() == content.len() as u64;
    if !is_alike {
        return Ok(false);
    }
    let mut old = vec![0; content.len()];
    file.read_exact_at(&mut old, 0)?;
    if old != content {
        file.write_all_at(content, 0)?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_of_the_same_length_is_written_over_and_any_other_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("id");
        let put = |content: &str| {
            replace_file(&path, content.as_bytes(), 0o444).unwrap();
            let stat = fs::symlink_metadata(&path).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
            assert!(stat.is_file() && stat.mode() & 0o7777 == 0o444);
            stat.ino()
        };
        let first = put("one");
        assert_eq!(put("two"), first);
        assert_eq!(put("two"), first);
        let longer = put("three");
        assert_ne!(longer, first);
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        assert_ne!(put("seven"), longer);
        // What else is under another name is not ours to change.
        let other = directory.path().join("other");
        fs::hard_link(&path, &other).unwrap();
        put("eight");
        assert_eq!(fs::read_to_string(&other).unwrap(), "seven");
        fs::remove_file(&path).unwrap();
        symlink(&other, &path).unwrap();
        put("other");
        assert_eq!(fs::read_to_string(&other).unwrap(), "seven");
    }
}
