//! Puts files and device nodes into a chroot. A running VM sees what comes later too, but no mounts.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode};
use rustix::mount::MountFlags;
use rustix::process::{Gid, Uid};

use super::error::JailError;

/// Hard link, else read-only bind mount.
pub(super) fn file(root: &Path, source: &Path, name: &str) -> Result<PathBuf, JailError> {
    match link(root, source, name) {
        Err(JailError::File { source: error, .. })
            if error.kind() == io::ErrorKind::CrossesDevices => {}
        linked => return linked,
    }
    let (inside, target) = paths(root, name)?;
    let failed = |action| {
        let target = target.clone();
        move |source: rustix::io::Errno| JailError::file(action, &target, source.into())
    };
    std::fs::File::create_new(&target)
        .map_err(|source| JailError::file("create", &target, source))?;
    rustix::mount::mount_bind(source, &target).map_err(failed("mount into the jail as"))?;
    rustix::mount::mount_remount(&target, MountFlags::BIND | MountFlags::RDONLY, c"")
        .map_err(failed("make read-only"))?;
    Ok(inside)
}

/// Hard link.
pub(super) fn link(root: &Path, source: &Path, name: &str) -> Result<PathBuf, JailError> {
    let (inside, target) = paths(root, name)?;
    // A link to a symbolic link would lead nowhere inside.
    let source = &source
        .canonicalize()
        .map_err(|error| JailError::file("find", source, error))?;
    std::fs::hard_link(source, &target)
        .map_err(|source| JailError::file("link into the jail as", &target, source))?;
    Ok(inside)
}

/// A node for a block device, readable and writable by `owner` alone.
pub(super) fn block_device(
    root: &Path,
    major: u32,
    minor: u32,
    name: &str,
    owner: (u32, u32),
) -> Result<PathBuf, JailError> {
    let (inside, target) = paths(root, name)?;
    let failed =
        |source: rustix::io::Errno| JailError::file("make the device node", &target, source.into());
    let device = rustix::fs::makedev(major, minor);
    rustix::fs::mknodat(
        CWD,
        &target,
        FileType::BlockDevice,
        Mode::from_raw_mode(0o600),
        device,
    )
    .map_err(failed)?;
    let (uid, gid) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
    rustix::fs::chown(&target, Some(uid), Some(gid)).map_err(failed)?;
    Ok(inside)
}

/// The path inside the chroot and the same from outside.
fn paths(root: &Path, name: &str) -> Result<(PathBuf, PathBuf), JailError> {
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
        return Err(JailError::BadName {
            name: name.to_owned(),
        });
    }
    Ok((Path::new("/").join(name), root.join(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placed_file_is_the_same_file() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("vmlinux-1");
        std::fs::write(&source, "kernel").unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir(&root).unwrap();
        assert_eq!(
            file(&root, &source, "vmlinux").unwrap(),
            Path::new("/vmlinux")
        );
        assert_eq!(std::fs::read(root.join("vmlinux")).unwrap(), b"kernel");
        assert!(
            file(&root, &source, "vmlinux").is_err(),
            "a name is used once"
        );
    }

    #[test]
    fn a_name_cannot_leave_the_jail() {
        for name in ["", ".", "..", "a/b", "/etc", "a\0"] {
            assert!(
                matches!(
                    paths(Path::new("/jail"), name),
                    Err(JailError::BadName { .. })
                ),
                "{name:?}"
            );
        }
    }
}
