//! What all sandboxes of this host are made of, shared by their tasks.

use std::{
    fmt, io,
    net::{IpAddr, ToSocketAddrs as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use wrenn_block::BlockStore;
use wrenn_firecracker::{JailHost, api::client::REQUEST_DEADLINE};
use wrenn_ids::{SandboxId, TemplateId};
use wrenn_network::{Cidr, Network, NetworkConfig};

use super::{
    Failure, FailureKind,
    flat::{self, FlatCopies},
    manifest::Manifest,
    ready::{self, ReadyVms},
    snapshot::remove_others,
    spare::{self, Spares},
    steps::StartError,
    tombstone::Graveyard,
    verified::Verified,
    warm::{self, Warm},
};
use crate::{
    config::Config,
    events::Events,
    failpoint::Failpoints,
    pace::Pace,
    reaper::{ReaperHandle, debt},
    templates::Images,
};

debt!(wrenn_block::Leftover);
debt!(wrenn_firecracker::Leftover);
debt!(wrenn_network::Leftover);

/// Jails lie here in the state directory, on a file system that allows devices and execution.
const RUN: &str = "run";
/// In a sandbox's directory: what its disk holds beside its base, what a restored one writes until it is known
/// to run, and its base itself where that can be kept.
pub(crate) const COW: &str = "cow.img";
pub(crate) const SCRATCH: &str = "scratch.img";
pub(crate) const BASE: &str = "base.ext4";
/// Sandboxes that the agent pauses at once on its own account.
pub(super) const IDLE_PAUSES: usize = 4;
/// Name of the cgroup that holds all VMs' cgroups.
const CGROUP: &str = "wrenn";

/// This host, as sandboxes see it.
pub struct Host {
    pub(crate) state_dir: PathBuf,
    pub(crate) images: Images,
    pub(crate) blocks: BlockStore,
    pub(crate) block_reaper: wrenn_block::Reaper,
    pub(crate) jails: Arc<JailHost>,
    pub(crate) network: Network,
    pub(crate) reaper: ReaperHandle,
    pub(crate) pace: Pace,
    pub(crate) failpoints: Failpoints,
    pub(crate) events: Arc<Events>,
    pub(crate) graveyard: Graveyard,
    pub(crate) config: Config,
    /// Bounds the boots and restores that run at once: more than there are processors only slow each other down.
    pub(crate) boots: Semaphore,
    /// Bounds the pauses that nobody waits for.
    pub(crate) idle_pauses: Semaphore,
    /// What creations are restores of.
    pub(crate) warm: Warm,
    /// VMMs that wait for a snapshot.
    pub(crate) ready: ReadyVms,
    /// Sandboxes that wait for their creation.
    pub(crate) spares: Spares,
    /// Memories of paused sandboxes that a resumption maps.
    pub(crate) flat: FlatCopies,
    /// Files of snapshots that need not be read again to be trusted.
    pub(crate) verified: Arc<Verified>,
    /// Tasks of sandboxes and of their programs.
    pub(crate) tasks: TaskTracker,
    /// The agent stops; VMs run on.
    pub(crate) stopping: CancellationToken,
}

/// Why the agent cannot hold sandboxes.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The state directory cannot be made.
    #[error("prepare the state directory")]
    State(#[from] io::Error),
    /// The host's network cannot be set up.
    #[error("prepare the network")]
    Network(#[from] wrenn_network::Error),
}

/// Where Firecracker and its jailer are.
#[must_use]
pub fn binaries(config: &Config) -> (PathBuf, PathBuf) {
    let directory = match &config.firecracker_dir {
        Some(directory) => directory.clone(),
        None => config.images_dir.join("bin"),
    };
    (directory.join("firecracker"), directory.join("jailer"))
}

impl Host {
    /// Opens the state directory and prepares what sandboxes are made of.
    ///
    /// # Errors
    /// When directories cannot be made.
    pub async fn open(
        config: Config,
        events: Arc<Events>,
        reaper: ReaperHandle,
        stopping: CancellationToken,
    ) -> Result<Arc<Self>, OpenError> {
        let pace = Pace::detect();
        let state_dir = config.state_dir.clone();
        std::fs::create_dir_all(state_dir.join("sandboxes"))?;
        std::fs::create_dir_all(state_dir.join("templates"))?;
        let (firecracker, jailer) = binaries(&config);
        let base = state_dir.join(RUN);
        std::fs::create_dir_all(&base)?;
        let owe = reaper.clone();
        let jails = Arc::new(JailHost {
            firecracker,
            jailer,
            base,
            cgroup_root: "/sys/fs/cgroup".into(),
            cgroup_parent: CGROUP.to_owned(),
            api_deadline: pace.stretch(REQUEST_DEADLINE),
            reaper: Arc::new(move |leftover| owe.owe(leftover)),
        });
        let owe = reaper.clone();
        let block_reaper: wrenn_block::Reaper = Arc::new(move |leftover| owe.owe(leftover));
        let owe = reaper.clone();
        let settings = NetworkConfig {
            resolvers: config.guest_dns.clone(),
            closed: control_plane_addresses(&config.control_plane_url),
            ..NetworkConfig::default()
        };
        let network = Network::start(settings, Arc::new(move |leftover| owe.owe(leftover))).await?;
        let cores = crate::facts::cpu_cores() as usize;
        Ok(Arc::new(Self {
            images: Images::new(&config.images_dir),
            blocks: BlockStore::new(block_reaper.clone()),
            block_reaper,
            jails,
            network,
            reaper,
            pace,
            failpoints: Failpoints::new(config.failpoints.clone()),
            events,
            graveyard: Graveyard::open(&state_dir)?,
            boots: Semaphore::new(cores),
            idle_pauses: Semaphore::new(IDLE_PAUSES),
            warm: Warm::open(&config),
            ready: ReadyVms::new(config.ready_vms),
            spares: Spares::new(config.spares),
            flat: FlatCopies::open(state_dir.join("flat"), config.flat_max_mib << 20)?,
            verified: Arc::default(),
            tasks: TaskTracker::new(),
            stopping,
            config,
            state_dir,
        }))
    }

    /// Keeps what is kept ready; runs until the agent stops.
    pub(crate) async fn keep_ready(self: Arc<Self>) {
        let hourly = async {
            loop {
                tokio::time::sleep(Duration::from_secs(3600)).await;
                self.graveyard.forget_old();
            }
        };
        self.tasks.spawn(warm::build_wanted(Arc::clone(&self)));
        self.tasks.spawn(flat::build_wanted(Arc::clone(&self)));
        self.tasks.spawn(ready::build_wanted(Arc::clone(&self)));
        self.tasks.spawn(spare::build_wanted(Arc::clone(&self)));
        tokio::select! {
            () = self.stopping.cancelled() => {}
            never = self.network.refill() => match never {},
            () = hourly => {}
        }
    }

    /// Lets a sandbox that has just started begin its work before anything is made ready.
    pub(crate) fn hush(&self) {
        self.ready.hush();
        self.spares.hush();
        self.network.hush();
    }

    /// The directory of a sandbox's durable files.
    pub(crate) fn directory(&self, id: SandboxId) -> PathBuf {
        self.sandboxes().join(id.to_string())
    }

    /// Keeps the file system that a new sandbox's disk lies on, whatever its template becomes; where images
    /// are on another file system, [`Host::check_base`] is what is left.
    pub(crate) fn keep_base(&self, manifest: &Manifest) -> io::Result<()> {
        let image = self
            .images
            .rootfs(manifest.base_template())
            .canonicalize()?;
        let kept = self.directory(manifest.sandbox_id).join(BASE);
        match std::fs::hard_link(image, kept) {
            Err(error) if error.kind() != io::ErrorKind::CrossesDevices => Err(error),
            _ => Ok(()),
        }
    }

    /// Checks that a sandbox's disk still lies on what it was made over.
    ///
    /// # Errors
    /// When another file system has taken its place.
    pub(crate) fn check_base(&self, manifest: &Manifest) -> Result<(), StartError> {
        if self.directory(manifest.sandbox_id).join(BASE).exists() {
            return Ok(());
        }
        let template = self.images.template(manifest.base_template())?;
        if template.sha256 == manifest.rootfs_sha256 {
            return Ok(());
        }
        let message = "the template's file system is not what the sandbox was made from";
        let failure = Failure::new(FailureKind::SnapshotDamaged, message);
        Err(StartError::Refused(failure))
    }

    /// Removes every snapshot of a sandbox but the one that its record names.
    pub(crate) async fn tidy(&self, manifest: &Manifest) {
        let (id, directory) = (manifest.sandbox_id, self.directory(manifest.sandbox_id));
        let kept = manifest.snapshot.as_ref().map(|snapshot| snapshot.number);
        let tidy = tokio::task::spawn_blocking(move || remove_others(&directory, kept));
        if let Ok(Err(error)) = tidy.await {
            tracing::warn!(sandbox_id = %id, error = %crate::chain(&error), "an older snapshot stays");
        }
    }

    /// Runs work that nobody waits for until the agent stops.
    pub(crate) fn until_stopped(
        &self,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        let stopping = self.stopping.clone();
        async move {
            tokio::select! {
                () = stopping.cancelled() => {}
                () = work => {}
            }
        }
    }

    /// Bytes that a sandbox's disk really occupies.
    pub(crate) fn disk_used(&self, id: SandboxId) -> u64 {
        let stat = std::fs::metadata(self.directory(id).join(COW));
        stat.map_or(0, |stat| stat.blocks() * 512)
    }

    /// The directory of a snapshot template.
    pub(crate) fn snapshot_template(&self, id: TemplateId) -> PathBuf {
        self.snapshot_templates().join(id.to_string())
    }

    /// Where snapshot templates are.
    pub(crate) fn snapshot_templates(&self) -> PathBuf {
        self.state_dir.join("templates")
    }

    pub(crate) fn sandboxes(&self) -> PathBuf {
        self.state_dir.join("sandboxes")
    }

    /// Where a sandbox's console is logged.
    pub(crate) fn console(&self, id: SandboxId) -> PathBuf {
        self.directory(id).join("console.log")
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("state_dir", &self.state_dir)
            .finish_non_exhaustive()
    }
}

/// Closed to all guests, wherever the control plane is.
fn control_plane_addresses(url: &str) -> Vec<Cidr> {
    let authority = url
        .split("://")
        .nth(1)
        .and_then(|rest| rest.split('/').next())
        .unwrap_or("");
    let authority = if authority.contains(':') {
        authority.to_owned()
    } else {
        format!("{authority}:443")
    };
    let addresses = authority.to_socket_addrs().into_iter().flatten();
    let networks = addresses.filter_map(|address| match address.ip() {
        IpAddr::V4(address) => Cidr::new(address, 32),
        IpAddr::V6(_) => None,
    });
    networks.collect()
}

/// The directory of a sandbox's durable files, deleted on release.
#[derive(Debug)]
pub(crate) struct Directory {
    path: Option<PathBuf>,
    reaper: ReaperHandle,
}

impl Directory {
    /// Makes it; one that is there already is taken over.
    pub(crate) fn create(path: PathBuf, reaper: ReaperHandle) -> io::Result<Self> {
        std::fs::create_dir_all(&path)?;
        Ok(Self::standing(path, reaper))
    }

    /// Takes over one that is there.
    pub(crate) fn standing(path: PathBuf, reaper: ReaperHandle) -> Self {
        Self {
            path: Some(path),
            reaper,
        }
    }

    /// Leaves it standing.
    pub(crate) fn detach(mut self) {
        self.path = None;
    }

    /// Deletes it with all that is in it.
    pub(crate) async fn release(mut self) -> io::Result<()> {
        if let Some(path) = &self.path {
            remove_directory(path).await?;
        }
        self.path = None;
        Ok(())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Some(path) = self.path.take() {
            self.reaper.owe(DirectoryDebt(path));
        }
    }
}

/// Deletes a directory; one that is gone already is success.
pub(crate) async fn remove_directory(path: &Path) -> io::Result<()> {
    match tokio::fs::remove_dir_all(path).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A directory still to be deleted.
pub(crate) struct DirectoryDebt(PathBuf);

impl DirectoryDebt {
    async fn clean(&mut self) -> io::Result<()> {
        remove_directory(&self.0).await
    }
}

debt!(DirectoryDebt);

impl fmt::Display for DirectoryDebt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "directory {}", self.0.display())
    }
}
