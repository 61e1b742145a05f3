//! What can fail in this crate, each said once.

use std::path::PathBuf;

use rustix::io::Errno;

use crate::{DeviceName, DeviceNumber};

/// Result of an operation on disks.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An operation on a loop device, a dm device or a CoW file that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name that is not `[a-z0-9-]`, 1–100 characters.
    #[error("device name {0:?} is not 1 to 100 characters of a-z, 0-9 and '-'")]
    BadName(String),
    /// A size that is zero, not whole sectors, or beyond what the store can address.
    #[error("disk size of {0} bytes is not a positive number of whole 4096-byte blocks")]
    BadSize(u64),
    /// The disk is smaller than its base.
    #[error("disk of {wanted} sectors is smaller than its base of {base} sectors")]
    SmallerThanBase { wanted: u64, base: u64 },
    /// More frozen CoW files in one column than [`crate::MAX_FROZEN`].
    #[error("{0} frozen CoW files over one image are too many")]
    TooHigh(usize),
    /// A file could not be opened, made, measured or deleted.
    #[error("{action} {}", path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The dm control device refused a command.
    #[error("device-mapper: {action} {name}")]
    Dm {
        action: &'static str,
        name: String,
        #[source]
        source: Errno,
    },
    /// The kernel's reply does not have the documented form.
    #[error("device-mapper: reply to {action} is malformed: {detail}")]
    MalformedReply {
        action: &'static str,
        detail: &'static str,
    },
    /// The loop driver refused a command.
    #[error("loop device {number}: {action}")]
    Loop {
        action: &'static str,
        number: u32,
        #[source]
        source: Errno,
    },
    /// No free loop device was won in the bounded number of tries.
    #[error("no free loop device for {} after {tries} tries", path.display())]
    NoFreeLoop { path: PathBuf, tries: u32 },
    /// A device that should be adopted is missing or is not built as it should be.
    #[error("cannot adopt {name}: {detail}")]
    NotAdoptable {
        name: DeviceName,
        detail: &'static str,
    },
    /// An existing shared device does not lie on what it is named after.
    #[error("shared device {name} does not lie on {base}")]
    ForeignOrigin {
        name: DeviceName,
        base: DeviceNumber,
    },
    /// A CoW file does not have the kernel's form.
    #[error("{} is not a sound CoW file: {detail}", path.display())]
    NotAStore { path: PathBuf, detail: &'static str },
    /// What was written to the upper snapshot has not moved down in time.
    #[error("{name} is still being merged")]
    MergeLate { name: DeviceName },
    /// A blocking task was cancelled because the runtime is going away.
    #[error("the runtime is shutting down")]
    ShuttingDown,
}

impl Error {
    /// True for "somebody still has it open": the one error that waiting can cure.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(
            self,
            Self::Dm { source, .. } | Self::Loop { source, .. } if *source == Errno::BUSY
        )
    }
}
