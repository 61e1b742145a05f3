//! Loop devices by ioctl, found again by their backing file's identity.
//!
//! A device of ours carries a mark in its `lo_file_name`, is configured in one call (`LOOP_CONFIGURE`)
//! and never clears itself: it outlives the agent. Its number alone proves nothing, since numbers are
//! reused; [`LoopId`] pairs it with the backing file and is checked before anything is detached.

mod abi;

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use rustix::io::Errno;

use crate::leftover::{Held, Leftover, Piece, Reaper};
use crate::retry::blocking;
use crate::{DeviceNumber, Error, Result};

/// Races with other users of loop devices that we lose before giving up.
const TRIES: u32 = 64;

/// How a loop device uses its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read-only through the page cache, which all readers of the file then share.
    ReadOnlyCached,
    /// Read-write with direct I/O, so that data are not cached twice.
    ReadWriteDirect,
}

/// Identity of a file: survives renames, differs after replacement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FileId {
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

impl FileId {
    pub(crate) fn of(path: &Path) -> Result<Self> {
        let stat = std::fs::metadata(path).map_err(|source| Error::File {
            action: "look up",
            path: path.into(),
            source,
        })?;
        Ok(Self {
            device: stat.dev(),
            inode: stat.ino(),
        })
    }
}

/// A loop device of ours: `/dev/loop<number>` as long as it is backed by `file`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LoopId {
    pub(crate) number: u32,
    pub(crate) device: DeviceNumber,
    pub(crate) file: FileId,
}

impl LoopId {
    /// Its length in sectors of 512 bytes.
    pub(crate) fn sectors(self) -> Result<u64> {
        let path = node(self.number);
        let end = File::open(&path).and_then(|mut device| device.seek(SeekFrom::End(0)));
        let bytes = end.map_err(|source| Error::File {
            action: "measure",
            path,
            source,
        })?;
        Ok(bytes / 512)
    }
}

/// A loop device that is detached on release.
#[derive(Debug)]
pub struct LoopDevice {
    id: LoopId,
    held: Held,
}

impl LoopDevice {
    /// Attaches `file` to a free loop device.
    pub async fn attach(file: &Path, access: Access, reaper: Reaper) -> Result<Self> {
        let file = file.to_owned();
        let id = blocking(move || attach(&file, access)).await?;
        Ok(Self {
            id,
            held: Held::new(Leftover::of([Piece::Loop(id)]), reaper),
        })
    }

    /// Major and minor number of the block device.
    pub fn device_number(&self) -> DeviceNumber {
        self.id.device
    }

    /// `/dev/loop<number>`.
    pub fn path(&self) -> PathBuf {
        node(self.id.number)
    }

    /// Detaches the device; what cannot be detached goes to the reaper and the error is returned.
    pub async fn release(self) -> Result<()> {
        self.held.release().await
    }
}

pub(crate) fn attach(file: &Path, access: Access) -> Result<LoopId> {
    let writable = access == Access::ReadWriteDirect;
    let backing = File::options()
        .read(true)
        .write(writable)
        .open(file)
        .map_err(|source| Error::File {
            action: "open for a loop device",
            path: file.into(),
            source,
        })?;
    let control = open_node(Path::new("/dev/loop-control"))?;
    for _ in 0..TRIES {
        let number = abi::get_free(&control).map_err(|source| Error::Loop {
            action: "find a free one",
            number: 0,
            source,
        })?;
        let device = open_node(&node(number))?;
        match abi::configure(&device, &backing, access) {
            Ok(()) => {
                let described = describe(number, &device).and_then(|found| {
                    found.map(|(id, _)| id).ok_or(Error::Loop {
                        action: "read back its own configuration",
                        number,
                        source: Errno::NXIO,
                    })
                });
                if described.is_err() {
                    let _ = abi::clear(&device); // no identity, so no guard could
                }
                return described;
            }
            Err(Errno::BUSY) => {} // somebody else took this number between the two calls
            Err(source) => {
                return Err(Error::Loop {
                    action: "configure",
                    number,
                    source,
                });
            }
        }
    }
    Err(Error::NoFreeLoop {
        path: file.into(),
        tries: TRIES,
    })
}

/// Detaches the device unless it is gone or has become somebody else's.
pub(crate) fn detach(id: LoopId) -> Result<()> {
    let device = match File::open(node(id.number)) {
        Ok(device) => device,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(source) => {
            return Err(Error::File {
                action: "open",
                path: node(id.number),
                source,
            });
        }
    };
    match describe(id.number, &device)? {
        Some((found, _)) if found == id => match abi::clear(&device) {
            Ok(()) | Err(Errno::NXIO) => Ok(()),
            Err(source) => Err(Error::Loop {
                action: "detach",
                number: id.number,
                source,
            }),
        },
        _ => Ok(()),
    }
}

/// Our loop devices with the path of the file behind each.
pub(crate) fn list_ours() -> Result<Vec<(LoopId, PathBuf)>> {
    let root = Path::new("/sys/block");
    let listing = std::fs::read_dir(root).map_err(|source| Error::File {
        action: "list",
        path: root.into(),
        source,
    })?;
    let numbers = listing.flatten().filter_map(|entry| {
        entry
            .file_name()
            .to_str()?
            .strip_prefix("loop")?
            .parse::<u32>()
            .ok()
    });
    let mut ours = Vec::new();
    for number in numbers {
        // The attribute exists only while the device is bound; its text is informational, the identity is not.
        let Ok(text) =
            std::fs::read_to_string(root.join(format!("loop{number}/loop/backing_file")))
        else {
            continue;
        };
        let Ok(device) = File::open(node(number)) else {
            continue;
        };
        if let Some((id, Marked::Ours)) = describe(number, &device)? {
            ours.push((id, PathBuf::from(text.trim_end_matches('\n'))));
        }
    }
    Ok(ours)
}

/// One of our devices bound to `file`, if there is one.
pub(crate) fn find(file: FileId) -> Result<Option<LoopId>> {
    Ok(list_ours()?
        .into_iter()
        .map(|(id, _)| id)
        .find(|id| id.file == file))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Marked {
    Ours,
    Foreign,
}

fn describe(number: u32, device: &File) -> Result<Option<(LoopId, Marked)>> {
    let status = match abi::status(device) {
        Ok(status) => status,
        Err(Errno::NXIO) => return Ok(None),
        Err(source) => {
            return Err(Error::Loop {
                action: "get its status",
                number,
                source,
            });
        }
    };
    let stat = rustix::fs::fstat(device).map_err(|source| Error::Loop {
        action: "stat its node",
        number,
        source,
    })?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::BlockDevice {
        return Ok(None);
    }
    let file = FileId {
        device: status.device,
        inode: status.inode,
    };
    let id = LoopId {
        number,
        device: DeviceNumber::from_raw(stat.st_rdev),
        file,
    };
    Ok(Some((
        id,
        if status.is_ours {
            Marked::Ours
        } else {
            Marked::Foreign
        },
    )))
}

fn node(number: u32) -> PathBuf {
    PathBuf::from(format!("/dev/loop{number}"))
}

fn open_node(path: &Path) -> Result<File> {
    File::options()
        .read(true)
        .write(true)
        .open(path)
        .map_err(|source| Error::File {
            action: "open",
            path: path.into(),
            source,
        })
}
