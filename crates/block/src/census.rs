//! What of ours exists on this host, whoever made it: for leak tests and for sweeping at start.

use std::path::{Path, PathBuf};

use crate::loop_device::{self, LoopId};
use crate::retry::blocking;
use crate::{DeviceName, DeviceNumber, Result, dm};

/// Our devices, sorted, so that two censuses can be compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    pub dm: Vec<DmEntry>,
    pub loops: Vec<LoopEntry>,
}

/// A dm device with our mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DmEntry {
    pub name: DeviceName,
    pub number: DeviceNumber,
}

/// A loop device with our mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoopEntry {
    /// The file behind it, as the kernel names it (with ` (deleted)` appended if it is).
    pub backing: PathBuf,
    pub(crate) id: LoopId,
}

/// Lists our dm devices, and our loop devices whose file is under `files`.
pub async fn census(files: &Path) -> Result<Census> {
    let files = files.to_owned();
    blocking(move || {
        let mut dm: Vec<_> = dm::list_ours()?
            .into_iter()
            .map(|(name, number)| DmEntry { name, number })
            .collect();
        let mut loops: Vec<_> = loop_device::list_ours()?
            .into_iter()
            .filter(|(_, backing)| backing.starts_with(&files))
            .map(|(id, backing)| LoopEntry { backing, id })
            .collect();
        dm.sort_by(|a, b| a.name.cmp(&b.name));
        loops.sort_by(|a, b| (&a.backing, a.id.number).cmp(&(&b.backing, b.id.number)));
        Ok(Census { dm, loops })
    })
    .await
}
