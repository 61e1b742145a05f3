//! Moves a file or a tree; across file systems by copying and then removing.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt as _, lchown, symlink},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{
        AtFlags, CWD, Mode, Timespec, Timestamps, XattrFlags, lgetxattr, llistxattr, lsetxattr,
        mknodat, utimensat,
    },
    io::Errno,
};

use super::tree;

const MAX_LIST: usize = 64 << 10;

/// Moves `source` to `destination`, whose parents exist; a file there is replaced.
pub(super) fn move_to(source: &str, destination: &str) -> io::Result<()> {
    match fs::rename(source, destination) {
        Err(fault) if fault.raw_os_error() == Some(libc::EXDEV) => {
            across(Path::new(source), Path::new(destination))
        }
        moved => moved,
    }
}

/// A copy that ends half-way is taken away again; the source goes last.
fn across(source: &Path, destination: &Path) -> io::Result<()> {
    let copied = copy_tree(source, destination);
    let doomed = if copied.is_ok() { source } else { destination };
    let removed = tree::remove_all(&doomed.to_string_lossy());
    copied?;
    Ok(removed?)
}

fn copy_tree(source: &Path, destination: &Path) -> io::Result<()> {
    // Directories get their times when all that is in them is there, so deepest last.
    let mut finished: Vec<(PathBuf, PathBuf)> = Vec::new();
    let mut waiting = vec![(source.to_path_buf(), destination.to_path_buf())];
    while let Some((from, to)) = waiting.pop() {
        let metadata = fs::symlink_metadata(&from)?;
        let kind = metadata.file_type();
        if kind.is_dir() {
            fs::create_dir(&to)?;
            for entry in fs::read_dir(&from)? {
                let entry = entry?;
                waiting.push((entry.path(), to.join(entry.file_name())));
            }
        } else if kind.is_symlink() {
            symlink(fs::read_link(&from)?, &to)?;
        } else if kind.is_file() {
            fs::copy(&from, &to)?;
        } else {
            let mode = rustix::fs::FileType::from_raw_mode(metadata.mode());
            mknodat(
                CWD,
                &to,
                mode,
                Mode::from_raw_mode(metadata.mode()),
                metadata.rdev(),
            )?;
        }
        finished.push((from, to));
    }
    for (from, to) in finished.iter().rev() {
        copy_attributes(from, to)?;
    }
    Ok(())
}

fn copy_attributes(from: &Path, to: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(from)?;
    lchown(to, Some(metadata.uid()), Some(metadata.gid()))?;
    if !metadata.file_type().is_symlink() {
        fs::set_permissions(to, metadata.permissions())?;
    }
    copy_xattrs(from, to)?;
    let time = |seconds, nanoseconds| Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    };
    let times = Timestamps {
        last_access: time(metadata.atime(), metadata.atime_nsec()),
        last_modification: time(metadata.mtime(), metadata.mtime_nsec()),
    };
    Ok(utimensat(CWD, to, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

fn copy_xattrs(from: &Path, to: &Path) -> io::Result<()> {
    let mut names = vec![0; MAX_LIST];
    let length = match llistxattr(from, &mut names[..]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(fault) => return Err(fault.into()),
    };
    for name in names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        let mut value = vec![0; MAX_LIST];
        let length = lgetxattr(from, name, &mut value[..])?;
        match lsetxattr(to, name, &value[..length], XattrFlags::empty()) {
            // The other file system keeps none; the content is what counts.
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(fault) => return Err(fault.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_copied_tree_keeps_modes_owners_times_and_links() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        fs::create_dir_all(from.join("inner")).unwrap();
        fs::write(from.join("inner/file"), "content").unwrap();
        fs::set_permissions(from.join("inner/file"), fs::Permissions::from_mode(0o4750)).unwrap();
        lchown(from.join("inner/file"), Some(1), Some(2)).unwrap();
        fs::set_permissions(from.join("inner/file"), fs::Permissions::from_mode(0o4750)).unwrap();
        symlink("inner/file", from.join("link")).unwrap();
        let before = fs::metadata(from.join("inner"))
            .unwrap()
            .modified()
            .unwrap();
        across(&from, &to).unwrap();
        assert!(!from.exists());
        let file = fs::metadata(to.join("inner/file")).unwrap();
        assert_eq!(
            (file.uid(), file.gid(), file.mode() & 0o7777),
            (1, 2, 0o4750)
        );
        assert_eq!(fs::read_to_string(to.join("link")).unwrap(), "content");
        assert_eq!(
            fs::metadata(to.join("inner")).unwrap().modified().unwrap(),
            before
        );
    }
}
