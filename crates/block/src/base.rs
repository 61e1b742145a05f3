//! What several disks lie on and none of them writes: devices counted by their users.
//!
//! ```text
//! dm  wrenn-base-…   frozen CoW file over what is below it   one per frozen file, any number in a column
//! dm  wrenn-base-…   image + zeros up to the disk's size     only if the disk is larger
//! loop               image, read-only                        one per image
//! ```
//!
//! Every user has an id and is listed, not merely counted: putting a share back twice, or again after it
//! failed half-way, can then never take away somebody else's share.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Mutex;

use crate::loop_device::{self, Access, FileId, LoopId};
use crate::retry::{blocking, while_busy};
use crate::{DeviceName, DeviceNumber, DiskSize, Error, Result, dm};

/// Frozen files over one image; a kernel stack walks down all of them.
pub const MAX_FROZEN: usize = 16;

/// What a disk lies on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// The file system image.
    pub image: PathBuf,
    /// CoW files that were written over it, bottom first, for a disk of one size, and are not written any
    /// more. At most [`MAX_FROZEN`].
    pub frozen: Vec<PathBuf>,
}

impl From<&Path> for Base {
    fn from(image: &Path) -> Self {
        Self {
            image: image.to_owned(),
            frozen: Vec::new(),
        }
    }
}

impl From<&PathBuf> for Base {
    fn from(image: &PathBuf) -> Self {
        Self::from(image.as_path())
    }
}

/// All shared devices in use. The lock is held over the ioctls that make or remove one (milliseconds), so
/// that two users of one file never make two devices.
#[derive(Debug, Default)]
pub(crate) struct Bases {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next_user: u64,
    floors: HashMap<Key, Floor>,
}

/// Which device of a column: that of a file, mapped to so many sectors, or its bare loop device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    file: FileId,
    sectors: Option<u64>,
}

/// One shared device.
#[derive(Debug)]
struct Floor {
    number: DeviceNumber,
    mapped: Option<DeviceName>,
    store: Option<LoopId>,
    users: HashSet<u64>,
}

/// One user's claim on a column; a clone is the same claim.
#[derive(Clone)]
pub(crate) struct BaseShare {
    bases: Arc<Bases>,
    /// The image's sectors.
    image_sectors: u64,
    sectors: u64,
    /// Bottom first.
    keys: Arc<[Key]>,
    /// Paths of the frozen files, bottom first, for what is still to be made.
    frozen: Arc<[PathBuf]>,
    user: u64,
}

impl Bases {
    /// Claims `base` for a disk of `size`, making or finding the image's loop device.
    pub(crate) async fn share(self: &Arc<Self>, base: &Base, size: DiskSize) -> Result<BaseShare> {
        if base.frozen.len() > MAX_FROZEN {
            return Err(Error::TooHigh(base.frozen.len()));
        }
        let (file, length) = measure(&base.image)?;
        let image_sectors = length / 512;
        let sectors = size.sectors();
        if sectors < image_sectors {
            return Err(Error::SmallerThanBase {
                wanted: sectors,
                base: image_sectors,
            });
        }
        let frozen = base.frozen.iter().map(|path| FileId::of(path));
        let frozen = frozen.collect::<Result<Vec<_>>>()?;
        let mut state = self.state.lock().await;
        let share = self.claim(&mut state, file, &frozen, (image_sectors, sectors));
        if !state.join(share.keys[0], share.user) {
            let store = store(base.image.clone(), file).await?;
            let (key, number) = (share.keys[0], store.device);
            state.add(key, share.user, None, Some(store), number);
        }
        Ok(BaseShare {
            frozen: base.frozen.clone().into(),
            ..share
        })
    }

    /// Claims the column whose top is the device `origin` that an earlier process made, whatever its paths
    /// name by now; `None` when that is none of ours or of another size.
    pub(crate) async fn share_standing(
        self: &Arc<Self>,
        origin: DeviceNumber,
        size: DiskSize,
    ) -> Result<Option<BaseShare>> {
        let mut state = self.state.lock().await;
        let column = blocking(move || standing_below(origin)).await?;
        let Some(column) = column.filter(|column| column.sectors == size.sectors()) else {
            return Ok(None);
        };
        let frozen: Vec<_> = column.frozen.iter().map(|(_, id)| id.file).collect();
        let (image, sectors) = (column.image, (column.image_sectors, column.sectors));
        let share = self.claim(&mut state, image.file, &frozen, sectors);
        if !state.join(share.keys[0], share.user) {
            let (key, number) = (share.keys[0], image.device);
            state.add(key, share.user, None, Some(image), number);
        }
        for (key, (name, number, store)) in share.keys.iter().skip(1).zip(column.mapped()) {
            if !state.join(*key, share.user) {
                state.add(*key, share.user, Some(name), store, number);
            }
        }
        Ok(Some(share))
    }

    fn claim(
        self: &Arc<Self>,
        state: &mut State,
        image: FileId,
        frozen: &[FileId],
        (image_sectors, sectors): (u64, u64),
    ) -> BaseShare {
        let user = state.next_user;
        state.next_user += 1;
        let mapped = |file| Key {
            file,
            sectors: Some(sectors),
        };
        let mut keys = vec![Key {
            file: image,
            sectors: None,
        }];
        keys.extend((sectors != image_sectors).then(|| mapped(image)));
        keys.extend(frozen.iter().copied().map(mapped));
        BaseShare {
            bases: self.clone(),
            image_sectors,
            sectors,
            keys: keys.into(),
            frozen: Arc::default(),
            user,
        }
    }

    /// Names of the shared dm devices in use.
    pub(crate) async fn origins(&self) -> HashSet<DeviceName> {
        let state = self.state.lock().await;
        let floors = state.floors.values();
        floors.filter_map(|floor| floor.mapped.clone()).collect()
    }

    /// Numbers of the shared loop devices in use.
    pub(crate) async fn loops(&self) -> HashSet<u32> {
        let state = self.state.lock().await;
        let floors = state.floors.values();
        floors
            .filter_map(|floor| floor.store.map(|id| id.number))
            .collect()
    }
}

impl BaseShare {
    /// The device to put a snapshot over; what is missing of the column is made.
    pub(crate) async fn origin(&self) -> Result<DeviceNumber> {
        let mut state = self.bases.state.lock().await;
        let Some(image) = state.floors.get(&self.keys[0]) else {
            return Err(Error::ShuttingDown);
        };
        let mut below = image.number;
        for (at, key) in self.keys.iter().enumerate().skip(1) {
            let frozen = key.file != self.keys[0].file;
            if state.join(*key, self.user) {
                below = state.floors[key].number;
            } else if frozen {
                // Frozen files are the last of the column.
                let path = self.frozen.len().checked_sub(self.keys.len() - at);
                let path = path.and_then(|at| self.frozen.get(at));
                let path = path.ok_or(Error::ShuttingDown)?;
                below = state.freeze(*key, self, path, below).await?;
            } else {
                below = state.grow(*key, self, below).await?;
            }
        }
        Ok(below)
    }

    /// Gives the claim back; the last one takes the devices down, top first. Repeating it is harmless.
    pub(crate) async fn put_back(&self) -> Result<()> {
        let mut state = self.bases.state.lock().await;
        for key in self.keys.iter().rev() {
            state.leave(*key, self.user).await?;
        }
        Ok(())
    }
}

impl State {
    /// Makes `user` one of a device's users; false when there is no such device yet.
    fn join(&mut self, key: Key, user: u64) -> bool {
        let floor = self.floors.get_mut(&key);
        floor.map(|floor| floor.users.insert(user)).is_some()
    }

    fn add(
        &mut self,
        key: Key,
        user: u64,
        mapped: Option<DeviceName>,
        store: Option<LoopId>,
        number: DeviceNumber,
    ) {
        let floor = Floor {
            number,
            mapped,
            store,
            users: HashSet::from([user]),
        };
        self.floors.insert(key, floor);
    }

    /// The image with zeros after its end.
    async fn grow(
        &mut self,
        key: Key,
        share: &BaseShare,
        below: DeviceNumber,
    ) -> Result<DeviceNumber> {
        let name = key.name();
        let table = dm::Table::grown(below, share.image_sectors, share.sectors);
        self.map(key, share.user, name, None, &[below], table).await
    }

    /// What a frozen file says over what is below it.
    async fn freeze(
        &mut self,
        key: Key,
        share: &BaseShare,
        path: &Path,
        below: DeviceNumber,
    ) -> Result<DeviceNumber> {
        let store = store(path.to_owned(), key.file).await?;
        let table = dm::Table::frozen(below, store.device, share.sectors);
        let (name, on) = (key.name(), [below, store.device]);
        self.map(key, share.user, name, Some(store), &on, table)
            .await
    }

    /// Makes a dm device, or takes over the one that an earlier process made. It is listed from its first
    /// moment, so that who put the share back takes it down.
    async fn map(
        &mut self,
        key: Key,
        user: u64,
        name: DeviceName,
        store: Option<LoopId>,
        on: &[DeviceNumber],
        table: dm::Table,
    ) -> Result<DeviceNumber> {
        let (number, is_live) = match device(&name, on).await {
            Ok(device) => device,
            Err(error) => {
                self.abandon(store).await;
                return Err(error);
            }
        };
        self.add(key, user, Some(name.clone()), store, number);
        if !is_live {
            blocking(move || dm::activate(&name, &table)).await?;
        }
        Ok(number)
    }

    /// Detaches a frozen file's loop device that got no dm device; the sweep takes what stays.
    async fn abandon(&self, store: Option<LoopId>) {
        if let Some(store) = store
            && let Err(error) = while_busy(move || loop_device::detach(store)).await
        {
            tracing::warn!(%error, "a loop device stays until the next start");
        }
    }

    async fn leave(&mut self, key: Key, user: u64) -> Result<()> {
        let Some(floor) = self.floors.get_mut(&key) else {
            return Ok(());
        };
        if floor.users.len() != 1 || !floor.users.contains(&user) {
            floor.users.remove(&user);
            return Ok(());
        }
        if let Some(name) = floor.mapped.clone() {
            while_busy(move || dm::remove(&name)).await?;
        }
        if let Some(store) = floor.store {
            while_busy(move || loop_device::detach(store)).await?;
        }
        self.floors.remove(&key);
        Ok(())
    }
}

impl Key {
    fn name(self) -> DeviceName {
        let FileId { device, inode } = self.file;
        DeviceName::origin(device, inode, self.sectors.unwrap_or(0))
    }
}

/// What an earlier process built.
struct Column {
    image: LoopId,
    image_sectors: u64,
    /// Those of its dm devices; the image's where there are none.
    sectors: u64,
    grown: Option<(DeviceName, DeviceNumber)>,
    /// Bottom first.
    frozen: Vec<((DeviceName, DeviceNumber), LoopId)>,
}

impl Column {
    /// Its dm devices, bottom first.
    fn mapped(&self) -> impl Iterator<Item = (DeviceName, DeviceNumber, Option<LoopId>)> {
        let grown = self.grown.iter().map(|(name, number)| (name, number, None));
        let frozen = self.frozen.iter();
        let frozen = frozen.map(|((name, number), store)| (name, number, Some(*store)));
        grown
            .chain(frozen)
            .map(|(name, number, store)| (name.clone(), *number, store))
    }
}

/// The dm device `name` on the devices `on`, and whether it has its table: one that stands already, or a new one.
async fn device(name: &DeviceName, on: &[DeviceNumber]) -> Result<(DeviceNumber, bool)> {
    let (name, on) = (name.clone(), on.to_owned());
    blocking(move || match dm::find(&name)? {
        None => Ok((dm::create(&name)?, false)),
        Some(number) => match dm::dependencies(&name)? {
            below if same(&below, &on) => Ok((number, true)),
            // An earlier process died before it loaded a table.
            below if below.is_empty() => Ok((number, false)),
            _ => Err(Error::ForeignOrigin { name, base: on[0] }),
        },
    })
    .await
}

/// The column whose top is `origin`, walked down by what lies on what.
fn standing_below(origin: DeviceNumber) -> Result<Option<Column>> {
    let names: HashMap<_, _> = dm::list_ours()?
        .into_iter()
        .map(|(name, number)| (number, name))
        .collect();
    let loops: HashMap<_, _> = loop_device::list_ours()?
        .into_iter()
        .map(|(id, _)| (id.device, id))
        .collect();
    let (mut at, mut sectors, mut grown, mut frozen) = (origin, None, None, Vec::new());
    while let Some(name) = names.get(&at) {
        let Some((device, inode, mapped)) = name.parse_origin() else {
            return Ok(None);
        };
        if grown.is_some() || frozen.len() > MAX_FROZEN || sectors.is_some_and(|is| is != mapped) {
            return Ok(None);
        }
        sectors = Some(mapped);
        let file = FileId { device, inode };
        let on = dm::dependencies(name)?;
        let own = |number: &DeviceNumber| loops.get(number).filter(|id| id.file == file);
        let this = (name.clone(), at);
        match on[..] {
            [image] => {
                grown = Some(this);
                at = image;
            }
            [one, other] => {
                let (store, below) = match (own(&one), own(&other)) {
                    (Some(store), None) => (store, other),
                    (None, Some(store)) => (store, one),
                    _ => return Ok(None),
                };
                frozen.push((this, *store));
                at = below;
            }
            _ => return Ok(None),
        }
    }
    let Some(image) = loops.get(&at) else {
        return Ok(None);
    };
    frozen.reverse();
    let image_sectors = image.sectors()?;
    Ok(Some(Column {
        image: *image,
        image_sectors,
        sectors: sectors.unwrap_or(image_sectors),
        grown,
        frozen,
    }))
}

/// The read-only loop device of a file, found or made.
async fn store(path: PathBuf, file: FileId) -> Result<LoopId> {
    blocking(move || match loop_device::find(file)? {
        Some(standing) => Ok(standing),
        None => loop_device::attach(&path, Access::ReadOnlyCached),
    })
    .await
}

fn same(one: &[DeviceNumber], other: &[DeviceNumber]) -> bool {
    let sorted = |numbers: &[DeviceNumber]| {
        let mut numbers = numbers.to_vec();
        numbers.sort_unstable();
        numbers
    };
    sorted(one) == sorted(other)
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
        write!(f, "share of base inode {}", self.keys[0].file.inode)
    }
}

impl fmt::Debug for BaseShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BaseShare")
            .field("keys", &self.keys)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}
