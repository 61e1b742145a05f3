//! Pausing, as ordered steps:
//!
//! disk whole → record → guest prepared → vCPUs stopped → snapshot → files durable → disk durable → record
//!
//! The sandbox is paused when its record says so, not before. A step that fails is undone: the vCPUs and the
//! guest go on, and the sandbox is as usable as it was. After each step stands a failpoint
//! `<kind>.after.<step>`; the kind of a sandbox's is `pause`.

use std::{fs::File, future::Future, path::Path, sync::Arc, time::Duration};

use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use wrenn_firecracker::{
    ApiError, Observed,
    api::types::{SnapshotCreate, SnapshotType},
};
use wrenn_memory::{PAGE_BYTES, read_mapping};

use super::{
    Failure, FailureKind, Host, Operation,
    copies::Copy,
    host::COW,
    manifest::Manifest,
    policy::State,
    seed,
    snapshot::{self, MAX_DIFFERENCES, Scope, Snapshot, Taken},
    stack::Stack,
    view::{Activity, PauseReason, Running, now_ms},
    working_set,
};
use crate::{durable, envd, telemetry};

/// Longest wait for the files that are being written when a pause begins, before stretching.
const WRITERS: Duration = Duration::from_secs(10);
/// What the guest's processes get to stop in.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longest wait for a step without a limit of its own, before stretching.
const STEP: Duration = Duration::from_secs(20);
/// Longest time for the files to become durable, before stretching.
const WRITE: Duration = Duration::from_secs(300);
/// What Firecracker writes, as it sees it in its jail.
const NEW_VMSTATE: &str = "vmstate.new";
const NEW_MEMORY: &str = "memory.new";

/// Why a sandbox was not paused; its text is for the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PauseError {
    #[error("keep the sandbox's record")]
    Record(#[from] durable::Error),
    #[error("prepare the guest")]
    Guest(#[source] envd::Error),
    #[error("speak to the VM")]
    Vm(#[from] ApiError),
    #[error("disk")]
    Disk(#[from] wrenn_block::Error),
    #[error("make the disk durable")]
    Flush(#[source] std::io::Error),
    #[error("write the snapshot")]
    Snapshot(#[from] snapshot::Error),
    #[error("copy the snapshot")]
    Copy(#[from] seed::Error),
    #[error("the VM is gone")]
    NoVm,
    #[error("step {step}: not done after {after:?}")]
    Late { step: &'static str, after: Duration },
    #[error("overtaken by a destroy")]
    Superseded,
    #[error("failpoint {0}")]
    Failpoint(String),
}

impl PauseError {
    /// What the caller is told.
    pub(crate) fn failure(&self) -> Failure {
        let (kind, message) = match self {
            Self::Guest(_) => (
                FailureKind::GuestUnreachable,
                "the sandbox could not be held still",
            ),
            Self::Superseded => (FailureKind::Superseded, "the sandbox was destroyed"),
            error if is_full(error) => (
                FailureKind::HostDiskFull,
                "the host has no room for the snapshot",
            ),
            _ => (
                FailureKind::Internal,
                "the host could not pause the sandbox",
            ),
        };
        Failure::new(kind, message)
    }
}

/// Whether the host's disk has no room; Firecracker says it in words.
fn is_full(error: &PauseError) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|io| io.kind() == std::io::ErrorKind::StorageFull)
            || matches!(error.downcast_ref(), Some(ApiError::Refused { fault, .. }) if fault.contains("os error 28"))
        {
            return true;
        }
        cause = error.source();
    }
    false
}

/// One pausing.
#[derive(Debug)]
pub(crate) struct Pausing<'a> {
    pub(crate) host: &'a Arc<Host>,
    /// Of its steps, in failpoints and histogram.
    pub(crate) kind: &'static str,
    pub(crate) stack: &'a Stack,
    pub(crate) running: &'a Running,
    pub(crate) activity: &'a Activity,
    pub(crate) reason: PauseReason,
    /// Ends it at its present step.
    pub(crate) superseded: CancellationToken,
}

impl<'a> Pausing<'a> {
    /// Of somebody's sandbox.
    pub(crate) fn of(
        host: &'a Arc<Host>,
        stack: &'a Stack,
        running: &'a Running,
        activity: &'a Activity,
        reason: PauseReason,
    ) -> Self {
        Self {
            host,
            kind: "pause",
            stack,
            running,
            activity,
            reason,
            superseded: CancellationToken::new(),
        }
    }

    /// Makes the snapshot and records that the sandbox is paused. On an error the sandbox runs on, unless it
    /// was overtaken.
    pub(crate) async fn run(
        &self,
        manifest: &mut Manifest,
        op: Option<&Operation>,
    ) -> Result<(), PauseError> {
        let before = manifest.clone();
        let pause = async {
            self.take(manifest).await?;
            if let Some(op) = op {
                manifest.accept(op);
            }
            manifest.state = State::Paused;
            manifest.live = None;
            Ok(manifest.write(&self.host.directory(manifest.sandbox_id))?)
        };
        let done = pause.await;
        self.undone(done, manifest, before).await
    }

    /// Makes the snapshot, copies it, and lets the sandbox run on.
    pub(crate) async fn copy(
        &self,
        manifest: &mut Manifest,
        copy: Copy,
        op: Operation,
    ) -> Result<(), PauseError> {
        let before = manifest.clone();
        let work = async {
            self.take(manifest).await?;
            self.make(copy, manifest.clone(), op).await?;
            manifest.state = State::Running;
            if let Some(live) = &mut manifest.live {
                // Whatever it writes from now on differs from this snapshot.
                live.dirty_log = live.restored;
            }
            Ok(())
        };
        let done = work.await;
        if done.is_ok() {
            self.go_on(manifest).await;
        }
        self.undone(done, manifest, before).await
    }

    /// Without a deadline, and not cut off by a destroy: a thread cannot be stopped, and what it makes must not be
    /// forgotten.
    async fn make(&self, copy: Copy, taken: Manifest, op: Operation) -> Result<(), PauseError> {
        let (host, begun) = (Arc::clone(self.host), Instant::now());
        let copy = blocking(move || {
            copy.make(&host, &taken, &op)?;
            Ok(copy)
        });
        let copy = copy.await?;
        telemetry::step(self.kind, "copy", begun.elapsed());
        let kept = if self.superseded.is_cancelled() {
            Err(PauseError::Superseded)
        } else {
            self.passed("copy")
        };
        if kept.is_err() {
            let host = Arc::clone(self.host);
            blocking(move || {
                copy.undo(&host);
                Ok(())
            })
            .await?;
        }
        kept
    }

    /// After an error, lets the sandbox go on as it was before.
    async fn undone(
        &self,
        done: Result<(), PauseError>,
        manifest: &mut Manifest,
        before: Manifest,
    ) -> Result<(), PauseError> {
        if let Err(error) = &done {
            let lost = manifest.live.as_ref().is_none_or(|live| !live.dirty_log);
            *manifest = before;
            if let Some(live) = &mut manifest.live {
                live.dirty_log &= !lost;
            }
            if !matches!(error, PauseError::Superseded) {
                self.go_on(manifest).await;
            }
        }
        done
    }

    /// Makes the snapshot; everything but the record is durable, and the VM stands still.
    async fn take(&self, manifest: &mut Manifest) -> Result<(), PauseError> {
        let host = self.host;
        let (Some(vm), Some(disk)) = (self.stack.vm(), self.stack.disk()) else {
            return Err(PauseError::NoVm);
        };
        // Those who write on after this write to a sandbox that is paused in the middle of it.
        let written = self.activity.no_writers();
        let _ = timeout(host.pace.stretch(WRITERS), written).await;
        let deadline = Instant::now() + host.pace.stretch(STEP);
        self.step("merged", None, async { Ok(disk.merged(deadline).await?) })
            .await?;
        // Whoever finds this record lets guest and vCPUs go on, and takes it that the log of dirty pages has begun
        // anew, as it does when Firecracker writes a snapshot.
        let directory = host.directory(manifest.sandbox_id);
        let scope = self.scope(manifest, &directory);
        let forget_log = |manifest: &mut Manifest| {
            if let Some(live) = &mut manifest.live {
                live.dirty_log = false;
            }
        };
        manifest.state = State::Pausing;
        let mut begun = manifest.clone();
        forget_log(&mut begun);
        // Beside the guest's preparation. If that alone is done when the agent dies, the guest's watchdog lets it go on.
        let record = async {
            let directory = directory.clone();
            blocking(move || Ok(begun.write(&directory)?)).await?;
            self.passed("record")
        };
        let (envd, key) = (&self.running.envd, &self.running.host_key);
        let prepare = async {
            let prepared = envd.prepare_snapshot(key, PATIENCE).await;
            prepared.map_err(PauseError::Guest)
        };
        let prepare = self.step("prepare", None, self.living(prepare));
        let (recorded, prepared) = tokio::join!(record, prepare);
        recorded.and(prepared)?;
        forget_log(manifest);

        let stop = async {
            Ok(match Observed::of(vm.client()).await? {
                Observed::Running(running) => running.pause().await.map_err(|r| r.error)?,
                Observed::Paused(paused) => paused,
                Observed::Configuring(_) => return Err(PauseError::NoVm),
            })
        };
        let paused = self.step("stop", None, self.living(stop)).await?;
        let jail = vm.root();
        let write = async {
            Ok(paused
                .create_snapshot(&SnapshotCreate {
                    snapshot_type: match scope {
                        Scope::Full => SnapshotType::Full,
                        Scope::Difference => SnapshotType::Diff,
                    },
                    snapshot_path: Path::new("/").join(NEW_VMSTATE),
                    mem_file_path: Path::new("/").join(NEW_MEMORY),
                })
                .await?)
        };
        self.step("snapshot", None, self.living(write)).await?;

        let number = manifest.snapshot.as_ref().map_or(0, |old| old.number) + 1;
        let below = manifest.snapshot.clone();
        let below = below.filter(|_| scope == Scope::Difference);
        let pages = u64::from(manifest.memory_mib) * (1 << 20) / PAGE_BYTES;
        let (sandbox, verified) = (directory.clone(), host.verified.clone());
        let publish = blocking(move || {
            let taken = Taken {
                sandbox: &sandbox,
                number,
                pages,
                vmstate: &jail.join(NEW_VMSTATE),
                memory: &jail.join(NEW_MEMORY),
                below: below.as_ref(),
            };
            Ok(taken.publish(&verified)?)
        });
        let (device, cow) = (disk.path(), directory.join(COW));
        let flush = blocking(move || {
            // The block device's own cache first, then the file that it writes to.
            let synced = File::open(device).and_then(|device| device.sync_all());
            synced
                .and_then(|()| File::open(cow)?.sync_all())
                .map_err(PauseError::Flush)
        });
        let publish = self.step("files", Some(WRITE), publish);
        let flush = self.step("disk", Some(WRITE), flush);
        let (files, flushed) = tokio::join!(publish, flush);
        flushed?;
        let files = files?;
        if scope == Scope::Full {
            // Nothing of it is served by a page server; what comes after it is recorded anew.
            working_set::forget(&directory);
        }

        let live = manifest.live.as_ref().ok_or(PauseError::NoVm)?;
        manifest.snapshot = Some(Snapshot {
            number,
            at_ms: now_ms(),
            reason: self.reason,
            firecracker_version: live.firecracker_version.clone(),
            envd_version: live.envd_version.clone(),
            files,
        });
        Ok(())
    }

    /// A difference, as long as the log of dirty pages is whole and not too many differences lie on each other.
    fn scope(&self, manifest: &Manifest, directory: &Path) -> Scope {
        let logged = manifest.live.as_ref().is_some_and(|live| live.dirty_log);
        let below = manifest.snapshot.as_ref().filter(|_| logged);
        let mapping = below.map(|old| read_mapping(&snapshot::directory(directory, old.number)));
        match mapping {
            Some(Ok(mapping)) if mapping.layers().len() <= MAX_DIFFERENCES => Scope::Difference,
            _ => Scope::Full,
        }
    }

    /// Undoes what was begun: the guest goes on. What fails here the guest's own watchdog mends, or the death
    /// of the VM ends.
    pub(crate) async fn go_on(&self, manifest: &Manifest) {
        let (host, id) = (self.host, manifest.sandbox_id);
        let _ = self.living(self.let_run(manifest)).await; // one that has ended is found by its driver
        host.tidy(manifest).await;
        if let Err(error) = manifest.write(&host.directory(id)) {
            tracing::error!(sandbox_id = %id, error = %crate::chain(&error), "state is not durable");
        }
    }

    /// Starts vCPUs and processes again.
    async fn let_run(&self, manifest: &Manifest) -> Result<(), PauseError> {
        let id = manifest.sandbox_id;
        if let Some(vm) = self.stack.vm() {
            // First, so that there is room on a full disk for what the guest writes.
            for name in [NEW_VMSTATE, NEW_MEMORY] {
                let _ = tokio::fs::remove_file(vm.root().join(name)).await; // it may not be there
            }
            let resumed = match Observed::of(vm.client()).await {
                Ok(Observed::Paused(paused)) => match paused.resume().await {
                    Ok(_) => Ok(()),
                    Err(refused) => Err(refused.error),
                },
                Ok(_) => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = resumed {
                tracing::error!(sandbox_id = %id, error = %crate::chain(&error), "the vCPUs stand still");
            }
        }
        let thawed = self.running.envd.unfreeze(&self.running.host_key).await;
        if let Err(error) = thawed {
            tracing::error!(sandbox_id = %id, error = %crate::chain(&error), "the guest was not told to go on");
        }
        Ok(())
    }

    /// What cannot end once the VM or its page server has.
    async fn living<T>(
        &self,
        work: impl Future<Output = Result<T, PauseError>>,
    ) -> Result<T, PauseError> {
        tokio::select! {
            done = work => done,
            () = self.stack.ended() => Err(PauseError::NoVm),
        }
    }

    async fn step<T>(
        &self,
        name: &'static str,
        limit: Option<Duration>,
        work: impl Future<Output = Result<T, PauseError>>,
    ) -> Result<T, PauseError> {
        let begun = Instant::now();
        let limited = async {
            match limit.map(|limit| self.host.pace.stretch(limit)) {
                None => work.await,
                Some(after) => timeout(after, work)
                    .await
                    .unwrap_or(Err(PauseError::Late { step: name, after })),
            }
        };
        let done = tokio::select! {
            biased;
            () = self.superseded.cancelled() => Err(PauseError::Superseded),
            done = limited => done,
        }?;
        telemetry::step(self.kind, name, begun.elapsed());
        self.passed(name)?;
        Ok(done)
    }

    fn passed(&self, step: &str) -> Result<(), PauseError> {
        let name = format!("{}.after.{step}", self.kind);
        match self.host.failpoints.reached(&name) {
            None => Ok(()),
            Some(_) => Err(PauseError::Failpoint(name)),
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PauseError> + Send + 'static,
) -> Result<T, PauseError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or(Err(PauseError::NoVm))
}
