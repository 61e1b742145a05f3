//! Grows the root file system to its device: the image is small, the sandbox's disk is what was asked for.
//!
//! Online, by ext4's own resize, after the listener is open and again after a restore. The image is made
//! with lazily initialised inode tables, so this writes descriptors, not gigabytes; it runs on a blocking
//! thread and nothing waits for it.

use std::{fs, fs::File, io, os::fd::AsRawFd as _, os::unix::fs::MetadataExt as _};

use thiserror::Error;

// linux/ext4.h: _IOW('f', 16, __u64)
const EXT4_IOC_RESIZE_FS: libc::c_ulong = 0x4008_6610;
const EXT4_MAGIC: u64 = 0xEF53;
/// The unit of `/sys/dev/block/*/size`, whatever the device's own sector is.
const SECTOR: u64 = 512;

/// Growing that did not happen.
#[derive(Debug, Error)]
pub(crate) enum GrowError {
    #[error("measure the root file system")]
    Measure(#[source] io::Error),
    #[error("grow the root file system to {blocks} blocks")]
    Resize { blocks: u64, source: io::Error },
}

/// Grows `/` to the size of its device; a root that is not ext4 or fills its device is left alone.
pub(crate) fn grow_root() -> Result<(), GrowError> {
    let measured = measure().map_err(GrowError::Measure)?;
    let Some(blocks) = measured else {
        return Ok(());
    };
    let root = File::open("/").map_err(GrowError::Measure)?;
    // SAFETY: the descriptor is open and the kernel reads one 64-bit number, which outlives the call.
    let resized = unsafe { libc::ioctl(root.as_raw_fd(), EXT4_IOC_RESIZE_FS, &raw const blocks) };
    if resized != 0 {
        return Err(GrowError::Resize {
            blocks,
            source: io::Error::last_os_error(),
        });
    }
    Ok(())
}

/// How many file system blocks the device has room for.
fn measure() -> io::Result<Option<u64>> {
    let system = rustix::fs::statfs("/")?;
    if u64::try_from(system.f_type).ok() != Some(EXT4_MAGIC) {
        return Ok(None);
    }
    let device = fs::metadata("/")?.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let sectors = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/size"))?;
    let bytes = sectors
        .trim()
        .parse::<u64>()
        .unwrap_or(0)
        .saturating_mul(SECTOR);
    let block = u64::try_from(system.f_bsize).unwrap_or(0);
    Ok(bytes
        .checked_div(block)
        .filter(|blocks| *blocks > system.f_blocks))
}
