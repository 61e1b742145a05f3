//! One watched directory, or tree of them, from the kernel's records to the protocol's events.
//!
//! The kernel watches single directories. For a tree each directory has a watch of its own, added when it
//! appears; what was put into it before the watch was there is found by scanning and told as if seen. What
//! is both scanned and seen is told once: until the kernel's queue is empty, a creation of a scanned name is
//! the one that the scan has told.

use std::{
    collections::{HashMap, HashSet},
    ffi::OsStr,
    fs, io,
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::{OsStrExt as _, OsStringExt as _},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{
        inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init, remove_watch},
        statfs,
    },
    io::Errno,
};
use thiserror::Error;
use wrenn_rpc::filesystem::{EventType, FilesystemEvent};

use super::super::entry;
use crate::users::Users;

const MAX_DIRECTORIES: usize = 8192;
/// Room for the kernel's records: 64 of the longest.
const RECORDS: usize = 16 << 10;

// linux/magic.h; the names of SMB's two protocols are those of the kernel's drivers.
const NETWORK_FILE_SYSTEMS: [u32; 5] = [
    0x6969,      // NFS
    0x517b,      // SMB
    0xff53_4d42, // CIFS
    0xfe53_4d42, // SMB 2
    0x6573_5546, // FUSE
];

/// What is to be watched, and how it is told.
#[derive(Clone, Debug)]
pub(in crate::filesystem) struct Target {
    /// Absolute, without dots.
    pub(in crate::filesystem) path: String,
    pub(in crate::filesystem) reach: Reach,
    pub(in crate::filesystem) detail: Detail,
    pub(in crate::filesystem) network: Network,
}

/// How deep a watch goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::filesystem) enum Reach {
    Directory,
    Tree,
}

/// Whether events describe the file that they are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::filesystem) enum Detail {
    Name,
    Entry,
}

/// Whether file systems may be watched that others change without this kernel's knowledge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::filesystem) enum Network {
    Refused,
    Allowed,
}

/// A watch that cannot be.
#[derive(Debug, Error)]
pub(in crate::filesystem) enum OpenError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("is on a network file system")]
    Network,
    #[error("more than {MAX_DIRECTORIES} directories")]
    TooMany,
}

/// Why a watch tells nothing more.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(in crate::filesystem) enum Lost {
    #[error("events lost")]
    Overflow,
    #[error("events lost: more than {MAX_DIRECTORIES} directories")]
    TooMany,
}

#[derive(Debug)]
pub(super) struct Tree {
    inotify: OwnedFd,
    target: Target,
    /// Relative to the root, whose own path is empty.
    directories: HashMap<i32, PathBuf>,
    /// What scans have told and the kernel may tell again.
    scanned: HashSet<PathBuf>,
}

/// A record of the kernel, out of its buffer.
struct Record {
    watch: i32,
    flags: ReadFlags,
    name: Option<Vec<u8>>,
}

impl Tree {
    /// Puts the watches in place; what is there already is not told.
    pub(super) fn open(target: Target) -> Result<Self, OpenError> {
        if target.network == Network::Refused {
            let kind = statfs(&target.path).map_err(io::Error::from)?.f_type;
            if NETWORK_FILE_SYSTEMS
                .iter()
                .any(|network| i64::from(*network) == kind)
            {
                return Err(OpenError::Network);
            }
        }
        let inotify =
            init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(io::Error::from)?;
        let mut tree = Self {
            inotify,
            target,
            directories: HashMap::new(),
            scanned: HashSet::new(),
        };
        tree.add(PathBuf::new()).map_err(io::Error::from)?;
        if tree.target.reach == Reach::Tree {
            tree.scan(PathBuf::new(), &mut |_, _, _| {})
                .map_err(|_| OpenError::TooMany)?;
            // These were there before: nobody has told them, so nobody tells them again.
            tree.scanned.clear();
        }
        Ok(tree)
    }

    /// Takes everything that the kernel has, up to `room` events.
    pub(super) fn read(
        &mut self,
        users: &Users,
        room: usize,
    ) -> Result<Vec<FilesystemEvent>, Lost> {
        let mut events = Vec::new();
        loop {
            let records = self.records();
            if records.is_empty() {
                self.scanned.clear();
                return Ok(events);
            }
            for record in records {
                self.take(record, &mut |tree, kind, path| {
                    events.push(tree.event(kind, path, users));
                })?;
                if events.len() > room {
                    return Err(Lost::Overflow);
                }
            }
        }
    }

    /// What the kernel has at once; nothing when it has nothing.
    fn records(&self) -> Vec<Record> {
        let mut buffer = [MaybeUninit::<u8>::uninit(); RECORDS];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        let mut records = Vec::new();
        // The reader goes back to the kernel when its buffer is empty, which then has nothing or more.
        while let Ok(event) = reader.next() {
            records.push(Record {
                watch: event.wd(),
                flags: event.events(),
                name: event.file_name().map(|name| name.to_bytes().to_vec()),
            });
            if reader.is_buffer_empty() {
                break;
            }
        }
        records
    }

    fn take(
        &mut self,
        record: Record,
        tell: &mut impl FnMut(&Self, EventType, &Path),
    ) -> Result<(), Lost> {
        let Record { watch, flags, name } = record;
        if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
            return Err(Lost::Overflow);
        }
        // A record of a watch that has been taken away meanwhile is about what nobody watches.
        let Some(directory) = self.directories.get(&watch).cloned() else {
            return Ok(());
        };
        if flags.contains(ReadFlags::IGNORED) {
            self.directories.remove(&watch);
            return Ok(());
        }
        let Some(name) = name else {
            // Of a directory below the root its parent tells.
            if directory.as_os_str().is_empty()
                && let Some(kind) = of_root(flags)
            {
                tell(self, kind, Path::new("."));
            }
            return Ok(());
        };
        let path = directory.join(OsStr::from_bytes(&name));
        let Some(kind) = of_child(flags) else {
            return Ok(());
        };
        if kind == EventType::Create && self.scanned.remove(&path) {
            return Ok(());
        }
        tell(self, kind, &path);
        let is_directory = flags.contains(ReadFlags::ISDIR) && self.target.reach == Reach::Tree;
        match kind {
            EventType::Create if is_directory => self.enter(path, tell)?,
            EventType::Rename if is_directory => self.forget(&path),
            EventType::Remove | EventType::Rename => drop(self.scanned.remove(&path)),
            _ => {}
        }
        Ok(())
    }

    /// Watches a directory that has appeared. It may be gone again, and then its parent tells that.
    fn enter(
        &mut self,
        path: PathBuf,
        tell: &mut impl FnMut(&Self, EventType, &Path),
    ) -> Result<(), Lost> {
        match self.add(path.clone()) {
            Ok(()) => self.scan(path, tell),
            Err(_) => Ok(()),
        }
    }

    /// Tells what is under `directory`, and watches the directories there.
    fn scan(
        &mut self,
        directory: PathBuf,
        tell: &mut impl FnMut(&Self, EventType, &Path),
    ) -> Result<(), Lost> {
        let mut open = vec![directory];
        while let Some(directory) = open.pop() {
            let Ok(entries) = fs::read_dir(self.absolute(&directory)) else {
                continue;
            };
            for entry in entries.filter_map(Result::ok) {
                let path = directory.join(entry.file_name());
                let Ok(metadata) = entry.metadata() else {
                    continue;
                };
                tell(self, EventType::Create, &path);
                if metadata.is_file() && metadata.len() > 0 {
                    tell(self, EventType::Write, &path);
                }
                self.scanned.insert(path.clone());
                if metadata.is_dir() {
                    if self.directories.len() >= MAX_DIRECTORIES {
                        return Err(Lost::TooMany);
                    }
                    if self.add(path.clone()).is_ok() {
                        open.push(path);
                    }
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, path: PathBuf) -> Result<(), Errno> {
        let mut flags = WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::MODIFY
            | WatchFlags::ATTRIB
            | WatchFlags::DELETE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        if !path.as_os_str().is_empty() {
            flags |= WatchFlags::DONT_FOLLOW;
        }
        let watch = add_watch(&self.inotify, self.absolute(&path), flags)?;
        self.directories.insert(watch, path);
        Ok(())
    }

    /// Takes away the watches of a tree that has been moved elsewhere.
    fn forget(&mut self, path: &Path) {
        let inotify = &self.inotify;
        self.directories.retain(|watch, directory| {
            let moved = directory.starts_with(path);
            if moved {
                // It fails only for a directory that is gone, whose watch is gone with it.
                let _ = remove_watch(inotify, *watch);
            }
            !moved
        });
        self.scanned.retain(|scanned| !scanned.starts_with(path));
    }

    fn absolute(&self, path: &Path) -> PathBuf {
        Path::new(&self.target.path).join(path)
    }

    fn event(&self, kind: EventType, path: &Path, users: &Users) -> FilesystemEvent {
        let name =
            String::from_utf8_lossy(&path.as_os_str().to_os_string().into_vec()).into_owned();
        let described = self.target.detail == Detail::Entry
            && matches!(
                kind,
                EventType::Create | EventType::Write | EventType::Chmod
            );
        let entry = described.then(|| {
            let shown = match name.as_str() {
                "." => self.target.path.clone(),
                name => format!("{}/{name}", self.target.path.trim_end_matches('/')),
            };
            entry::describe(&self.absolute(path), &shown, users).ok()
        });
        FilesystemEvent {
            name,
            r#type: kind.into(),
            entry: entry.flatten().into(),
            ..FilesystemEvent::default()
        }
    }
}

impl AsFd for Tree {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

/// Any records are taken, and what is told is below the root.
#[cfg(feature = "fuzzing")]
pub(crate) fn fuzz(data: &[u8]) {
    // One for all runs: the kernel takes long to give a watcher up.
    static TREE: std::sync::Mutex<Option<Tree>> = std::sync::Mutex::new(None);
    let Ok(mut held) = TREE.lock() else { return };
    if held.is_none() {
        let root = std::env::temp_dir().join("wrenn-fuzz");
        *held = std::fs::create_dir_all(&root).ok().and_then(|()| {
            Tree::open(Target {
                path: root.to_string_lossy().into_owned(),
                reach: Reach::Tree,
                detail: Detail::Entry,
                network: Network::Allowed,
            })
            .ok()
        });
    }
    let Some(tree) = held.as_mut() else { return };
    tree.scanned.clear();
    tree.directories = HashMap::from([(1, PathBuf::new())]);
    let users = Users::system();
    // A watch, the bits of its flags, the length of a name, a name; as the kernel says them, a name is one
    // component.
    let mut rest = data;
    while let [watch, low, high, length, more @ ..] = rest {
        let (name, after) = more.split_at(more.len().min(usize::from(*length)));
        rest = after;
        let name: Vec<u8> = name
            .iter()
            .copied()
            .filter(|byte| !b"/\0".contains(byte))
            .collect();
        let named = !matches!(&name[..], b"" | b"." | b"..");
        let bits = u32::from(*low) | u32::from(*high) << 8 | u32::from(*high >> 4) << 28;
        let record = Record {
            watch: i32::from(*watch % 4),
            flags: ReadFlags::from_bits_retain(bits),
            name: named.then_some(name),
        };
        let taken = tree.take(record, &mut |tree, kind, path| {
            let event = tree.event(kind, path, &users);
            assert!(!event.name.split('/').any(|part| matches!(part, "" | "..")));
        });
        if taken.is_err() {
            return;
        }
    }
}

fn of_root(flags: ReadFlags) -> Option<EventType> {
    match flags {
        flags if flags.contains(ReadFlags::DELETE_SELF) => Some(EventType::Remove),
        flags if flags.contains(ReadFlags::MOVE_SELF) => Some(EventType::Rename),
        flags if flags.contains(ReadFlags::ATTRIB) => Some(EventType::Chmod),
        _ => None,
    }
}

fn of_child(flags: ReadFlags) -> Option<EventType> {
    match flags {
        flags if flags.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO) => {
            Some(EventType::Create)
        }
        flags if flags.contains(ReadFlags::MODIFY) => Some(EventType::Write),
        flags if flags.contains(ReadFlags::ATTRIB) => Some(EventType::Chmod),
        flags if flags.contains(ReadFlags::MOVED_FROM) => Some(EventType::Rename),
        flags if flags.contains(ReadFlags::DELETE) => Some(EventType::Remove),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use tempfile::TempDir;

    use super::*;

    struct Watched {
        root: TempDir,
        tree: Tree,
    }

    fn target(root: &TempDir, reach: Reach) -> Target {
        Target {
            path: root.path().to_str().unwrap().to_owned(),
            reach,
            detail: Detail::Entry,
            network: Network::Refused,
        }
    }

    impl Watched {
        fn new(reach: Reach) -> Self {
            let root = tempfile::tempdir().unwrap();
            let tree = Tree::open(target(&root, reach)).unwrap();
            Self { root, tree }
        }

        fn at(&self, name: &str) -> PathBuf {
            self.root.path().join(name)
        }

        fn read(&mut self) -> Vec<String> {
            let events = self.tree.read(&Users::system(), 16_384).unwrap();
            let told = events.iter().map(|event| {
                let entry = event.entry.as_option();
                let shown = entry.map_or("", |entry| &entry.path);
                assert!(shown.is_empty() || event.name == "." || shown.ends_with(&event.name));
                let kind = format!("{:?}", event.r#type.as_known().unwrap());
                format!("{} {}", kind.trim_start_matches("EVENT_TYPE_"), event.name)
            });
            told.collect()
        }

        #[track_caller]
        fn check(&mut self, expected: &[&str]) {
            assert_eq!(self.read(), expected);
        }
    }

    #[test]
    fn each_change_of_a_file_is_one_event_in_its_order() {
        let mut watched = Watched::new(Reach::Directory);
        fs::write(watched.at("a"), "x").unwrap();
        watched.check(&["CREATE a", "WRITE a"]);
        fs::set_permissions(watched.at("a"), fs::Permissions::from_mode(0o600)).unwrap();
        watched.check(&["CHMOD a"]);
        fs::rename(watched.at("a"), watched.at("b")).unwrap();
        watched.check(&["RENAME a", "CREATE b"]);
        fs::remove_file(watched.at("b")).unwrap();
        watched.check(&["REMOVE b"]);
        symlink("nowhere", watched.at("link")).unwrap();
        watched.check(&["CREATE link"]);
        let elsewhere = tempfile::tempdir_in(watched.root.path().parent().unwrap()).unwrap();
        fs::rename(watched.at("link"), elsewhere.path().join("link")).unwrap();
        watched.check(&["RENAME link"]);
        fs::rename(elsewhere.path().join("link"), watched.at("back")).unwrap();
        watched.check(&["CREATE back"]);
        watched.check(&[]);
    }

    #[test]
    fn a_directory_alone_does_not_tell_of_what_is_below() {
        let mut watched = Watched::new(Reach::Directory);
        fs::create_dir_all(watched.at("d/e")).unwrap();
        fs::write(watched.at("d/f"), "x").unwrap();
        watched.check(&["CREATE d"]);
        fs::remove_dir_all(watched.at("d")).unwrap();
        watched.check(&["REMOVE d"]);
    }

    #[test]
    fn what_appears_in_a_new_directory_is_told_once_however_it_is_noticed() {
        let mut watched = Watched::new(Reach::Tree);
        fs::create_dir_all(watched.at("d/e")).unwrap();
        fs::write(watched.at("d/e/f"), "x").unwrap();
        fs::write(watched.at("d/empty"), "").unwrap();
        let mut told = watched.read();
        assert_eq!(told.remove(0), "CREATE d");
        told.sort_unstable();
        let expected = [
            "CREATE d/e",
            "CREATE d/e/f",
            "CREATE d/empty",
            "WRITE d/e/f",
        ];
        assert_eq!(told, expected);
        // From now on they are watched like any other.
        fs::write(watched.at("d/e/f"), "yy").unwrap();
        fs::remove_file(watched.at("d/empty")).unwrap();
        fs::write(watched.at("d/empty"), "").unwrap();
        let told = watched.read();
        assert!(told.iter().all(|event| event != "CREATE d/e/f"));
        assert_eq!(told[told.len() - 2..], ["REMOVE d/empty", "CREATE d/empty"]);
    }

    #[test]
    fn a_directory_that_is_moved_is_watched_under_its_new_name_only() {
        let mut watched = Watched::new(Reach::Tree);
        fs::create_dir(watched.at("old")).unwrap();
        fs::write(watched.at("old/f"), "").unwrap();
        watched.read();
        fs::rename(watched.at("old"), watched.at("new")).unwrap();
        watched.check(&["RENAME old", "CREATE new", "CREATE new/f"]);
        fs::write(watched.at("new/f"), "x").unwrap();
        watched.check(&["WRITE new/f"]);
        let elsewhere = tempfile::tempdir_in(watched.root.path().parent().unwrap()).unwrap();
        fs::rename(watched.at("new"), elsewhere.path().join("gone")).unwrap();
        watched.check(&["RENAME new"]);
        fs::write(elsewhere.path().join("gone/f"), "yy").unwrap();
        watched.check(&[]);
        assert_eq!(watched.tree.directories.len(), 1);
    }

    #[test]
    fn what_was_there_before_is_watched_and_not_told() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("d/e")).unwrap();
        fs::write(root.path().join("d/f"), "x").unwrap();
        let tree = Tree::open(target(&root, Reach::Tree)).unwrap();
        let mut watched = Watched { root, tree };
        watched.check(&[]);
        fs::remove_file(watched.at("d/f")).unwrap();
        fs::write(watched.at("d/f"), "").unwrap();
        fs::write(watched.at("d/e/g"), "").unwrap();
        watched.check(&["REMOVE d/f", "CREATE d/f", "CREATE d/e/g"]);
        fs::remove_dir_all(watched.at("d/e")).unwrap();
        watched.check(&["REMOVE d/e/g", "REMOVE d/e"]);
    }

    #[test]
    fn the_root_tells_of_itself() {
        let mut watched = Watched::new(Reach::Tree);
        fs::set_permissions(watched.root.path(), fs::Permissions::from_mode(0o700)).unwrap();
        watched.check(&["CHMOD ."]);
        fs::remove_dir(watched.root.path()).unwrap();
        watched.check(&["REMOVE ."]);
    }

    #[test]
    fn too_much_is_a_loss_and_never_a_silence() {
        let mut watched = Watched::new(Reach::Directory);
        for name in ["a", "b", "c"] {
            fs::write(watched.at(name), "").unwrap();
        }
        let lost = watched.tree.read(&Users::system(), 2).unwrap_err();
        assert_eq!(lost, Lost::Overflow);
    }

    #[test]
    fn only_directories_are_watched() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("f"), "").unwrap();
        let open = |name: &str| {
            let mut target = target(&root, Reach::Tree);
            target.path = format!("{}/{name}", target.path);
            match Tree::open(target).unwrap_err() {
                OpenError::Io(fault) => fault.raw_os_error(),
                other => panic!("{other}"),
            }
        };
        assert_eq!(open("f"), Some(libc::ENOTDIR));
        assert_eq!(open("missing"), Some(libc::ENOENT));
    }
}
