//! A sandbox's disk: the guard over the whole stack.

use std::path::PathBuf;

use crate::leftover::Held;
use crate::retry::blocking;
use crate::{DeviceName, DeviceNumber, Result, SnapshotUsage, dm};

/// A writable snapshot over a shared base. Released, it takes down its dm device, then its CoW loop device,
/// then its share of the base; the CoW file stays.
#[derive(Debug)]
pub struct SnapshotDevice {
    pub(crate) name: DeviceName,
    pub(crate) number: DeviceNumber,
    pub(crate) held: Held,
}

impl SnapshotDevice {
    /// Its dm name.
    pub fn name(&self) -> &DeviceName {
        &self.name
    }

    /// Major and minor number, to make a node of in a jail.
    pub fn device_number(&self) -> DeviceNumber {
        self.number
    }

    /// The node that the kernel keeps for it: `/dev/dm-<minor>`.
    pub fn path(&self) -> PathBuf {
        self.number.dm_node()
    }

    /// How full the CoW store is.
    pub async fn usage(&self) -> Result<SnapshotUsage> {
        let name = self.name.clone();
        blocking(move || dm::snapshot_usage(&name)).await
    }

    /// Flushes and holds the disk's I/O, so that its CoW file can be copied.
    pub async fn suspend(&self) -> Result<()> {
        let name = self.name.clone();
        blocking(move || dm::suspend(&name)).await
    }

    /// Lets I/O flow again.
    pub async fn resume(&self) -> Result<()> {
        let name = self.name.clone();
        blocking(move || dm::resume(&name)).await
    }

    /// Gives up the guard; the devices stay for [`crate::BlockStore::adopt`].
    pub fn detach(self) {
        self.held.forget();
    }

    /// Takes the stack down, top first (EBUSY: five tries). What is left on an error goes to the reaper.
    pub async fn release(self) -> Result<()> {
        self.held.release().await
    }
}
