//! What the root file system has in memory: written out, thrown away, or held still on the disk.

use std::{
    fs::{self, File},
    io,
    os::fd::AsRawFd as _,
};

// linux/fs.h: _IOWR('X', 119, int) and _IOWR('X', 120, int)
const FIFREEZE: libc::c_ulong = 0xC004_5877;
const FITHAW: libc::c_ulong = 0xC004_5878;

const ROOT: &str = "/";

/// Writes out everything that is not on the disk yet.
pub(crate) fn sync() -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(ROOT)?)?)
}

/// Throws the clean pages of all files out of memory.
pub(crate) fn drop_caches() -> io::Result<()> {
    fs::write("/proc/sys/vm/drop_caches", "1")
}

/// The root file system, whole on its disk, and whoever writes to it waiting. Goes on when dropped.
#[derive(Debug)]
pub(crate) struct FrozenRoot {
    root: File,
}

impl FrozenRoot {
    /// Waits for writes under way.
    pub(crate) fn freeze() -> io::Result<Self> {
        let root = File::open(ROOT)?;
        // SAFETY: the descriptor is open and the request ignores its argument.
        if unsafe { libc::ioctl(root.as_raw_fd(), FIFREEZE, 0) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { root })
    }
}

impl Drop for FrozenRoot {
    fn drop(&mut self) {
        // SAFETY: the descriptor is open and the request ignores its argument.
        if unsafe { libc::ioctl(self.root.as_raw_fd(), FITHAW, 0) } != 0 {
            // Somebody in the guest has thawed it before.
            let fault = io::Error::last_os_error();
            tracing::warn!(%fault, "the root file system was not frozen any more");
        }
    }
}
