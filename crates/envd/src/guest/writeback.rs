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
        ask(&root, FIFREEZE)?;
        Ok(Self { root })
    }
}

impl Drop for FrozenRoot {
    fn drop(&mut self) {
        if let Err(fault) = ask(&self.root, FITHAW) {
            // Somebody in the guest has thawed it before.
            tracing::warn!(%fault, "the root file system was not frozen any more");
        }
    }
}

fn ask(root: &File, request: libc::c_ulong) -> io::Result<()> {
    // SAFETY: the descriptor is open and both requests ignore their argument.
    match unsafe { libc::ioctl(root.as_raw_fd(), request, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether somebody has frozen the file system.
#[cfg(test)]
pub(crate) fn is_frozen(root: &File) -> io::Result<bool> {
    match ask(root, FIFREEZE) {
        Ok(()) => ask(root, FITHAW).map(|()| false),
        Err(fault) if fault.raw_os_error() == Some(libc::EBUSY) => Ok(true),
        Err(fault) => Err(fault),
    }
}

/// Lets the file system go on, whoever has frozen it.
#[cfg(test)]
pub(crate) fn thaw(root: &File) -> io::Result<()> {
    ask(root, FITHAW)
}
