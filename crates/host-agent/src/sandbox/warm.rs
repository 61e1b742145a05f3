//! Warm snapshots: what the creation of a sandbox from an image is a restore of.
//!
//! ```text
//! no snapshot ─▶ a creation boots ─▶ wish ─▶ seed VM: boot, /init, settle, snapshot ─▶ warm/<key>/, record last
//!      ▲                                                                                     │
//!      └─────────────── removed: damaged, stale, or unused for longest above the limit ◀─────┘
//! ```
//!
//! The first creation of a kind boots as if there were no warm snapshots. Then a *seed* of the same kind boots in
//! the background, one at a time: a VM that nobody ever uses, so that nothing of a user is in its memory. From
//! then on creations restore its snapshot, as they would a snapshot template's, and are made unlike each other by
//! `/init` before anything of theirs runs. The key of a snapshot is everything that a boot bakes into a guest, the
//! size of the disk too: a guest's kernel learns it at boot. Caches are not dropped: the pages would stay as
//! they are in the snapshot, and the first program of each sandbox would be read from the disk again.
//!
//! A seed is recorded as one, so that the next agent removes what is left of it; a directory without a record is
//! a part, and removed too. Who restores holds links to the files: a removal takes nothing from anybody.

use std::{
    collections::BTreeMap,
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio::{
    sync::mpsc::{self, Receiver, Sender, error::TrySendError},
    time::Instant,
};
use wrenn_ids::{SandboxId, TemplateId};

use super::{
    Egress, FailureKind, Host, Internet, OnIdle, Operation, Spec,
    manifest::{Manifest, Role},
    pause::{PauseError, Pausing},
    seed::{self, Seed, SnapshotTemplate},
    spare::Spare,
    stack::{Stack, Undo},
    steps::{StartError, Steps},
    view::{Activity, PauseReason, Running},
};
use crate::{chain, config::Config, envd::Envd, facts, templates};

/// Wishes that wait; more are forgotten, and wished again by the next creation that boots.
const WISHES: usize = 8;
/// After a seed that failed there is none for so long, before stretching.
const REST: Duration = Duration::from_secs(60);
/// Memory and disk that are free before one is made that nobody asked for, in multiples of its memory.
const SPARE: u64 = 2;

/// The warm snapshots of one host.
#[derive(Debug)]
pub(crate) struct Warm {
    directory: PathBuf,
    firecracker_version: String,
    wishes: Sender<Kind>,
    /// Until the builder takes it.
    inbox: Mutex<Option<Receiver<Kind>>>,
}

/// Sandboxes that can be restored from one snapshot, as far as they choose it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    template_id: TemplateId,
    vcpus: u32,
    memory_mib: u32,
    disk_mib: u32,
}

/// All that a boot bakes into a guest.
#[derive(Debug, Clone, Serialize)]
struct Baked<'a> {
    template_id: TemplateId,
    rootfs_sha256: &'a str,
    envd_version: &'a str,
    kernel_version: &'a str,
    firecracker_version: &'a str,
    vcpus: u32,
    memory_mib: u32,
    disk_mib: u32,
    guest_dns: &'a [Ipv4Addr],
    guest_ca: Option<&'a str>,
}

/// A snapshot to be restored.
#[derive(Debug)]
struct Found {
    directory: PathBuf,
    template: SnapshotTemplate,
}

/// Why there is no warm snapshot; its text is for the log.
#[derive(Debug, thiserror::Error)]
enum BuildError {
    #[error("find the images")]
    Images(#[from] templates::Error),
    #[error("boot the seed")]
    Boot(#[from] StartError),
    #[error("take the seed's snapshot")]
    Pause(#[from] PauseError),
    #[error("keep the seed's snapshot")]
    Keep(#[from] seed::Error),
}

impl Steps<'_> {
    /// One of the sandbox's kind, if there is one.
    fn spare(
        &self,
        origin: &Path,
        template: &SnapshotTemplate,
        manifest: &Manifest,
    ) -> Option<Spare> {
        let host = self.host;
        match host.failpoints.reached("spare.take") {
            None => host.spares.take(origin, template, &manifest.network),
            Some(_) => None,
        }
    }

    /// Creates the sandbox from an image: by a spare or a restore, or by a boot while there is nothing to restore. On an
    /// error `stack` holds what was made.
    pub(crate) async fn create_of_image(
        &self,
        manifest: &mut Manifest,
        stack: &mut Stack,
    ) -> Result<Envd, StartError> {
        let host = self.host;
        if let Some(Found {
            directory,
            template,
        }) = host.warm.find(host, manifest)
        {
            if let Some(spare) = self.spare(&directory, &template, manifest) {
                let mut own = manifest.clone();
                match self.create_of_spare(spare, &mut own, stack).await {
                    Err(error) if is_of_the_spare(&error) => {
                        let id = manifest.sandbox_id;
                        tracing::warn!(sandbox_id = %id, error = %chain(&error), "a spare is of no use: the sandbox is restored");
                        std::mem::take(stack).release(host, id, Undo::Once).await;
                    }
                    done => {
                        if done.is_ok() {
                            metrics::counter!("wrenn_agent_spares_used_total").increment(1);
                        }
                        *manifest = own;
                        return done;
                    }
                }
            }
            let mut warm = manifest.clone();
            let created = self.create_from(&template, directory.clone(), &mut warm, stack);
            match created.await {
                Err(error) if is_of_the_snapshot(&error) => {
                    let id = manifest.sandbox_id;
                    tracing::error!(sandbox_id = %id, error = %chain(&error), "a warm snapshot is of no use: the sandbox is booted");
                    remove(&directory);
                    std::mem::take(stack).release(host, id, Undo::Once).await;
                }
                done => {
                    if done.is_ok() {
                        metrics::counter!("wrenn_agent_warm_hits_total").increment(1);
                    }
                    *manifest = warm;
                    return done;
                }
            }
        }
        metrics::counter!("wrenn_agent_warm_misses_total").increment(1);
        let envd = self.create(manifest, stack).await?;
        host.warm.wish(host, manifest);
        Ok(envd)
    }
}

/// Whether another start of the same sandbox, without the spare, may succeed.
fn is_of_the_spare(error: &StartError) -> bool {
    use StartError as E;
    !matches!(
        error,
        E::Superseded | E::Stopping | E::Failpoint(..) | E::Spec(_)
    )
}

/// Whether another start of the same sandbox, without the snapshot, may succeed.
fn is_of_the_snapshot(error: &StartError) -> bool {
    match error {
        StartError::Refused(failure) => failure.kind == FailureKind::SnapshotDamaged,
        StartError::Snapshot(_)
        | StartError::Copy(_)
        | StartError::Pages(_)
        | StartError::Start(_)
        | StartError::Init(_) => true,
        _ => false,
    }
}

impl Warm {
    pub(crate) fn open(config: &Config) -> Self {
        let (wishes, inbox) = mpsc::channel(WISHES);
        Self {
            directory: config.state_dir.join("warm"),
            firecracker_version: crate::checks::firecracker_version(config),
            wishes,
            inbox: Mutex::new(Some(inbox)),
        }
    }

    /// Version of the VMM that this agent starts, read at its own start.
    pub(crate) fn firecracker_version(&self) -> &str {
        &self.firecracker_version
    }

    /// The snapshot that a sandbox is to be restored from; its use is noted.
    fn find(&self, host: &Host, manifest: &Manifest) -> Option<Found> {
        if host.config.warm_max_mib == 0 || host.failpoints.reached("warm.lookup").is_some() {
            return None;
        }
        let key = self.key(host, Kind::of(manifest)).ok()?; // a boot says what is wrong
        let directory = self.directory.join(key);
        let template = SnapshotTemplate::read(&directory).unwrap_or_else(|error| {
            tracing::error!(error = %chain(&error), "the record of a warm snapshot is of no use");
            remove(&directory);
            None
        })?;
        let now = fs::File::open(&directory).and_then(|file| file.set_modified(SystemTime::now()));
        if let Err(error) = now {
            tracing::warn!(%error, "the use of a warm snapshot is not noted");
        }
        Some(Found {
            directory,
            template,
        })
    }

    /// Asks for a snapshot of the kind of a sandbox that had to be booted.
    fn wish(&self, host: &Host, manifest: &Manifest) {
        if u64::from(manifest.memory_mib) > host.config.warm_max_mib {
            return; // it might be the only one, and be evicted at once
        }
        match self.wishes.try_send(Kind::of(manifest)) {
            Ok(()) | Err(TrySendError::Closed(_)) => {}
            Err(TrySendError::Full(_)) => tracing::debug!("too many warm snapshots are wished for"),
        }
    }

    /// Names the snapshot of this kind as the host's images are now.
    fn key(&self, host: &Host, kind: Kind) -> Result<String, templates::Error> {
        let template = host.images.template(kind.template_id)?;
        let kernel = host.images.kernel()?;
        let baked = Baked {
            template_id: kind.template_id,
            rootfs_sha256: &template.sha256,
            envd_version: &template.envd_version,
            kernel_version: &kernel.version,
            firecracker_version: &self.firecracker_version,
            vcpus: kind.vcpus,
            memory_mib: kind.memory_mib,
            disk_mib: kind.disk_mib,
            guest_dns: &host.config.guest_dns,
            guest_ca: host.config.guest_ca.as_deref(),
        };
        Ok(baked.key())
    }

    /// Removes parts, what no creation will ask for any more, and what was not used for longest while all take
    /// more than they may.
    pub(crate) fn sweep(&self, host: &Host) {
        if let Err(error) = SnapshotTemplate::sweep(&self.directory) {
            tracing::error!(error = %chain(&error), "a part of a warm snapshot stays");
        }
        let entries = fs::read_dir(&self.directory)
            .into_iter()
            .flatten()
            .flatten();
        let mut kept: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        for entry in entries {
            let directory = entry.path();
            let template = SnapshotTemplate::read(&directory).ok().flatten();
            let current = template.as_ref().is_some_and(|template| {
                let key = self.key(host, Kind::of(&template.sandbox)).ok();
                key.is_some_and(|key| entry.file_name() == *key)
            });
            match template.filter(|_| current) {
                Some(template) => {
                    let used = entry.metadata().and_then(|stat| stat.modified());
                    let used = used.unwrap_or(SystemTime::UNIX_EPOCH);
                    kept.push((used, template.size_bytes(&directory), directory));
                }
                None => evict(&directory),
            }
        }
        kept.sort();
        let mut bytes: u64 = kept.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, size, directory) in &kept {
            if bytes <= host.config.warm_max_mib << 20 {
                break;
            }
            evict(directory);
            bytes -= size;
        }
        metrics::gauge!("wrenn_agent_warm_bytes").set(bytes as f64);
    }
}

fn evict(directory: &Path) {
    metrics::counter!("wrenn_agent_warm_evictions_total").increment(1);
    tracing::info!(path = %directory.display(), "a warm snapshot is given up");
    remove(directory);
}

fn remove(directory: &Path) {
    if let Err(error) = SnapshotTemplate::remove(directory) {
        tracing::error!(error = %chain(&error), "a warm snapshot stays");
    }
}

impl Kind {
    pub(crate) fn of(manifest: &Manifest) -> Self {
        Self {
            template_id: manifest.template_id,
            vcpus: manifest.vcpus,
            memory_mib: manifest.memory_mib,
            disk_mib: manifest.disk_mib,
        }
    }

    /// Whether one that nobody asked for takes nothing that a sandbox needs now.
    pub(crate) fn has_room(self, host: &Host) -> bool {
        let needed = SPARE * u64::from(self.memory_mib);
        facts::memory().free_mib >= needed && facts::disk(&host.state_dir).free_mib >= needed
    }

    /// The record of one that nobody asked for.
    pub(crate) fn nobodys(self, default_user: &str, op_id: &str, role: Role) -> Manifest {
        let spec = Spec {
            sandbox_id: SandboxId::new(),
            template_id: self.template_id,
            vcpus: self.vcpus,
            memory_mib: self.memory_mib,
            disk_mib: self.disk_mib,
            envs: BTreeMap::new(),
            network: Egress {
                internet: Internet::Closed,
                allow_out: Vec::new(),
                deny_out: Vec::new(),
            },
            idle_timeout_sec: 0,
            on_idle: OnIdle::Destroy,
            default_user: None,
        };
        let op = Operation {
            id: op_id.to_owned(),
            generation: 0,
        };
        let mut manifest = Manifest::starting(&spec, &op, default_user);
        manifest.role = role;
        manifest
    }
}

impl Baked<'_> {
    fn key(&self) -> String {
        let text = serde_json::to_vec(self).unwrap_or_default(); // numbers and strings always are JSON
        hex::encode(&Sha256::digest(text)[..16])
    }
}

/// Makes what is wished for, one at a time, until the agent stops.
pub(crate) async fn build_wanted(host: Arc<Host>) {
    let inbox = host.warm.inbox.lock();
    let Some(mut inbox) = inbox.unwrap_or_else(PoisonError::into_inner).take() else {
        return;
    };
    let mut not_before = Instant::now();
    loop {
        let kind = tokio::select! {
            () = host.stopping.cancelled() => return,
            Some(kind) = inbox.recv() => kind,
        };
        if Instant::now() < not_before
            || host.boots.available_permits() == 0
            || !kind.has_room(&host)
        {
            continue;
        }
        match build(&host, kind).await {
            Ok(()) => host.warm.sweep(&host),
            Err(_) if host.stopping.is_cancelled() => return,
            Err(error) => {
                tracing::warn!(template_id = %kind.template_id, error = %chain(&error), "no warm snapshot was made");
                metrics::counter!("wrenn_agent_warm_builds_failed_total").increment(1);
                not_before = Instant::now() + host.pace.stretch(REST);
            }
        }
    }
}

async fn build(host: &Arc<Host>, kind: Kind) -> Result<(), BuildError> {
    let key = host.warm.key(host, kind)?;
    let directory = host.warm.directory.join(&key);
    if matches!(SnapshotTemplate::read(&directory), Ok(Some(_))) {
        return Ok(());
    }
    let user = host.images.template(kind.template_id)?.default_user;
    let mut manifest = kind.nobodys(&user, &key, Role::Seed);
    let mut stack = Stack::default();
    let kept = keep(host, &mut manifest, &mut stack, directory).await;
    stack.release(host, manifest.sandbox_id, Undo::Once).await;
    kept?;
    tracing::info!(template_id = %kind.template_id, key, "a warm snapshot is ready");
    metrics::counter!("wrenn_agent_warm_builds_total").increment(1);
    Ok(())
}

/// Boots a seed and keeps its snapshot in `directory`. What it held is in `stack` then.
async fn keep(
    host: &Arc<Host>,
    manifest: &mut Manifest,
    stack: &mut Stack,
    directory: PathBuf,
) -> Result<(), BuildError> {
    let steps = Steps {
        host,
        kind: "warm",
        superseded: host.stopping.clone(),
    };
    let envd = steps.create(manifest, stack).await?;
    let live = manifest.live.clone().ok_or(PauseError::NoVm)?;
    let settling = Pausing {
        host,
        kind: "settle",
        stack,
        running: &Running::of(manifest, &live, envd),
        activity: &Activity::now(),
        reason: PauseReason::User,
        superseded: host.stopping.clone(),
    };
    settling.run(manifest, None).await?;
    steps.passed("settled")?;
    let seed = Seed::of(host.directory(manifest.sandbox_id), manifest).map_err(StartError::from)?;
    let seed = seed.ok_or(PauseError::NoVm)?;
    let record = manifest.clone();
    let copy = move || {
        let name = "warm";
        SnapshotTemplate::create(&directory, &seed, &record, name, &record.op_id).map(drop)
    };
    let copied = tokio::task::spawn_blocking(copy).await;
    copied.map_err(|_| StartError::Stopping)??;
    Ok(steps.passed("kept")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_boot_bakes_in_is_in_the_key() {
        let dns = [Ipv4Addr::new(10, 0, 0, 1)];
        let one = Baked {
            template_id: TemplateId::ZERO,
            rootfs_sha256: "aa",
            envd_version: "0.1.0",
            kernel_version: "6.1.0",
            firecracker_version: "1.12.1",
            vcpus: 1,
            memory_mib: 256,
            disk_mib: 1024,
            guest_dns: &[],
            guest_ca: None,
        };
        let check = |change: &dyn Fn(&mut Baked<'_>)| {
            let mut other = one.clone();
            change(&mut other);
            assert_ne!(one.key(), other.key(), "{other:?}");
        };
        check(&|other| other.template_id = TemplateId::new());
        check(&|other| other.rootfs_sha256 = "ab");
        check(&|other| other.envd_version = "0.2.0");
        check(&|other| other.kernel_version = "6.1.1");
        check(&|other| other.firecracker_version = "1.13.0");
        check(&|other| other.vcpus = 2);
        check(&|other| other.memory_mib = 258);
        check(&|other| other.disk_mib = 2048);
        check(&|other| other.guest_ca = Some(""));
        let other = Baked {
            guest_dns: &dns,
            ..one.clone()
        };
        assert_ne!(one.key(), other.key());
        assert_eq!(one.key(), one.clone().key());
    }
}
