//! Shared read-only bases: one loop device a file, one origin a size, counted by their users.
//!
//! Every user has an id and is listed, not merely counted: putting a share back twice, or again after it
//! failed half-way, can then never take away somebody else's share.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::Mutex;

use crate::loop_device::{self, Access, FileId, LoopId};
use crate::retry::{blocking, while_busy};
use crate::{DeviceName, DeviceNumber, DiskSize, Error, Result, dm};

/// All bases in use. The lock is held over the ioctls that make or remove a base (milliseconds), so that
/// two users of one file never make two devices.
#[derive(Debug, Default)]
pub(crate) struct Bases {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next_user: u64,
    by_file: HashMap<FileId, Base>,
}

#[derive(Debug)]
struct Base {
    device: LoopId,
    sectors: u64,
    users: HashSet<u64>,
    /// Origins larger than the base, by their sectors.
    grown: HashMap<u64, Origin>,
}

#[derive(Debug)]
struct Origin {
    name: DeviceName,
    number: DeviceNumber,
    users: HashSet<u64>,
}

/// One user's claim on a base at a size; a clone is the same claim.
#[derive(Clone)]
pub(crate) struct BaseShare {
    bases: Arc<Bases>,
    file: FileId,
    sectors: u64,
    user: u64,
}

impl Bases {
    /// Claims the base at `path` for an origin of `size`, making or finding its loop device.
    pub(crate) async fn share(self: &Arc<Self>, path: &Path, size: DiskSize) -> Result<BaseShare> {
        let (file, length) = measure(path)?;
        let base_sectors = length / 512;
        if size.sectors() < base_sectors {
            return Err(Error::SmallerThanBase {
                wanted: size.sectors(),
                base: base_sectors,
            });
        }
        let mut state = self.state.lock().await;
        let device = match state.by_file.get(&file) {
            Some(base) => base.device,
            None => {
                let path = path.to_owned();
                blocking(move || match loop_device::find(file)? {
                    Some(standing) => Ok(standing),
                    None => loop_device::attach(&path, Access::ReadOnlyCached),
                })
                .await?
            }
        };
        Ok(self.claim(&mut state, device, base_sectors, size))
    }

    /// Claims, for an origin of `size`, the base below the device `origin` that an earlier process made,
    /// whatever its path names by now; `None` when that is none of ours.
    pub(crate) async fn share_standing(
        self: &Arc<Self>,
        origin: DeviceNumber,
        size: DiskSize,
    ) -> Result<Option<BaseShare>> {
        let mut state = self.state.lock().await;
        let standing = blocking(move || standing_below(origin)).await?;
        Ok(standing.map(|(device, sectors)| self.claim(&mut state, device, sectors, size)))
    }

    fn claim(
        self: &Arc<Self>,
        state: &mut State,
        device: LoopId,
        base_sectors: u64,
        size: DiskSize,
    ) -> BaseShare {
        let user = state.next_user;
        state.next_user += 1;
        let base = state.by_file.entry(device.file).or_insert_with(|| Base {
            device,
            sectors: base_sectors,
            users: HashSet::new(),
            grown: HashMap::new(),
        });
        base.users.insert(user);
        BaseShare {
            bases: self.clone(),
            file: device.file,
            sectors: size.sectors(),
            user,
        }
    }

    /// Names of the origin devices in use.
    pub(crate) async fn origins(&self) -> HashSet<DeviceName> {
        let state = self.state.lock().await;
        state
            .by_file
            .values()
            .flat_map(|base| base.grown.values())
            .map(|origin| origin.name.clone())
            .collect()
    }

    /// Numbers of the loop devices in use.
    pub(crate) async fn loops(&self) -> HashSet<u32> {
        self.state
            .lock()
            .await
            .by_file
            .values()
            .map(|base| base.device.number)
            .collect()
    }
}

impl BaseShare {
    /// The device to put a snapshot over, made if the base has none of this size.
    pub(crate) async fn origin(&self) -> Result<DeviceNumber> {
        let mut state = self.bases.state.lock().await;
        match state.by_file.get_mut(&self.file) {
            Some(base) => base.origin(self.sectors, self.user).await,
            None => Err(Error::ShuttingDown),
        }
    }

    /// Gives the claim back; the last one takes the devices down. Repeating it is harmless.
    pub(crate) async fn put_back(&self) -> Result<()> {
        self.bases
            .state
            .lock()
            .await
            .put_back(self.file, self.sectors, self.user)
            .await
    }
}

impl State {
    async fn put_back(&mut self, file: FileId, sectors: u64, user: u64) -> Result<()> {
        let Some(base) = self.by_file.get_mut(&file) else {
            return Ok(());
        };
        if let Some(origin) = base.grown.get_mut(&sectors) {
            if is_last(&origin.users, user) {
                let name = origin.name.clone();
                while_busy(move || dm::remove(&name)).await?;
                base.grown.remove(&sectors);
            } else {
                origin.users.remove(&user);
            }
        }
        if is_last(&base.users, user) {
            let device = base.device;
            while_busy(move || loop_device::detach(device)).await?;
            self.by_file.remove(&file);
        } else {
            base.users.remove(&user);
        }
        Ok(())
    }
}

impl Base {
    async fn origin(&mut self, sectors: u64, user: u64) -> Result<DeviceNumber> {
        if sectors == self.sectors {
            return Ok(self.device.device);
        }
        if let Some(origin) = self.grown.get_mut(&sectors) {
            origin.users.insert(user);
            return Ok(origin.number);
        }
        let name = DeviceName::origin(self.device.file.device, self.device.file.inode, sectors);
        let (device, base_sectors, wanted) = (self.device.device, self.sectors, name.clone());
        let found = blocking(move || match dm::find(&wanted)? {
            Some(number) => Ok(Some((number, dm::dependencies(&wanted)?))),
            None => Ok(None),
        })
        .await?;
        let (number, is_live) = match found {
            Some((number, below)) if below == [device] => (number, true),
            // It has no table: an earlier process died before it loaded one.
            Some((number, below)) if below.is_empty() => (number, false),
            Some(_) => return Err(Error::ForeignOrigin { name, base: device }),
            None => {
                let wanted = name.clone();
                (blocking(move || dm::create(&wanted)).await?, false)
            }
        };
        let origin = Origin {
            name: name.clone(),
            number,
            users: HashSet::from([user]),
        };
        self.grown.insert(sectors, origin);
        if !is_live {
            let table = dm::Table::grown(device, base_sectors, sectors);
            blocking(move || dm::activate(&name, &table)).await?;
        }
        Ok(number)
    }
}

/// The base's loop device under `origin`, which is that device or a grown origin over it; with its sectors.
fn standing_below(origin: DeviceNumber) -> Result<Option<(LoopId, u64)>> {
    let origins = dm::list_ours()?.into_iter();
    let grown = origins.filter(|(name, number)| name.is_origin() && *number == origin);
    let below = match grown.map(|(name, _)| name).next() {
        Some(name) => dm::dependencies(&name)?,
        None => vec![origin],
    };
    let mut loops = loop_device::list_ours()?.into_iter();
    let Some((device, _)) = loops.find(|(id, _)| below == [id.device]) else {
        return Ok(None);
    };
    Ok(Some((device, device.sectors()?)))
}

fn is_last(users: &HashSet<u64>, user: u64) -> bool {
    users.len() == 1 && users.contains(&user)
}

fn measure(path: &Path) -> Result<(FileId, u64)> {
    let stat = std::fs::metadata(path).map_err(|source| Error::File {
        action: "look up the base",
        path: path.into(),
        source,
    })?;
    Ok((FileId::of(path)?, DiskSize::bytes(stat.len())?.as_bytes()))
}

impl fmt::Display for BaseShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "share of base inode {}", self.file.inode)
    }
}

impl fmt::Debug for BaseShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BaseShare")
            .field("file", &self.file)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}
