//! Sandbox disks: loop devices and device-mapper snapshots, by ioctl.
//!
//! A disk is a stack, built bottom-up and taken apart top-down:
//!
//! ```text
//! dm  wrenn-<name>         snapshot <origin> <cow> P 8          one per sandbox
//!  ├─ loop of cow.img      read-write, direct I/O               one per sandbox
//!  └─ origin               the base at the disk's size          one per (base, size)
//!      ├─ dm wrenn-base-…  linear base + zero tail              only if the disk is larger
//!      └─ loop of rootfs   read-only, page cache shared         one per base file
//! ```
//!
//! A disk whose CoW file must stay as it is until something is certain gets a second snapshot on top
//! (`wrenn-<name>` over `wrenn-<name>-below`), whose writes go to a scratch file and then move down while the
//! disk is in use.
//!
//! Disks that share more than the base file system (clones of one snapshot) lie on *frozen* CoW files, that is
//! on read-only snapshots which nobody writes any more, one device for all of them.
//!
//! **Growing to the disk's size.** The base file system is 1 GiB, a disk may be larger, and base files
//! are immutable. The origin is therefore extended by a `zero` target, which needs no space; the CoW
//! store takes whatever is written there. The ext4 itself is grown *by the guest*, online
//! (`EXT4_IOC_RESIZE_FS` on `/` to the size of the block device): the host never parses a file system
//! that a guest has written, and the same call serves a restored snapshot whose disk got larger,
//! where the file system is already mounted. The host's part ends with the size of the device.
//!
//! Invariants: every device of ours carries the mark `wrenn-`; nothing without it is touched. A loop
//! device goes only after the dm device above it is gone. Every guard has `release`, and `Drop` hands
//! what is left to the [`Reaper`]; `detach` leaves the devices standing for a later [`BlockStore::adopt`].
//!
//! Deliberately absent: `/dev/mapper` nodes (`/dev/dm-<minor>` from devtmpfs serves, and a jail makes its
//! own node from [`DeviceNumber`]), udev cookies, and any knowledge of sandboxes.

mod base;
mod census;
mod cow;
mod dm;
mod error;
mod exceptions;
mod leftover;
mod loop_device;
mod name;
mod number;
mod retry;
mod snapshot;
mod store;

pub use base::{Base, MAX_FROZEN};
pub use census::{Census, DmEntry, LoopEntry, census};
pub use cow::CowFile;
pub use dm::SnapshotUsage;
pub use error::{Error, Result};
pub use exceptions::{flatten, is_empty, merge};
pub use leftover::{Leftover, Reaper};
pub use loop_device::{Access, LoopDevice};
pub use name::DeviceName;
pub use number::{DeviceNumber, DiskSize};
pub use snapshot::SnapshotDevice;
pub use store::BlockStore;
