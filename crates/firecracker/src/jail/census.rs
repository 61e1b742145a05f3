//! What of ours exists on this host, whoever made it: for leak tests and for sweeping at start.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use super::{JailError, JailHost, VmId, blocking};

/// Ids of the VMs that have a jail's directory, and of those that have a cgroup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    pub jails: BTreeSet<VmId>,
    pub cgroups: BTreeSet<VmId>,
    /// Processes in those cgroups.
    pub processes: BTreeSet<i32>,
}

impl Census {
    /// All ids in it; [`super::Jail::remove`] those that belong to nobody.
    pub fn ids(&self) -> BTreeSet<VmId> {
        self.jails.union(&self.cgroups).cloned().collect()
    }
}

/// Lists jails and cgroups of this host.
pub async fn census(host: &JailHost) -> Result<Census, JailError> {
    let host = host.clone();
    blocking(move || {
        let jails = directories(&host.jails())?;
        let cgroups = directories(&host.cgroup_root.join(&host.cgroup_parent))?;
        let mut processes = BTreeSet::new();
        for id in &cgroups {
            processes.extend(host.cgroup(id).processes()?);
        }
        Ok(Census {
            jails,
            cgroups,
            processes,
        })
    })
    .await
}

fn directories(path: &Path) -> Result<BTreeSet<VmId>, JailError> {
    let listing = match std::fs::read_dir(path) {
        Ok(listing) => listing,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(source) => return Err(JailError::file("list", path, source)),
    };
    Ok(listing
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| VmId::new(entry.file_name().to_str()?).ok())
        .collect())
}
