//! The task of one sandbox: creates it, watches its VM, pauses, resumes and destroys it. It outlives every
//! request, and every request outlives its caller: nobody's going away cancels a change.

use std::{collections::VecDeque, future::Future, sync::Arc, time::Duration};

use tokio::{
    sync::{AcquireError, SemaphorePermit, mpsc, oneshot, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use wrenn_firecracker::console_tail;
use wrenn_ids::SandboxId;

use super::{
    Egress, Failure, FailureKind, Host, Operation, Refused,
    copies::Copy,
    flat::{self, FlatCopy},
    manifest::{Manifest, OnIdle},
    pause::Pausing,
    policy::{Change, Known, Refusal, State, Verdict, judge},
    registry::Forget,
    seed::SnapshotTemplate,
    snapshot,
    stack::{Stack, Undo},
    steps::{StartError, Steps},
    tombstone::Tombstone,
    view::{PauseReason, Phase, Running, View},
};
use crate::{backoff::Backoff, chain, envd::Envd, events::EventKind};

/// Requests that may wait for a task.
pub(super) const QUEUE: usize = 16;
/// How often a sandbox that is in use when its idle time is over is looked at again.
const IDLE_LOOK: Duration = Duration::from_secs(2);
/// Waits between attempts to pause an idle sandbox (control-plane.md §4.2).
const RETRY: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(600));

/// What a task is asked, with who waits for the answer.
#[derive(Debug)]
pub(super) enum Command {
    /// Destroy the sandbox; who asked waits for [`Phase::Gone`].
    Destroy(Operation),
    /// Pause it.
    Pause(Operation, PauseReason, Reply),
    /// Pause it though the control plane has not asked for it.
    PauseUnasked(PauseReason, Reply),
    /// Resume it with this idle time.
    Resume(Operation, Idle, Reply),
    /// Copy it as it is now.
    Copy(Operation, Copy, Reply),
    /// Change what may change while it lives.
    Update(Operation, Update, Reply),
}

/// Where the answer to a command goes: the sandbox as it is then.
pub(super) type Reply = oneshot::Sender<Result<(), Refused>>;

/// When a sandbox is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Idle {
    /// Seconds without activity; 0 = never.
    pub timeout_sec: u32,
    /// What happens then.
    pub on_idle: OnIdle,
}

/// What may change while a sandbox lives; `None` stays.
#[derive(Debug, Clone, Default)]
pub struct Update {
    /// Seconds without activity.
    pub idle_timeout_sec: Option<u32>,
    /// What happens then.
    pub on_idle: Option<OnIdle>,
    /// Where its packets may go.
    pub network: Option<Egress>,
}

/// How a task begins.
#[derive(Debug)]
pub(super) enum Birth {
    /// The sandbox is to be created: by a boot, or from a snapshot template.
    Create(Option<Box<SnapshotTemplate>>),
    /// It exists: an earlier agent created it.
    Adopted(Stack, Phase),
}

/// What a task holds between two changes.
#[derive(Debug)]
pub(super) enum Life {
    Running(Stack, Running),
    Paused(Stack),
    Over,
}

/// The task.
#[derive(Debug)]
pub(super) struct Driver {
    pub(super) host: Arc<Host>,
    pub(super) manifest: Manifest,
    pub(super) view: watch::Sender<View>,
    pub(super) commands: mpsc::Receiver<Command>,
    /// Came while a change was under way that they do not overtake.
    pub(super) waiting: VecDeque<Command>,
    /// No pause for idleness before this.
    pub(super) not_before: Instant,
    pub(super) retry: Backoff,
    /// Of its memory, while it is paused.
    pub(super) copy: Option<FlatCopy>,
    /// Takes the sandbox out of the registry when the task ends.
    pub(super) forget: Forget,
}

impl Driver {
    pub(super) async fn run(mut self, birth: Birth) {
        let mut life = match birth {
            Birth::Create(template) => self.create(template).await,
            Birth::Adopted(stack, phase) => self.adopted(stack, phase).await,
        };
        loop {
            life = match life {
                Life::Running(stack, running) => self.serve(stack, running).await,
                Life::Paused(stack) => self.rest(stack).await,
                Life::Over => return,
            };
        }
    }

    pub(super) fn id(&self) -> SandboxId {
        self.manifest.sandbox_id
    }

    /// Goes on where an earlier agent was.
    async fn adopted(&mut self, stack: Stack, phase: Phase) -> Life {
        let Phase::Running(running) = phase else {
            return Life::Paused(stack);
        };
        if self.manifest.state == State::Pausing {
            self.manifest.state = State::Running;
            let activity = self.view.borrow().activity.clone();
            let pausing = Pausing::of(&self.host, &stack, &running, &activity, PauseReason::User);
            pausing.go_on(&self.manifest).await;
            self.publish(Phase::Running(running.clone()));
        }
        self.merge(&stack).await;
        Life::Running(stack, running)
    }

    /// Creates the sandbox; a destroy that arrives meanwhile overtakes it.
    async fn create(&mut self, template: Option<Box<SnapshotTemplate>>) -> Life {
        let mut stack = Stack::default();
        let mut manifest = self.manifest.clone();
        let host = Arc::clone(&self.host);
        let superseded = CancellationToken::new();
        let steps = Steps {
            host: &host,
            kind: "create",
            superseded: superseded.clone(),
        };
        let creation = async {
            match &template {
                None => steps.create_of_image(&mut manifest, &mut stack).await,
                Some(template) => {
                    let directory = host.snapshot_template(manifest.template_id);
                    let (manifest, stack) = (&mut manifest, &mut stack);
                    steps
                        .create_from(template, directory, manifest, stack)
                        .await
                }
            }
        };
        let (created, destroy) = self.overtakeable(&superseded, creation).await;
        let failure = match created {
            Ok(envd) if destroy.is_none() => {
                tracing::info!(sandbox_id = %self.id(), "sandbox runs");
                return self.begin(manifest, envd, stack).await;
            }
            Ok(_) => StartError::Superseded,
            Err(error) => error,
        };
        tracing::warn!(sandbox_id = %self.id(), error = %chain(&failure), "sandbox was not created");
        metrics::counter!("wrenn_agent_creates_failed_total").increment(1);
        stack.release(&host, self.id(), failure.undo()).await;
        let told = failure.failure();
        match destroy {
            Some(op) => self.bury(Some(op), Some(told)),
            // A creation that the agent's own stop cut off may be tried again under the same operation.
            None if matches!(failure, StartError::Stopping) => {
                self.manifest.op_id.clear();
                self.bury(None, Some(told));
            }
            None => {
                let op = Operation {
                    id: self.manifest.op_id.clone(),
                    generation: self.manifest.generation,
                };
                self.bury(Some(op), Some(told));
            }
        }
        Life::Over
    }

    /// Publishes a sandbox whose record says that it runs; what it writes is part of its disk from then on.
    async fn begin(&mut self, manifest: Manifest, envd: Envd, stack: Stack) -> Life {
        let Some(live) = &manifest.live else {
            unreachable!("the record says that it runs");
        };
        let running = Running::of(&manifest, live, envd);
        self.manifest = manifest;
        self.view.borrow().activity.touch();
        self.publish(Phase::Running(running.clone()));
        self.merge(&stack).await;
        Life::Running(stack, running)
    }

    /// Does what a destroy overtakes; gives the destroy too. Other commands wait.
    pub(super) async fn overtakeable<T>(
        &mut self,
        superseded: &CancellationToken,
        work: impl Future<Output = T>,
    ) -> (T, Option<Operation>) {
        let mut destroy = None;
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return (done, destroy),
                Some(command) = self.commands.recv(), if self.waiting.len() < QUEUE => match command {
                    Command::Destroy(op) => {
                        self.publish(Phase::Stopping);
                        destroy = Some(op);
                        superseded.cancel();
                    }
                    other => self.waiting.push_back(other),
                }
            }
        }
    }

    async fn next(&mut self) -> Option<Command> {
        match self.waiting.pop_front() {
            Some(command) => Some(command),
            None => self.commands.recv().await,
        }
    }

    /// Judges a change by what is so now, which may be other than when it was sent. Gives the reply back when
    /// it is to be done.
    fn judged(&mut self, change: Change, op: &Operation, reply: Reply) -> Option<Reply> {
        let id = self.id();
        let verdict = {
            let view = self.view.borrow();
            let known = Known {
                state: view.policy_state(),
                generation: view.generation,
                last_op: Some(&view.op_id),
            };
            judge(known, change, &op.id, op.generation)
        };
        // Nobody may wait any more; the change is done all the same.
        match verdict {
            Verdict::Accept => return Some(reply),
            Verdict::AlreadySo => drop(reply.send(Ok(()))),
            Verdict::Refuse(Refusal::StaleGeneration) => {
                drop(reply.send(Err(Refused::StaleGeneration(id))));
            }
            Verdict::Refuse(Refusal::WrongState) => {
                let state = self.view.borrow().policy_state();
                drop(reply.send(Err(Refused::WrongState(id, state))));
            }
        }
        None
    }

    /// Watches over the running sandbox until something changes.
    async fn serve(&mut self, stack: Stack, running: Running) -> Life {
        let host = Arc::clone(&self.host);
        let idle_at = self.idle_at();
        let command = tokio::select! {
            () = host.stopping.cancelled() => {
                stack.detach();
                return Life::Over;
            }
            () = stack.ended() => return self.crashed(stack).await,
            Some(command) = self.next() => command,
            permit = idle_permit(&host, idle_at) => {
                return self.idle(stack, running, permit).await;
            }
        };
        match command {
            Command::Destroy(op) => return self.destroy(stack, Some(op)).await,
            Command::Pause(op, reason, reply) => {
                if let Some(reply) = self.judged(Change::Pause, &op, reply) {
                    let told = |paused| drop(reply.send(paused));
                    return self.pause(stack, running, reason, Some(op), told).await;
                }
            }
            Command::PauseUnasked(reason, reply) => {
                let told = |paused| drop(reply.send(paused));
                return self.pause_unasked(stack, running, reason, told).await;
            }
            Command::Resume(op, _, reply) => drop(self.judged(Change::Resume, &op, reply)),
            Command::Copy(op, copy, reply) => {
                if let Some(reply) = self.judged(Change::Copy, &op, reply) {
                    let (life, copied) = self.copy_running(stack, running, op, copy).await;
                    drop(reply.send(copied));
                    return life;
                }
            }
            Command::Update(op, update, reply) => {
                if let Some(reply) = self.judged(Change::Update, &op, reply) {
                    drop(reply.send(self.update(&op, update, Some(&stack)).await));
                }
            }
        }
        Life::Running(stack, running)
    }

    /// Keeps the paused sandbox until something changes.
    async fn rest(&mut self, stack: Stack) -> Life {
        let host = Arc::clone(&self.host);
        let command = tokio::select! {
            () = host.stopping.cancelled() => {
                stack.detach();
                return Life::Over;
            }
            Some(command) = self.next() => command,
        };
        match command {
            Command::Destroy(op) => return self.destroy(stack, Some(op)).await,
            Command::Pause(op, _, reply) => drop(self.judged(Change::Pause, &op, reply)),
            Command::PauseUnasked(_, reply) => drop(reply.send(Ok(()))),
            Command::Resume(op, idle, reply) => {
                if let Some(reply) = self.judged(Change::Resume, &op, reply) {
                    let (life, resumed) = self.resume(stack, idle, op).await;
                    drop(reply.send(resumed));
                    return life;
                }
            }
            Command::Copy(op, copy, reply) => {
                if let Some(reply) = self.judged(Change::Copy, &op, reply) {
                    drop(reply.send(self.copy_paused(op, copy).await));
                }
            }
            Command::Update(op, update, reply) => {
                if let Some(reply) = self.judged(Change::Update, &op, reply) {
                    drop(reply.send(self.update(&op, update, None).await));
                }
            }
        }
        Life::Paused(stack)
    }

    /// When to look whether nobody uses it any more.
    fn idle_at(&self) -> Option<Instant> {
        let timeout = match self.manifest.idle_timeout_sec {
            0 => return None,
            seconds => Duration::from_secs(seconds.into()),
        };
        let idle = self.view.borrow().activity.idle();
        let left = if idle.is_zero() {
            timeout.min(IDLE_LOOK)
        } else {
            timeout.saturating_sub(idle)
        };
        Some((Instant::now() + left).max(self.not_before))
    }

    /// Its idle time may be over.
    async fn idle(&mut self, stack: Stack, running: Running, permit: Permit<'_>) -> Life {
        let timeout = Duration::from_secs(self.manifest.idle_timeout_sec.into());
        if self.view.borrow().activity.idle() < timeout {
            return Life::Running(stack, running);
        }
        if self.manifest.on_idle == OnIdle::Destroy {
            self.event(EventKind::IdleDestroyed);
            return self.destroy(stack, None).await;
        }
        let pause = self.pause_unasked(stack, running, PauseReason::Idle, drop);
        let life = pause.await;
        drop(permit);
        life
    }

    /// Pauses it on the agent's own account, and tells the control plane of that when it asks.
    async fn pause_unasked(
        &mut self,
        stack: Stack,
        running: Running,
        reason: PauseReason,
        told: impl FnOnce(Result<(), Refused>),
    ) -> Life {
        let life = self.pause(stack, running, reason, None, told).await;
        match life {
            Life::Paused(_) => {
                self.retry = retry();
                self.event(EventKind::Paused(reason));
            }
            Life::Running(..) => {
                self.not_before = Instant::now() + self.retry.next();
                self.event(EventKind::PauseFailed);
            }
            Life::Over => {}
        }
        life
    }

    /// Pauses the sandbox; it runs on if that fails, and is gone if a destroy overtakes it. Who asked is `told` as
    /// soon as nothing can undo it: what is left of the VM is taken down after that, and before any other change.
    async fn pause(
        &mut self,
        stack: Stack,
        running: Running,
        reason: PauseReason,
        op: Option<Operation>,
        told: impl FnOnce(Result<(), Refused>),
    ) -> Life {
        let (host, id) = (Arc::clone(&self.host), self.id());
        let mut manifest = self.manifest.clone();
        if let Some(op) = &op {
            self.manifest.accept(op);
        }
        self.publish(Phase::Pausing);
        let activity = self.view.borrow().activity.clone();
        let pausing = Pausing::of(&host, &stack, &running, &activity, reason);
        let work = pausing.run(&mut manifest, op.as_ref());
        let (paused, destroy) = self.overtakeable(&pausing.superseded, work).await;
        if let Some(op) = destroy {
            let life = self.destroy(stack, Some(op)).await;
            told(Err(Refused::WrongState(id, None)));
            return life;
        }
        if let Err(error) = paused {
            tracing::warn!(sandbox_id = %id, error = %chain(&error), "sandbox was not paused");
            metrics::counter!("wrenn_agent_pauses_failed_total").increment(1);
            self.manifest = manifest;
            activity.touch();
            self.publish(Phase::Running(running.clone()));
            told(Err(Refused::Failed(id, error.failure())));
            return Life::Running(stack, running);
        }
        self.manifest = manifest;
        let _ = host.failpoints.reached("pause.after.paused");
        tracing::info!(sandbox_id = %id, ?reason, "sandbox paused");
        match self.manifest.paused(&host.directory(id)) {
            Some(paused) => self.publish(Phase::Paused(paused)),
            None => unreachable!("it has the snapshot that was just taken"),
        }
        told(Ok(()));
        let mut stack = stack;
        let live = stack.split_live();
        live.release(&host, id, Undo::Once).await;
        host.tidy(&self.manifest).await;
        self.copy = self.flat_copy();
        Life::Paused(stack)
    }

    /// Resumes the sandbox; it stays paused, as it was, if that fails.
    async fn resume(
        &mut self,
        mut stack: Stack,
        idle: Idle,
        op: Operation,
    ) -> (Life, Result<(), Refused>) {
        let (host, id) = (Arc::clone(&self.host), self.id());
        let Some(snapshot) = self.manifest.snapshot.clone() else {
            unreachable!("a paused sandbox has a snapshot");
        };
        let before = (self.manifest.generation, self.manifest.op_id.clone());
        let paused = self.view.borrow().state.clone();
        self.manifest.accept(&op);
        self.publish(Phase::Resuming);
        let mut manifest = self.manifest.clone();
        manifest.idle_timeout_sec = idle.timeout_sec;
        manifest.on_idle = idle.on_idle;
        let superseded = CancellationToken::new();
        let steps = Steps {
            host: &host,
            kind: "resume",
            superseded: superseded.clone(),
        };
        // One that is still being made would only compete for the disk and the processors.
        let copy = self.copy.take().filter(FlatCopy::is_made);
        let work = steps.resume(&mut manifest, &snapshot, copy.as_ref(), &mut stack);
        let (resumed, destroy) = self.overtakeable(&superseded, work).await;
        drop(copy); // the jail has a link of its own
        if let Some(op) = destroy {
            return (
                self.destroy(stack, Some(op)).await,
                Err(Refused::WrongState(id, None)),
            );
        }
        match resumed {
            Ok(envd) => {
                tracing::info!(sandbox_id = %id, "sandbox runs again");
                (self.begin(manifest, envd, stack).await, Ok(()))
            }
            Err(error) => {
                tracing::warn!(sandbox_id = %id, error = %chain(&error), "sandbox was not resumed");
                metrics::counter!("wrenn_agent_resumes_failed_total").increment(1);
                let live = stack.split_live();
                live.release(&host, id, error.undo()).await;
                (self.manifest.generation, self.manifest.op_id) = before;
                // It may have come as far as the record.
                self.record(State::Paused);
                self.copy = self.flat_copy();
                self.publish(paused);
                (
                    Life::Paused(stack),
                    Err(Refused::Failed(id, error.failure())),
                )
            }
        }
    }

    /// Asks for a flat copy of the memory of the paused sandbox.
    fn flat_copy(&self) -> Option<FlatCopy> {
        let host = &self.host;
        let number = self.manifest.snapshot.as_ref()?.number;
        let generation = snapshot::directory(&host.directory(self.id()), number);
        let name = format!("{}-{number}", self.id());
        Some(host.flat.wish(&name, generation, flat::moment(host)))
    }

    /// Makes what a restored sandbox wrote before it was known to run part of its disk.
    async fn merge(&self, stack: &Stack) {
        let Some(disk) = stack.disk() else { return };
        if let Err(error) = disk.merge().await {
            // It is tried again by the next agent; a pause waits for it and fails until then.
            tracing::error!(sandbox_id = %self.id(), error = %chain(&error), "the disk stays in two layers");
        }
    }

    async fn update(
        &mut self,
        op: &Operation,
        update: Update,
        stack: Option<&Stack>,
    ) -> Result<(), Refused> {
        let id = self.id();
        let mut manifest = self.manifest.clone();
        manifest.accept(op);
        manifest.on_idle = update.on_idle.unwrap_or(manifest.on_idle);
        manifest.idle_timeout_sec = update.idle_timeout_sec.unwrap_or(manifest.idle_timeout_sec);
        if let Some(network) = update.network {
            let refused = |error: super::BadSpec| {
                Refused::Failed(id, Failure::new(FailureKind::BadRequest, error.to_string()))
            };
            let policy = network.policy().map_err(refused)?;
            if let Some(slot) = stack.and_then(Stack::slot)
                && let Err(error) = slot.set_policy(&policy).await
            {
                tracing::error!(sandbox_id = %id, error = %chain(&error), "the network policy is not set");
                let message = "the host could not change the network policy";
                return Err(Refused::Failed(
                    id,
                    Failure::new(FailureKind::Internal, message),
                ));
            }
            manifest.network = network;
        }
        let written = manifest.write(&self.host.directory(id));
        written.map_err(|error| Refused::Memory(id, error))?;
        self.manifest = manifest;
        self.view.borrow().activity.touch();
        let state = self.view.borrow().state.clone();
        self.publish(state);
        Ok(())
    }

    pub(super) async fn destroy(&mut self, stack: Stack, op: Option<Operation>) -> Life {
        if let Some(op) = &op {
            self.manifest.accept(op);
        }
        self.record(State::Stopping);
        self.publish(Phase::Stopping);
        let _ = self.host.failpoints.reached("destroy.after.record");
        self.copy = None;
        stack.release(&self.host, self.id(), Undo::Once).await;
        let _ = self.host.failpoints.reached("destroy.after.release");
        tracing::info!(sandbox_id = %self.id(), "sandbox destroyed");
        self.bury(op, None);
        Life::Over
    }

    async fn crashed(&mut self, stack: Stack) -> Life {
        let id = self.id();
        let console = console_tail(&self.host.console(id), 2048).unwrap_or_default();
        tracing::warn!(sandbox_id = %id, console, "the VM ended by itself");
        metrics::counter!("wrenn_agent_vms_exited_total").increment(1);
        // The event before the record: a crash between the two repeats the event, which does no harm.
        self.event(EventKind::Exited);
        self.record(State::Crashed);
        self.publish(Phase::Crashed);
        stack.release(&self.host, id, Undo::Once).await;
        self.bury(None, None);
        Life::Over
    }

    fn event(&self, kind: EventKind) {
        let (id, generation) = (self.id(), self.manifest.generation);
        if let Err(error) = self.host.events.record(id, generation, kind) {
            tracing::error!(sandbox_id = %id, error = %chain(&error), "an event is not durable");
        }
    }

    /// Writes the manifest with a new state; without it the next start finds the old one and judges anew.
    pub(super) fn record(&mut self, state: State) {
        self.manifest.state = state;
        if let Err(error) = self.manifest.write(&self.host.directory(self.id())) {
            tracing::error!(sandbox_id = %self.id(), error = %chain(&error), "state is not durable");
        }
    }

    pub(super) fn publish(&self, state: Phase) {
        let (generation, op_id) = (self.manifest.generation, self.manifest.op_id.clone());
        let manifest = &self.manifest;
        let (timeout, on_idle) = (manifest.idle_timeout_sec, manifest.on_idle);
        let size = (manifest.vcpus, manifest.memory_mib, manifest.disk_mib);
        self.view.send_modify(|view| {
            view.state = state;
            view.generation = generation;
            view.op_id = op_id;
            // A snapshot template has sizes of its own.
            (view.vcpus, view.memory_mib, view.disk_mib) = size;
            view.idle_timeout_sec = timeout;
            view.on_idle = on_idle;
        });
    }

    /// Remembers how it ended and tells everyone.
    fn bury(&mut self, op: Option<Operation>, failure: Option<Failure>) {
        let generation = op
            .as_ref()
            .map_or(0, |op| op.generation)
            .max(self.manifest.generation);
        let tombstone = Tombstone {
            generation,
            op_id: op.map(|op| op.id),
            failure: failure.clone(),
        };
        if let Err(error) = self.host.graveyard.bury(self.id(), &tombstone) {
            tracing::error!(sandbox_id = %self.id(), error = %chain(&error), "its end is not durable");
        }
        self.forget.now();
        self.publish(Phase::Gone(failure));
    }
}

/// Waits between attempts to pause an idle sandbox.
pub(super) fn retry() -> Backoff {
    Backoff::new(RETRY.0, RETRY.1)
}

/// One of the pauses that the agent makes at once on its own account.
type Permit<'a> = Result<SemaphorePermit<'a>, AcquireError>;

/// Waits for the time to look whether a sandbox is idle, never without one, and then for its turn.
async fn idle_permit(host: &Host, at: Option<Instant>) -> Permit<'_> {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
    host.idle_pauses.acquire().await
}
