//! Builds, finds again and sweeps disk stacks.

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::base::{BaseShare, Bases};
use crate::census::census;
use crate::leftover::{Held, Leftover, Piece, Reaper};
use crate::loop_device::{self, Access, FileId};
use crate::retry::{blocking, while_busy};
use crate::{CowFile, DeviceName, DeviceNumber, DiskSize, Error, Result, SnapshotDevice, dm};

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
        base: &Path,
        cow: &CowFile,
        size: DiskSize,
    ) -> Result<SnapshotDevice> {
        let (store, name) = (self.clone(), name.clone());
        let (base, cow) = (base.to_owned(), cow.path().to_owned());
        tokio::spawn(async move { store.attach_whole(name, &base, cow, size).await })
            .await
            .map_err(|_| Error::ShuttingDown)?
    }

    async fn attach_whole(
        self,
        name: DeviceName,
        base: &Path,
        cow: PathBuf,
        size: DiskSize,
    ) -> Result<SnapshotDevice> {
        let share = self.bases.share(base, size).await?;
        let mut held = self.hold(share.clone());
        match self.build(&name, &share, cow, size, &mut held).await {
            Ok(number) => Ok(SnapshotDevice { name, number, held }),
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
        size: DiskSize,
        held: &mut Held,
    ) -> Result<DeviceNumber> {
        let origin = share.origin().await?;
        let cow = blocking(move || loop_device::attach(&cow, Access::ReadWriteDirect)).await?;
        held.push(Piece::Loop(cow));
        let table = dm::Table::snapshot(origin, cow.device, size.sectors());
        let device = name.clone();
        let number = blocking(move || dm::create(&device)).await?;
        self.own(name, held);
        let device = name.clone();
        blocking(move || dm::activate(&device, &table)).await?;
        Ok(number)
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
        cow: &CowFile,
        size: DiskSize,
    ) -> Result<SnapshotDevice> {
        let refuse = |detail| Error::NotAdoptable {
            name: name.clone(),
            detail,
        };
        let (device, cow) = (name.clone(), FileId::of(cow.path())?);
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
        let number = number.ok_or_else(|| refuse("there is no such device"))?;
        let cow = cow.ok_or_else(|| refuse("its CoW file has no loop device"))?;
        let origin = match below[..] {
            [origin, other] | [other, origin] if other == cow.device => origin,
            _ => return Err(refuse("it lies on another CoW file")),
        };
        let share = self.bases.share_standing(origin, size).await?;
        let share = share.ok_or_else(|| refuse("it lies on no base of ours"))?;
        let mut held = self.hold(share.clone());
        if share.origin().await? != origin {
            held.release().await?;
            return Err(refuse("it has another size"));
        }
        held.push(Piece::Loop(cow));
        self.own(name, &mut held);
        Ok(SnapshotDevice {
            name: name.clone(),
            number,
            held,
        })
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
        let (bases, snapshots): (Vec<_>, Vec<_>) =
            found.dm.into_iter().partition(|dm| dm.name.is_origin());
        for entry in snapshots.into_iter().chain(bases) {
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

impl fmt::Debug for BlockStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockStore")
            .field("bases", &self.bases)
            .field("attached", &self.attached)
            .finish_non_exhaustive()
    }
}
