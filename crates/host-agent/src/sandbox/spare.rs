//! Sandboxes that are restored ahead of their creation: each from a warm snapshot, initialised, used once so that the
//! pages that a first program needs are there, and stopped. A creation of its kind takes one, gives it its own name,
//! policy and keys, and lets it go on: what is left of a restoration is `/init`.
//!
//! ```text
//! creation of an image ─▶ wanted ─▶ restore, /init, program, merge, stop ─▶ spare ─▶ record, name, wake, /init ─▶ runs
//! ```
//!
//! They are of the kinds that were created last, as many as the host is told to keep. Nobody's until one is taken:
//! no key of theirs, no name and nothing random outlives the `/init` that makes it somebody's. They are recorded as
//! spares, so that the next agent removes them, and their slots are closed to the network until they are stopped.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};
use tokio_util::task::AbortOnDropHandle;
use wrenn_block::CowFile;
use wrenn_firecracker::{JailedVm, Observed, Paused, Vm};

use super::{
    Egress, Host,
    guest::{CONSOLE_LIMIT, Keys, Metadata, Started},
    host::{COW, Directory, SCRATCH},
    manifest::{Manifest, Role},
    seed::{Copied, SnapshotTemplate},
    stack::{Guard, Stack, Undo},
    steps::{StartError, Steps},
    warm::Kind,
};
use crate::{
    chain,
    envd::{Envd, Event, Launch, Stdin},
};

/// None is begun before so much time has passed since a sandbox started: it would be in the way of its first program.
const QUIET: Duration = Duration::from_secs(2);
/// For the program that it runs, and for its disk to become one, before stretching.
const PATIENCE: Duration = Duration::from_secs(10);

/// A sandbox that waits for its creation.
#[derive(Debug)]
pub(crate) struct Spare {
    /// The warm snapshot that it was restored from: its path is its kind.
    origin: PathBuf,
    manifest: Manifest,
    stack: Stack,
    vm: Vm<Paused>,
    /// Removes it from those that are kept when its VM ends.
    _watch: AbortOnDropHandle<()>,
}

/// What the last creation was made of, or could have been.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    origin: PathBuf,
    template: Arc<SnapshotTemplate>,
    network: Egress,
}

/// Those of this host.
#[derive(Debug)]
pub(crate) struct Spares {
    wanted: usize,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    spares: VecDeque<Spare>,
    wish: Option<Wish>,
    /// So many of that kind are still to be made.
    missing: usize,
    quiet_until: Option<Instant>,
}

impl Spares {
    pub(crate) fn new(wanted: usize) -> Self {
        Self {
            wanted,
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Takes one of the kind that `origin` is the warm snapshot of. Whether there is one or not, there will be.
    pub(crate) fn take(
        &self,
        origin: &Path,
        template: &SnapshotTemplate,
        network: &Egress,
    ) -> Option<Spare> {
        if self.wanted == 0 {
            return None;
        }
        let mut state = self.lock();
        state.spares.retain(Spare::lives);
        let found = state.spares.iter().position(|one| one.origin == *origin);
        let taken = found.and_then(|at| state.spares.remove(at));
        let of_kind = state.spares.iter().filter(|one| one.origin == *origin);
        state.missing = self.wanted - of_kind.count().min(self.wanted);
        state.wish = Some(Wish {
            origin: origin.to_owned(),
            template: Arc::new(template.clone()),
            network: network.clone(),
        });
        state.quiet_until = Some(Instant::now() + QUIET);
        self.changed(&state);
        taken
    }

    /// Lets a sandbox that has just started begin its work before the next is made.
    pub(crate) fn hush(&self) {
        self.lock().quiet_until = Some(Instant::now() + QUIET);
    }

    /// Keeps one, in the place of the oldest where there are enough.
    fn keep(&self, spare: Spare) -> Option<Spare> {
        let mut state = self.lock();
        state.missing = state.missing.saturating_sub(1);
        let full = state.spares.len() >= self.wanted;
        let oldest = if full { state.spares.pop_front() } else { None };
        state.spares.push_back(spare);
        self.changed(&state);
        oldest
    }

    /// What has ended hands its guards to the reaper, and is made anew.
    fn forget_dead(&self) {
        let mut state = self.lock();
        let before = state.spares.len();
        state.spares.retain(Spare::lives);
        state.missing = (state.missing + before - state.spares.len()).min(self.wanted);
        self.changed(&state);
    }

    fn changed(&self, state: &State) {
        metrics::gauge!("wrenn_agent_spares").set(state.spares.len() as f64);
        self.changed.notify_one();
    }

    /// Returns what is to be made when something is.
    async fn wanted(&self) -> Wish {
        loop {
            let changed = self.changed.notified();
            let (wish, quiet_until) = {
                let state = self.lock();
                let wish = state.wish.clone().filter(|_| state.missing > 0);
                (wish, state.quiet_until)
            };
            match (wish, quiet_until.filter(|until| *until > Instant::now())) {
                (None, _) => changed.await,
                (Some(_), Some(until)) => sleep_until(until).await,
                (Some(wish), None) => return wish,
            }
        }
    }

    /// What is wanted cannot be made now; the next creation wants it again.
    fn give_up(&self) {
        self.lock().missing = 0;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spare {
    fn lives(&self) -> bool {
        !self.stack.has_ended()
    }

    async fn release(self, host: &Host) {
        let id = self.manifest.sandbox_id;
        self.stack.release(host, id, Undo::Once).await;
    }

    /// Makes one. On an error nothing of it is left.
    async fn make(host: &Arc<Host>, wish: Wish) -> Result<Self, StartError> {
        let mut stack = Stack::default();
        let of = &wish.template.sandbox;
        let mut manifest = Kind::of(of).nobodys(&of.default_user, "", Role::Spare);
        match Self::prepare(host, &wish, &mut manifest, &mut stack).await {
            Ok((vm, watch)) => Ok(Self {
                origin: wish.origin,
                manifest,
                stack,
                vm,
                _watch: watch,
            }),
            Err(error) => {
                stack.release(host, manifest.sandbox_id, Undo::Once).await;
                Err(error)
            }
        }
    }

    async fn prepare(
        host: &Arc<Host>,
        wish: &Wish,
        manifest: &mut Manifest,
        stack: &mut Stack,
    ) -> Result<(Vm<Paused>, AbortOnDropHandle<()>), StartError> {
        let steps = Steps {
            host,
            kind: "spare",
            superseded: host.stopping.clone(),
        };
        let origin = wish.origin.clone();
        let envd = steps.create_from(&wish.template, origin, manifest, stack);
        let envd = envd.await?;
        let limit = Some(host.pace.stretch(PATIENCE));
        steps.step("use", limit, use_once(host, envd)).await?;
        let (Some(vm), Some(disk), Some(slot)) = (stack.vm(), stack.disk(), stack.slot()) else {
            return Err(StartError::Stopping);
        };
        let merge = async {
            disk.merge().await?;
            Ok(disk
                .merged(Instant::now() + host.pace.stretch(PATIENCE))
                .await?)
        };
        steps.step("merge", None, merge).await?;
        let stop = async {
            let Observed::Running(running) = Observed::of(vm.client()).await? else {
                return Err(StartError::Start("it does not run".into()));
            };
            let stopped = running.pause().await;
            stopped.map_err(|refused| StartError::Start(refused.error.into()))
        };
        let stopped = steps.host_step("stop", stop).await?;
        let policy = wish.network.policy().map_err(StartError::Spec)?;
        slot.set_policy(&policy).await?;
        manifest.network = wish.network.clone();
        let (end, owner) = (vm.end()?, Arc::clone(host));
        let watch = tokio::spawn(async move {
            end.await;
            owner.spares.forget_dead();
        });
        Ok((stopped, AbortOnDropHandle::new(watch)))
    }
}

/// Runs a program in the guest, as its first user will, and lets go of the guest.
async fn use_once(host: &Host, envd: Envd) -> Result<(), StartError> {
    let launch = Launch {
        cmd: "/bin/sh".to_owned(),
        args: vec!["-c".to_owned(), "exec true".to_owned()],
        envs: Default::default(),
        cwd: None,
        user: None,
        stdin: Stdin::Pipe,
        limit: None,
    };
    let mut process = envd.launch(launch, &host.tasks);
    while let Some(event) = process.next().await {
        if let Event::Ended { .. } = event.map_err(StartError::Init)? {
            return Ok(());
        }
    }
    Err(StartError::Start("its program did not end".into()))
}

impl Steps<'_> {
    /// Creates the sandbox from a spare. On an error `stack` holds what was the spare's.
    pub(crate) async fn create_of_spare(
        &self,
        spare: Spare,
        manifest: &mut Manifest,
        stack: &mut Stack,
    ) -> Result<Envd, StartError> {
        let host = self.host;
        let Spare {
            manifest: made,
            stack: held,
            vm,
            ..
        } = spare;
        *stack = held;
        let _permit = self.permit().await?;
        let (Some(live), Some(client)) = (made.live.clone(), stack.vm().map(JailedVm::client))
        else {
            return Err(StartError::Stopping);
        };
        let directory = host.directory(manifest.sandbox_id);
        stack.rename(host, &made, &directory)?;
        let (snapshot, frozen) = (made.snapshot.clone(), made.frozen.clone());
        let snapshot = snapshot.ok_or(StartError::Stopping)?;
        manifest.made_from(&made, Copied { snapshot, frozen });
        let (Some(jailed), Some(slot)) = (stack.vm(), stack.slot()) else {
            return Err(StartError::Stopping);
        };
        let console = jailed.console(&host.console(manifest.sandbox_id), CONSOLE_LIMIT)?;
        host.tasks.spawn(console.run());
        let keys = Keys::new()?;
        // Both at once: until it is recorded, what there is belongs to nobody, and the next agent takes it down.
        let record = async {
            let (record, directory) = (manifest.clone(), directory.clone());
            let written = tokio::task::spawn_blocking(move || record.write(&directory)).await;
            written.map_err(|_| StartError::Stopping)??;
            self.passed("record")
        };
        let wake = async {
            if manifest.network != made.network {
                let policy = manifest.network.policy().map_err(StartError::Spec)?;
                let set = async { Ok(slot.set_policy(&policy).await?) };
                self.host_step("policy", set).await?;
            }
            self.passed("slot")?;
            let wake = async {
                vm.put_mmds(&Metadata::of(manifest, &keys)).await?;
                let woken = vm.resume().await;
                woken.map_err(|refused| StartError::Start(refused.error.into()))
            };
            self.host_step("wake", wake).await?;
            self.passed("wake")
        };
        let (recorded, woken) = tokio::join!(record, wake);
        recorded.and(woken)?;
        let envd = Envd::new(
            live.slot.host_address(),
            &keys.access_token,
            &manifest.default_user,
            host.pace,
        )
        .map_err(StartError::Init)?;
        let envs = Some(&manifest.envs);
        tokio::select! {
            done = self.init(manifest, &keys, &envd, envs) => done?,
            () = stack.ended() => return Err(StartError::Start("its VM ended".into())),
        }
        let envd_version = live.envd_version.clone();
        let started = Started::of_spare(made.sandbox_id, live, client);
        started.record(manifest, &directory, keys, envd_version, true, stack)?;
        host.hush();
        self.passed("running")?;
        Ok(envd)
    }
}

impl Stack {
    /// Gives a spare's files the directory of the sandbox that it becomes. Its record goes first: a directory
    /// without one is removed by the next agent.
    fn rename(&mut self, host: &Host, made: &Manifest, to: &Path) -> Result<(), StartError> {
        let from = host.directory(made.sandbox_id);
        Manifest::remove(&from)?;
        std::fs::rename(&from, to).map_err(StartError::Directory)?;
        self.replace(|guard| match guard {
            Guard::Directory(directory) => {
                directory.detach();
                Guard::Directory(Directory::standing(to.to_owned(), host.reaper.clone()))
            }
            Guard::Cow(cow) => {
                cow.keep();
                Guard::Cow(CowFile::open(&to.join(COW), host.block_reaper.clone()))
            }
            Guard::Scratch(scratch) => {
                scratch.keep();
                Guard::Scratch(CowFile::open(&to.join(SCRATCH), host.block_reaper.clone()))
            }
            other => other,
        });
        Ok(())
    }
}

/// Makes what is wanted, one at a time, until the agent stops; then takes down what is left.
pub(crate) async fn build_wanted(host: Arc<Host>) {
    let building = async {
        loop {
            host.spares.wanted().await;
            // Whoever starts a sandbox goes first; it is not held, as nobody waits for what comes here.
            drop(host.boots.acquire().await);
            // Once its sandbox runs it is quiet again.
            let wish = host.spares.wanted().await;
            if host.boots.available_permits() == 0 {
                continue;
            }
            if !Kind::of(&wish.template.sandbox).has_room(&host) {
                host.spares.give_up();
                continue;
            }
            match Spare::make(&host, wish).await {
                Ok(spare) => {
                    if let Some(oldest) = host.spares.keep(spare) {
                        oldest.release(&host).await;
                    }
                }
                Err(_) if host.stopping.is_cancelled() => return,
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "no sandbox was restored ahead");
                    metrics::counter!("wrenn_agent_spares_failed_total").increment(1);
                    host.spares.give_up();
                }
            }
        }
    };
    tokio::select! {
        () = host.stopping.cancelled() => {}
        () = building => {}
    }
    let left = std::mem::take(&mut host.spares.lock().spares);
    for spare in left {
        spare.release(&host).await;
    }
}
