//! A sandbox's disk: the guard over the whole stack.

use std::path::PathBuf;

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::leftover::Held;
use crate::retry::blocking;
use crate::{DeviceName, DeviceNumber, Error, Result, SnapshotUsage, dm};

/// Pause between two looks at a merge: the kernel tells nobody of its end.
const MERGE_LOOK: Duration = Duration::from_millis(5);

/// A writable snapshot over a shared base. Released, it takes down its dm device, then its CoW loop device,
/// then its share of the base; the CoW file stays.
#[derive(Debug)]
pub struct SnapshotDevice {
    pub(crate) name: DeviceName,
    pub(crate) number: DeviceNumber,
    /// Of a disk of two snapshots, what makes them one.
    pub(crate) merge: Option<Merge>,
    pub(crate) held: Held,
}

/// What lies under the upper of two snapshots.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Merge {
    pub(crate) below: DeviceNumber,
    pub(crate) scratch: DeviceNumber,
    pub(crate) sectors: u64,
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

    /// Makes what was written since [`crate::BlockStore::attach_over`] part of the CoW file, while the disk is in
    /// use; from then on writes go there at once. Nothing to do for another disk, or the second time.
    pub async fn merge(&self) -> Result<()> {
        let Some(merge) = self.merge else {
            return Ok(());
        };
        let name = self.name.clone();
        blocking(move || {
            let table = dm::Table::merge(merge.below, merge.scratch, merge.sectors);
            match dm::is_merging(&name)? {
                true => Ok(()),
                false => dm::activate(&name, &table),
            }
        })
        .await
    }

    /// Waits until everything is in the CoW file, at most until `deadline`; at once for a disk that was
    /// attached without a scratch file.
    pub async fn merged(&self, deadline: Instant) -> Result<()> {
        if self.merge.is_none() {
            return Ok(());
        }
        loop {
            let name = self.name.clone();
            if blocking(move || dm::is_merged(&name)).await? {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(Error::MergeLate {
                    name: self.name.clone(),
                });
            }
            sleep(MERGE_LOOK).await;
        }
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
