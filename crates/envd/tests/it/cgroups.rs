//! A cgroup v2 hierarchy for one envd, and a process that no freezer can stop.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

/// A group of this machine's cgroup v2 hierarchy, taken away with everything in it.
#[derive(Debug)]
pub(crate) struct Groups {
    root: PathBuf,
    /// Mounted for this test, where the machine has none.
    mounted: Option<tempfile::TempDir>,
}

impl Groups {
    pub(crate) fn new() -> Self {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let known = mounts.lines().find_map(|line| {
            let mut words = line.split(' ').skip(1);
            let path = words.next()?;
            (words.next() == Some("cgroup2")).then(|| PathBuf::from(path))
        });
        let (top, mounted) = match known {
            Some(top) => (top, None),
            None => {
                let directory = tempfile::tempdir().unwrap();
                let flags = rustix::mount::MountFlags::empty();
                rustix::mount::mount("cgroup2", directory.path(), "cgroup2", flags, None).unwrap();
                (directory.path().to_path_buf(), Some(directory))
            }
        };
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        let root = top.join(format!("wrenn-envd-{}-{number}", std::process::id()));
        fs::create_dir(&root).unwrap();
        Self { root, mounted }
    }

    pub(crate) fn root(&self) -> &str {
        self.root.to_str().unwrap()
    }

    pub(crate) fn add(&self, group: &str) {
        fs::create_dir(self.root.join(group)).unwrap();
    }

    pub(crate) fn read(&self, file: &str) -> String {
        fs::read_to_string(self.root.join(file)).unwrap()
    }

    pub(crate) fn write(&self, file: &str, value: &str) {
        fs::write(self.root.join(file), value).unwrap();
    }

    pub(crate) fn is_frozen(&self, group: &str) -> bool {
        self.read(&format!("{group}/cgroup.events"))
            .contains("frozen 1")
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        // A frozen process dies of this too.
        let _ = fs::write(self.root.join("cgroup.kill"), "1");
        let until = Instant::now() + Duration::from_secs(10);
        while remove(&self.root).is_err() && Instant::now() < until {
            std::thread::yield_now();
        }
        if let Some(directory) = &self.mounted {
            let _ = rustix::mount::unmount(directory.path(), rustix::mount::UnmountFlags::DETACH);
        }
    }
}

/// Removes a group when nothing is in it or below it any more.
fn remove(group: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(group)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    fs::remove_dir(group)
}

/// A file that can be opened only when this says so. Whoever waits for it waits in the kernel, where
/// neither a signal nor a freezer reaches.
#[derive(Debug)]
pub(crate) struct Gate {
    notices: File,
    /// Opens of others that wait for an answer.
    waiting: Vec<i32>,
}

impl Gate {
    /// Closes an existing file.
    pub(crate) fn close(path: &Path) -> Self {
        let name = std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap();
        let flags = libc::FAN_CLASS_CONTENT | libc::FAN_CLOEXEC;
        // SAFETY: the call takes numbers, and its result is checked before it is owned.
        let notices = unsafe {
            let descriptor = libc::fanotify_init(flags, libc::O_RDONLY as u32);
            assert!(descriptor >= 0, "{}", std::io::Error::last_os_error());
            OwnedFd::from_raw_fd(descriptor)
        };
        // SAFETY: the descriptor is open and the path ends with a NUL byte.
        let marked = unsafe {
            libc::fanotify_mark(
                notices.as_raw_fd(),
                libc::FAN_MARK_ADD,
                libc::FAN_OPEN_PERM,
                libc::AT_FDCWD,
                name.as_ptr(),
            )
        };
        assert_eq!(marked, 0, "{}", std::io::Error::last_os_error());
        Self {
            notices: notices.into(),
            waiting: Vec::new(),
        }
    }

    /// Waits until somebody waits.
    pub(crate) fn somebody_waits(&mut self) {
        let mut event = [0; 4096];
        let length = self.notices.read(&mut event).unwrap();
        assert_eq!(length, 24, "one event");
        self.waiting
            .push(i32::from_ne_bytes(event[16..20].try_into().unwrap()));
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        for event in self.waiting.drain(..) {
            // `struct fanotify_response`.
            let answer = [event.to_ne_bytes(), libc::FAN_ALLOW.to_ne_bytes()].concat();
            let _ = self.notices.write_all(&answer);
            // SAFETY: the event brought this descriptor, and nobody else has it.
            drop(unsafe { OwnedFd::from_raw_fd(event) });
        }
    }
}
