//! The file systems and links that a guest starts with.

use std::{
    ffi::CStr,
    fs, io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
};

use rustix::{
    io::Errno,
    mount::{MountFlags, mount},
};

use super::{BootError, warn};

struct Mount {
    target: &'static str,
    kind: &'static str,
    flags: MountFlags,
    data: Option<&'static CStr>,
    needed: Needed,
}

#[derive(PartialEq)]
enum Needed {
    Always,
    /// The guest serves without it.
    Preferred,
}

const QUIET: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);
const INERT: MountFlags = QUIET.union(MountFlags::NOEXEC);
const TERMINALS: MountFlags = MountFlags::NOSUID.union(MountFlags::NOEXEC);

const MOUNTS: [Mount; 7] = [
    Mount {
        target: "/proc",
        kind: "proc",
        flags: INERT,
        data: None,
        needed: Needed::Always,
    },
    Mount {
        target: "/sys",
        kind: "sysfs",
        flags: INERT,
        data: None,
        needed: Needed::Preferred,
    },
    Mount {
        target: "/dev",
        kind: "devtmpfs",
        flags: MountFlags::NOSUID,
        data: None,
        needed: Needed::Always,
    },
    Mount {
        target: "/dev/pts",
        kind: "devpts",
        flags: TERMINALS,
        data: Some(c"gid=5,mode=620,ptmxmode=666"),
        needed: Needed::Preferred,
    },
    Mount {
        target: "/dev/shm",
        kind: "tmpfs",
        flags: QUIET,
        data: Some(c"mode=1777"),
        needed: Needed::Preferred,
    },
    Mount {
        target: "/run",
        kind: "tmpfs",
        flags: QUIET,
        data: Some(c"mode=0755"),
        needed: Needed::Preferred,
    },
    Mount {
        target: "/sys/fs/cgroup",
        kind: "cgroup2",
        flags: INERT,
        data: None,
        needed: Needed::Preferred,
    },
];

const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("/proc/self/mounts", "/etc/mtab"),
];

/// Mounts what is not mounted yet and opens `/tmp` to everybody.
pub(super) fn mount_all() -> Result<(), BootError> {
    for one in MOUNTS {
        // A directory that is there already is the usual case, and mounting tells of every other fault.
        let _ = fs::create_dir(one.target);
        if is_mounted(Path::new(one.target)) {
            // The initrd has moved its own here.
            continue;
        }
        match mount(one.kind, one.target, one.kind, one.flags, one.data) {
            Ok(()) | Err(Errno::BUSY) => {}
            Err(fault) if one.needed == Needed::Always => {
                return Err(BootError::Mount {
                    target: one.target,
                    source: fault.into(),
                });
            }
            Err(fault) => warn(&format!("mount {}", one.target), Err(fault)),
        }
    }
    let _ = fs::create_dir("/tmp");
    warn(
        "open /tmp",
        fs::set_permissions("/tmp", fs::Permissions::from_mode(0o1777)),
    );
    Ok(())
}

/// Whether another file system begins here.
fn is_mounted(target: &Path) -> bool {
    let device = |path: &Path| fs::metadata(path).map(|it| it.dev()).ok();
    let parent = target.parent().unwrap_or(Path::new("/"));
    device(target).is_some_and(|own| Some(own) != device(parent))
}

/// Makes the links that programs expect; one that is there stays.
pub(super) fn link_all() {
    for (target, link) in LINKS {
        match std::os::unix::fs::symlink(target, link) {
            Err(fault) if fault.kind() != io::ErrorKind::AlreadyExists => {
                warn(&format!("link {link}"), Err(fault));
            }
            _ => {}
        }
    }
}
