//! Makes and removes directory trees by descriptors, so that a link that appears on the way leads nowhere.

use std::os::fd::OwnedFd;

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Uid, fchown, mkdirat, openat, unlinkat},
    io::Errno,
};

use crate::users::User;

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

/// Whether something was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Made {
    Now,
    Before,
}

/// Makes the directory `path` (absolute, without dots) and its missing parents, which belong to `user`.
/// Links on the way that exist already are followed.
pub(crate) fn make_all(path: &str, user: &User) -> Result<Made, Errno> {
    let mut at = openat(CWD, "/", DIRECTORY, Mode::empty())?;
    let mut made = Made::Before;
    for name in path.split('/').filter(|name| !name.is_empty()) {
        at = match openat(&at, name, DIRECTORY, Mode::empty()) {
            Ok(next) => next,
            Err(Errno::NOENT) => {
                made = Made::Now;
                make(&at, name, user)?
            }
            Err(fault) => return Err(fault),
        };
    }
    Ok(made)
}

fn make(at: &OwnedFd, name: &str, user: &User) -> Result<OwnedFd, Errno> {
    match mkdirat(at, name, Mode::from_raw_mode(0o755)) {
        Ok(()) => {}
        // Somebody else has made it meanwhile; whose it is is theirs to say.
        Err(Errno::EXIST) => return openat(at, name, DIRECTORY, Mode::empty()),
        Err(fault) => return Err(fault),
    }
    let made = openat(at, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
    fchown(
        &made,
        Some(Uid::from_raw(user.uid)),
        Some(Gid::from_raw(user.gid)),
    )?;
    Ok(made)
}

/// Removes `path` and everything in it; links are removed and not followed. What is not there is removed.
pub(crate) fn remove_all(path: &str) -> Result<(), Errno> {
    let (parent, name) = path.rsplit_once('/').unwrap_or(("/", path));
    let parent = if parent.is_empty() { "/" } else { parent };
    match openat(CWD, parent, DIRECTORY, Mode::empty()) {
        Ok(parent) => remove(parent, name),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
        Err(fault) => Err(fault),
    }
}

/// One directory that is being emptied.
struct Level {
    name: Vec<u8>,
    parent: OwnedFd,
    entries: Dir,
}

/// Descends without recursion: how deep a tree is is the guest's to choose.
fn remove(parent: OwnedFd, name: &str) -> Result<(), Errno> {
    let Some(first) = open_or_unlink(parent, name.as_bytes())? else {
        return Ok(());
    };
    let mut levels = vec![first];
    while let Some(level) = levels.last_mut() {
        match level.entries.read() {
            Some(entry) => {
                let entry = entry?;
                let name = entry.file_name().to_bytes();
                if matches!(name, b"." | b"..") {
                    continue;
                }
                let at = level
                    .entries
                    .fd()?
                    .try_clone_to_owned()
                    .map_err(|_| Errno::MFILE)?;
                if entry.file_type() != FileType::Directory
                    && entry.file_type() != FileType::Unknown
                {
                    gone(unlinkat(&at, name, AtFlags::empty()))?;
                } else if let Some(next) = open_or_unlink(at, name)? {
                    levels.push(next);
                }
            }
            None => {
                let Some(empty) = levels.pop() else { break };
                gone(unlinkat(&empty.parent, &empty.name[..], AtFlags::REMOVEDIR))?;
            }
        }
    }
    Ok(())
}

/// Opens a directory for emptying; anything else is unlinked at once.
fn open_or_unlink(parent: OwnedFd, name: &[u8]) -> Result<Option<Level>, Errno> {
    match openat(&parent, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
        Ok(directory) => Ok(Some(Level {
            name: name.to_vec(),
            parent,
            entries: Dir::new(directory)?,
        })),
        Err(Errno::NOTDIR | Errno::LOOP) => {
            gone(unlinkat(&parent, name, AtFlags::empty()))?;
            Ok(None)
        }
        Err(Errno::NOENT) => Ok(None),
        Err(fault) => Err(fault),
    }
}

fn gone(removed: Result<(), Errno>) -> Result<(), Errno> {
    match removed {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::MetadataExt as _, os::unix::fs::symlink};

    use super::*;

    fn somebody() -> User {
        User {
            name: "daemon".into(),
            uid: 1,
            gid: 2,
            home: "/".into(),
            groups: vec![2],
        }
    }

    #[test]
    fn missing_parents_are_made_for_the_user_and_others_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b/c");
        assert_eq!(make_all(path.to_str().unwrap(), &somebody()), Ok(Made::Now));
        assert_eq!(
            make_all(path.to_str().unwrap(), &somebody()),
            Ok(Made::Before)
        );
        let owner = |path: &std::path::Path| {
            let it = fs::metadata(path).unwrap();
            (it.uid(), it.gid(), it.mode() & 0o777)
        };
        assert_eq!(owner(&path), (1, 2, 0o755));
        assert_eq!(owner(&root.path().join("a")), (1, 2, 0o755));
        assert_eq!(owner(root.path()).0, 0);
        fs::write(root.path().join("file"), "").unwrap();
        let below = root.path().join("file/x");
        assert_eq!(
            make_all(below.to_str().unwrap(), &somebody()),
            Err(Errno::NOTDIR)
        );
    }

    #[test]
    fn removing_never_follows_a_link() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::create_dir_all(at("keep")).unwrap();
        fs::write(at("keep/file"), "").unwrap();
        fs::create_dir_all(at(&format!("tree/{}", vec!["d"; 200].join("/")))).unwrap();
        fs::write(at("tree/d/file"), "").unwrap();
        symlink(at("keep"), at("tree/d/link")).unwrap();
        symlink(at("keep"), at("link")).unwrap();
        for name in ["tree", "link", "tree", "missing/deep"] {
            assert_eq!(remove_all(at(name).to_str().unwrap()), Ok(()), "{name}");
            assert!(fs::symlink_metadata(at(name)).is_err());
        }
        assert!(at("keep/file").exists());
        assert_eq!(remove_all(at("keep/file").to_str().unwrap()), Ok(()));
        assert!(!at("keep/file").exists());
    }
}
