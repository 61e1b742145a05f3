//! Builds, finds again and sweeps disk stacks.

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::base::{Base, BaseShare, Bases};
use crate::census::{DmEntry, census};
use crate::leftover::{Held, Leftover, Piece, Reaper};
use crate::loop_device::{self, Access, FileId, LoopId};
use crate::retry::{blocking, while_busy};
use crate::snapshot::Merge;
use crate::{DeviceName, DeviceNumber, DiskSize, Error, Result, SnapshotDevice, dm};

/// Names of the snapshots that live under a guard (or were detached by one).
#[derive(Clone, Debug, Default)]
pub(crate) struct Attached(Arc<Mutex<HashSet<DeviceName>>>);

impl Attached {
    pub(crate) fn forget(&self, name: &DeviceName) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(name);
    }

    fn remember(&self, name: &DeviceName) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.clone());
    }

    fn all(&self) -> HashSet<DeviceName> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// All disks of one host.
#[derive(Clone)]
pub struct BlockStore {
    bases: Arc<Bases>,
    attached: Attached,
    reaper: Reaper,
}

impl BlockStore {
    /// A store whose guards hand what they cannot release to `reaper`.
    pub fn new(reaper: Reaper) -> Self {
        Self {
            bases: Arc::default(),
            attached: Attached::default(),
            reaper,
        }
    }

    /// Builds a disk of `size` from `base` and what `cow` holds (nothing, if it is new). On an error
    /// everything made so far is taken down. An ioctl cannot be called back: given up half-way, the disk
    /// is still built to its end, and then goes to the reaper.
    pub async fn attach(
        &self,
        name: &DeviceName,
        base: impl Into<Base>,
        cow: &Path,
        size: DiskSize,
    ) -> Result<SnapshotDevice> {
        self.attach_stack(name, base.into(), cow, None, size).await
    }

    /// The same, with a second snapshot on top whose writes go to the empty file `scratch`: what `cow` holds
    /// stays as it is until [`SnapshotDevice::merge`].
    pub async fn attach_over(
        &self,
        name: &DeviceName,
        base: impl Into<Base>,
        cow: &Path,
        scratch: &Path,
        size: DiskSize,
    ) -> Result<SnapshotDevice> {
        self.attach_stack(name, base.into(), cow, Some(scratch), size)
            .await
    }

    async fn attach_stack(
        &self,
        name: &DeviceName,
        base: Base,
        cow: &Path,
        scratch: Option<&Path>,
        size: DiskSize,
    ) -> Result<SnapshotDevice> {
        let (store, name) = (self.clone(), name.clone());
        let cow = cow.to_owned();
        let scratch = scratch.map(Path::to_owned);
        tokio::spawn(async move { store.attach_whole(name, &base, cow, scratch, size).await })
            .await
            .map_err(|_| Error::ShuttingDown)?
    }

    async fn attach_whole(
        self,
        name: DeviceName,
        base: &Base,
        cow: PathBuf,
        scratch: Option<PathBuf>,
        size: DiskSize,
    ) -> Result<SnapshotDevice> {
        let share = self.bases.share(base, size).await?;
        let mut held = self.hold(share.clone());
        match self
            .build(&name, &share, cow, scratch, size, &mut held)
            .await
        {
            Ok((number, merge)) => Ok(SnapshotDevice {
                name,
                number,
                merge,
                held,
            }),
            Err(error) => {
                if let Err(undo) = held.release().await {
                    tracing::warn!(%name, error = %undo, "half-made disk was left to the reaper");
                }
                Err(error)
            }
        }
    }

    fn hold(&self, share: BaseShare) -> Held {
        Held::new(Leftover::of([Piece::Base(share)]), self.reaper.clone())
    }

    async fn build(
        &self,
        name: &DeviceName,
        share: &BaseShare,
        cow: PathBuf,
        scratch: Option<PathBuf>,
        size: DiskSize,
        held: &mut Held,
    ) -> Result<(DeviceNumber, Option<Merge>)> {
        let origin = share.origin().await?;
        let Some(scratch) = scratch else {
            let (number, _) = self.snapshot(name, origin, cow, size, held).await?;
            return Ok((number, None));
        };
        let (below, _) = self
            .snapshot(&name.below(), origin, cow, size, held)
            .await?;
        let (number, scratch) = self.snapshot(name, below, scratch, size, held).await?;
        let merge = Merge {
            below,
            scratch,
            sectors: size.sectors(),
        };
        Ok((number, Some(merge)))
    }

    /// Puts a snapshot over `origin`; gives its number and that of the loop device under it.
    async fn snapshot(
        &self,
        name: &DeviceName,
        origin: DeviceNumber,
        cow: PathBuf,
        size: DiskSize,
        held: &mut Held,
    ) -> Result<(DeviceNumber, DeviceNumber)> {
        let cow = blocking(move || loop_device::attach(&cow, Access::ReadWriteDirect)).await?;
        held.push(Piece::Loop(cow));
        let table = dm::Table::snapshot(origin, cow.device, size.sectors());
        let device = name.clone();
        let number = blocking(move || dm::create(&device)).await?;
        self.own(name, held);
        let device = name.clone();
        blocking(move || dm::activate(&device, &table)).await?;
        Ok((number, cow.device))
    }

    /// Puts the snapshot `name` on top of what `held` holds.
    fn own(&self, name: &DeviceName, held: &mut Held) {
        self.attached.remember(name);
        held.push(Piece::Snapshot {
            name: name.clone(),
            attached: self.attached.clone(),
        });
    }

    /// Takes charge of a disk that an earlier process built with the same arguments and left standing.
    /// It is checked to lie on exactly that CoW file, and keeps the base that it was built from: another
    /// file may have taken that one's path since.
    pub async fn adopt(
        &self,
        name: &DeviceName,
        cow: &Path,
        size: DiskSize,
    ) -> Result<SnapshotDevice> {
        let standing = Standing::find(name, cow).await?;
        let (origin, number) = (standing.origin, standing.number);
        let share = self.bases.share_standing(origin, size).await?;
        let share =
            share.ok_or_else(|| not_adoptable(name, "it lies on no base of ours of this size"))?;
        let mut held = self.hold(share);
        self.take_over(name, standing, &mut held);
        Ok(SnapshotDevice {
            name: name.clone(),
            number,
            merge: None,
            held,
        })
    }

    /// The same for a disk that [`BlockStore::attach_over`] built.
    pub async fn adopt_over(
        &self,
        name: &DeviceName,
        cow: &Path,
        scratch: &Path,
        size: DiskSize,
    ) -> Result<SnapshotDevice> {
        let SnapshotDevice {
            number: below,
            mut held,
            ..
        } = self.adopt(&name.below(), cow, size).await?;
        let standing = Standing::find(name, scratch).await?;
        if standing.origin != below {
            return Err(not_adoptable(name, "it does not lie on the snapshot below"));
        }
        let (number, scratch) = (standing.number, standing.cow.device);
        self.take_over(name, standing, &mut held);
        Ok(SnapshotDevice {
            name: name.clone(),
            number,
            merge: Some(Merge {
                below,
                scratch,
                sectors: size.sectors(),
            }),
            held,
        })
    }

    fn take_over(&self, name: &DeviceName, standing: Standing, held: &mut Held) {
        held.push(Piece::Loop(standing.cow));
        self.own(name, held);
    }

    /// Removes our devices that no guard of this store knows: what a crash left. Loop devices only if their
    /// file is under `files`. Run it at start, after adopting. Tries everything; returns what was removed
    /// and what could not be.
    pub async fn sweep(&self, files: &Path) -> Result<(Vec<String>, Vec<Error>)> {
        let (origins, loops, attached) = (
            self.bases.origins().await,
            self.bases.loops().await,
            self.attached.all(),
        );
        let in_use = self.loops_below(&attached).await?;
        let found = census(files).await?;
        let (mut removed, mut failed) = (Vec::new(), Vec::new());
        let devices = found.dm;
        for entry in blocking(move || top_first(devices)).await? {
            if attached.contains(&entry.name) || origins.contains(&entry.name) {
                continue;
            }
            let name = entry.name.clone();
            match while_busy(move || dm::remove(&name)).await {
                Ok(()) => removed.push(entry.name.to_string()),
                Err(error) => failed.push(error),
            }
        }
        for entry in found.loops {
            if loops.contains(&entry.id.number) || in_use.contains(&entry.id.number) {
                continue;
            }
            match while_busy(move || loop_device::detach(entry.id)).await {
                Ok(()) => removed.push(format!(
                    "loop{} of {}",
                    entry.id.number,
                    entry.backing.display()
                )),
                Err(error) => failed.push(error),
            }
        }
        Ok((removed, failed))
    }

    /// Loop devices directly under the attached snapshots.
    async fn loops_below(&self, attached: &HashSet<DeviceName>) -> Result<HashSet<u32>> {
        let names: Vec<_> = attached.iter().cloned().collect();
        blocking(move || {
            let mut below = HashSet::new();
            for name in names {
                below.extend(dm::dependencies(&name)?);
            }
            let ours = loop_device::list_ours()?;
            Ok(ours
                .into_iter()
                .filter(|(id, _)| below.contains(&id.device))
                .map(|(id, _)| id.number)
                .collect())
        })
        .await
    }
}

/// Devices in an order in which none comes after one that it lies on.
fn top_first(devices: Vec<DmEntry>) -> Result<Vec<DmEntry>> {
    let mut left = Vec::new();
    for entry in devices {
        let below = dm::dependencies(&entry.name)?;
        left.push((entry, below));
    }
    let mut ordered = Vec::new();
    while !left.is_empty() {
        let carrying: HashSet<_> = left.iter().flat_map(|(_, below)| below).copied().collect();
        let carries = |(entry, _): &(DmEntry, _)| carrying.contains(&entry.number);
        let (below, top): (Vec<_>, Vec<_>) = left.into_iter().partition(carries);
        if top.is_empty() {
            ordered.extend(below.into_iter().map(|(entry, _)| entry));
            break; // the kernel allows no circle
        }
        ordered.extend(top.into_iter().map(|(entry, _)| entry));
        left = below;
    }
    Ok(ordered)
}

/// A snapshot that an earlier process left.
struct Standing {
    number: DeviceNumber,
    origin: DeviceNumber,
    cow: LoopId,
}

impl Standing {
    /// The snapshot `name`, if it lies on this CoW file.
    async fn find(name: &DeviceName, cow: &Path) -> Result<Self> {
        let (device, cow) = (name.clone(), FileId::of(cow)?);
        let (number, below, cow) = blocking(move || {
            let Some(number) = dm::find(&device)? else {
                return Ok((None, Vec::new(), None));
            };
            Ok((
                Some(number),
                dm::dependencies(&device)?,
                loop_device::find(cow)?,
            ))
        })
        .await?;
        let number = number.ok_or_else(|| not_adoptable(name, "there is no such device"))?;
        let cow = cow.ok_or_else(|| not_adoptable(name, "its CoW file has no loop device"))?;
        match below[..] {
            [origin, other] | [other, origin] if other == cow.device => Ok(Self {
                number,
                origin,
                cow,
            }),
            _ => Err(not_adoptable(name, "it lies on another CoW file")),
        }
    }
}

fn not_adoptable(name: &DeviceName, detail: &'static str) -> Error {
    Error::NotAdoptable {
        name: name.clone(),
        detail,
    }
}

impl fmt::Debug for BlockStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockStore")
            .field("bases", &self.bases)
            .field("attached", &self.attached)
            .finish_non_exhaustive()
    }
}
