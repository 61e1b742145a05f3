//! A jail: one directory, one cgroup, one uid for one VM.
//!
//! ```text
//! <base>/firecracker/<id>/              the jail's directory        root, 0700
//!   console                             named pipe: the VMM's output
//!   root/                               the chroot                  the VM's uid
//!     api.sock  firecracker  firecracker.pid  dev/  run/            made by jailer and Firecracker
//!     <what was placed>
//! <cgroup root>/<parent>/<id>/          the cgroup
//! ```
//!
//! The cgroup is the handle on the VM's processes: whatever runs in it belongs to the VM and ends with it.
//! The base directory must not be mounted `nodev` or `noexec`.

pub(crate) mod census;
pub(crate) mod cgroup;
pub(crate) mod console;
mod error;
mod events;
pub(crate) mod leftover;
mod mounts;
mod place;
pub(crate) mod process;
mod spawn;
pub(crate) mod vm;

use std::fmt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::cgroup::{Cgroup, Limits};
pub use self::error::JailError;
use self::leftover::{Held, Leftover, Reaper};
use self::vm::JailedVm;
use crate::{ApiClient, ProcessIdentity};

/// Name of the executable inside the jail and of the directory that the jailer makes of it.
const EXECUTABLE: &str = "firecracker";
/// Name of the API socket in the chroot.
pub(crate) const SOCKET: &str = "api.sock";

/// Where jails are made on this host, and by what.
#[derive(Clone)]
pub struct JailHost {
    /// Firecracker; the file's name must be `firecracker`.
    pub firecracker: PathBuf,
    pub jailer: PathBuf,
    /// Jails are made under `<base>/firecracker/`.
    pub base: PathBuf,
    /// Where cgroup v2 is mounted: `/sys/fs/cgroup`.
    pub cgroup_root: PathBuf,
    /// Name of the cgroup that all VMs' cgroups are in: `wrenn`.
    pub cgroup_parent: String,
    /// Wait for any request to Firecracker but snapshots.
    pub api_deadline: Duration,
    pub reaper: Reaper,
}

/// Name of a VM: 1–64 letters, digits and `-`, as the jailer demands.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct VmId(String);

/// What is particular to one jail.
#[derive(Clone, Debug)]
pub struct JailSpec {
    pub id: VmId,
    /// User and group of the VMM, used by no other VM.
    pub uid: u32,
    pub gid: u32,
    /// File of the network namespace to run in.
    pub network_namespace: PathBuf,
    pub limits: Limits,
}

/// A jail without a process yet.
#[derive(Debug)]
pub struct Jail {
    host: Arc<JailHost>,
    spec: JailSpec,
    held: Held,
}

impl VmId {
    /// Parses an id.
    pub fn new(id: &str) -> Result<Self, JailError> {
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if id.is_empty() || id.len() > 64 || !id.chars().all(legal) {
            return Err(JailError::BadId(id.to_owned()));
        }
        Ok(Self(id.to_owned()))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for VmId {
    type Error = JailError;

    fn try_from(id: String) -> Result<Self, JailError> {
        Self::new(&id)
    }
}

impl fmt::Display for VmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl JailHost {
    /// The directory that holds all jails.
    pub(crate) fn jails(&self) -> PathBuf {
        self.base.join(EXECUTABLE)
    }

    fn directory(&self, id: &VmId) -> PathBuf {
        self.jails().join(id.as_str())
    }

    /// A client of the Firecracker whose chroot is `root`.
    pub(crate) fn client(&self, root: &Path) -> Result<ApiClient, JailError> {
        let client =
            ApiClient::new(root, SOCKET).map_err(|source| JailError::file("open", root, source))?;
        Ok(client.with_deadline(self.api_deadline))
    }

    fn cgroup(&self, id: &VmId) -> Cgroup {
        Cgroup::new(&self.cgroup_root, &self.cgroup_parent, id.as_str())
    }

    pub(crate) fn leftover(&self, id: &VmId) -> Leftover {
        Leftover::new(self.cgroup(id), self.directory(id))
    }
}

impl Jail {
    /// Makes the directory and the cgroup with its limits. Fails if either exists: two VMs never share one.
    pub async fn create(host: &Arc<JailHost>, spec: JailSpec) -> Result<Self, JailError> {
        let directory = host.directory(&spec.id);
        let cgroup = host.cgroup(&spec.id);
        let held = blocking({
            let (host, spec) = (host.clone(), spec.clone());
            move || {
                std::fs::create_dir_all(host.jails())
                    .map_err(|source| JailError::file("create", &host.jails(), source))?;
                let private = |path: &Path| std::fs::DirBuilder::new().mode(0o700).create(path);
                private(&directory)
                    .map_err(|source| JailError::file("create", &directory, source))?;
                let held = Held::new(host.leftover(&spec.id), host.reaper.clone());
                let root = directory.join("root");
                private(&root).map_err(|source| JailError::file("create", &root, source))?;
                console::make_pipe(&directory)?;
                cgroup.create(&spec.limits)?;
                Ok(held)
            }
        })
        .await?;
        Ok(Self {
            host: host.clone(),
            spec,
            held,
        })
    }

    /// The chroot, as seen from outside.
    pub fn root(&self) -> PathBuf {
        self.host.directory(&self.spec.id).join("root")
    }

    /// Makes the file `source` appear in the chroot as `/<name>`: by hard link, or by a read-only bind mount
    /// where it is on another file system. Gives its path inside.
    pub async fn place_file(&self, source: &Path, name: &str) -> Result<PathBuf, JailError> {
        let (root, source, name) = (self.root(), source.to_owned(), name.to_owned());
        blocking(move || place::file(&root, &source, &name)).await
    }

    /// Makes a node of the block device in the chroot as `/<name>`, owned by the VM. Gives its path inside.
    pub async fn place_block_device(
        &self,
        major: u32,
        minor: u32,
        name: &str,
    ) -> Result<PathBuf, JailError> {
        let (root, name, owner) = (self.root(), name.to_owned(), (self.spec.uid, self.spec.gid));
        blocking(move || place::block_device(&root, major, minor, &name, owner)).await
    }

    /// Starts Firecracker in the jail, in a session and PID namespace of its own, and waits until its API
    /// answers. On an error the jail is taken down.
    pub async fn launch(self, deadline: Duration) -> Result<JailedVm, JailError> {
        match tokio::time::timeout(deadline, vm::launch(&self.host, &self.spec)).await {
            Ok(Ok((process, client))) => Ok(JailedVm::new(
                self.host,
                self.spec.id,
                process,
                client,
                self.held,
            )),
            failed => {
                let error = match failed {
                    Ok(Err(error)) => error,
                    _ => JailError::Deadline {
                        action: "start Firecracker",
                        after: deadline,
                    },
                };
                self.abandon().await;
                Err(error)
            }
        }
    }

    /// Removes the jail.
    pub async fn release(self) -> Result<(), JailError> {
        self.held.release().await
    }

    /// Finds the VM `id` that an earlier process launched, if it is still the process `identity`. A jail
    /// whose VM has died is `None`; take it down with [`Jail::remove`].
    pub async fn adopt(
        host: &Arc<JailHost>,
        id: VmId,
        identity: ProcessIdentity,
    ) -> Result<Option<JailedVm>, JailError> {
        let cgroup = host.cgroup(&id);
        let Some(process) = process::Process::find(identity, &cgroup)? else {
            return Ok(None);
        };
        let root = host.directory(&id).join("root");
        let client = host.client(&root)?;
        let held = Held::new(host.leftover(&id), host.reaper.clone());
        Ok(Some(JailedVm::new(host.clone(), id, process, client, held)))
    }

    /// Takes down whatever exists of the jail `id`, running or not; nothing at all is success.
    pub async fn remove(host: &JailHost, id: &VmId) -> Result<(), JailError> {
        host.leftover(id).clean().await
    }

    async fn abandon(self) {
        let id = self.spec.id.clone();
        if let Err(error) = self.held.release().await {
            tracing::warn!(%id, %error, "half-made jail was left to the reaper");
        }
    }
}

/// Runs blocking file and process work off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, JailError> + Send + 'static,
) -> Result<T, JailError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| JailError::ShuttingDown)?
}

impl fmt::Debug for JailHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JailHost")
            .field("base", &self.base)
            .field("cgroup_parent", &self.cgroup_parent)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_what_the_jailer_takes() {
        let check =
            |id: &str, expected: bool| assert_eq!(VmId::new(id).is_ok(), expected, "{id:?}");
        check("sbx-0abc", true);
        check("", false);
        check("a/b", false);
        check("..", false);
        check("a_b", false);
        check(&"a".repeat(64), true);
        check(&"a".repeat(65), false);
    }
}
