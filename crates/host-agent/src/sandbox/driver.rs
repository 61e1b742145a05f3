//! The task of one sandbox: creates it, watches its VM, destroys it. It outlives every request, and every
//! request outlives its caller: nobody's going away cancels a change.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use wrenn_firecracker::console_tail;
use wrenn_ids::SandboxId;

use super::{
    Failure, Host, Operation, Spec,
    ensure::Creation,
    manifest::Manifest,
    policy::State,
    registry::Forget,
    stack::{Stack, Undo},
    tombstone::Tombstone,
    view::{Phase, View},
};
use crate::{chain, events::EventKind};

/// Requests that may wait for a task.
pub(super) const QUEUE: usize = 16;

/// What a task is asked.
#[derive(Debug)]
pub(super) enum Command {
    /// Destroy the sandbox; who asked waits for [`Phase::Gone`].
    Destroy(Operation),
}

/// How a task begins.
#[derive(Debug)]
pub(super) enum Birth {
    /// The sandbox is to be created.
    Create(Box<Spec>),
    /// It runs: an earlier agent created it.
    Adopted(Stack),
}

/// The task.
#[derive(Debug)]
pub(super) struct Driver {
    pub(super) host: Arc<Host>,
    pub(super) manifest: Manifest,
    pub(super) view: watch::Sender<View>,
    pub(super) commands: mpsc::Receiver<Command>,
    /// Takes the sandbox out of the registry when the task ends.
    pub(super) forget: Forget,
}

impl Driver {
    pub(super) async fn run(mut self, birth: Birth) {
        let stack = match birth {
            Birth::Adopted(stack) => Some(stack),
            Birth::Create(spec) => self.create(&spec).await,
        };
        if let Some(stack) = stack {
            self.serve(stack).await;
        }
    }

    fn id(&self) -> SandboxId {
        self.manifest.sandbox_id
    }

    /// Creates the sandbox; a destroy that arrives meanwhile overtakes it.
    async fn create(&mut self, spec: &Spec) -> Option<Stack> {
        let superseded = CancellationToken::new();
        let mut stack = Stack::default();
        let mut destroy = None;
        let host = Arc::clone(&self.host);
        let creation = Creation {
            host: &host,
            spec,
            superseded: superseded.clone(),
        };
        let mut manifest = self.manifest.clone();
        let created = {
            let creating = creation.run(&mut manifest, &mut stack);
            tokio::pin!(creating);
            loop {
                tokio::select! {
                    created = &mut creating => break created,
                    Some(Command::Destroy(op)) = self.commands.recv(), if destroy.is_none() => {
                        self.publish(Phase::Stopping);
                        destroy = Some(op);
                        superseded.cancel();
                    }
                }
            }
        };
        let failure = match created {
            Ok(running) if destroy.is_none() => {
                self.manifest = manifest;
                tracing::info!(sandbox_id = %self.id(), "sandbox runs");
                self.publish(Phase::Running(running));
                return Some(stack);
            }
            Ok(_) => super::ensure::CreateError::Superseded,
            Err(error) => error,
        };
        tracing::warn!(sandbox_id = %self.id(), error = %chain(&failure), "sandbox was not created");
        metrics::counter!("wrenn_agent_creates_failed_total").increment(1);
        stack.release(&host, self.id(), failure.undo()).await;
        let told = failure.failure();
        match destroy {
            Some(op) => self.bury(Some(op), Some(told)),
            // A creation that the agent's own stop cut off may be tried again under the same operation.
            None if matches!(failure, super::ensure::CreateError::Stopping) => {
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
        None
    }

    /// Watches over the running sandbox.
    async fn serve(&mut self, stack: Stack) {
        let ended = async {
            match stack.vm() {
                Some(vm) => vm.ended().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.host.stopping.cancelled() => stack.detach(),
            Some(Command::Destroy(op)) = self.commands.recv() => self.destroy(stack, op).await,
            () = ended => self.crashed(stack).await,
        }
    }

    async fn destroy(&mut self, stack: Stack, op: Operation) {
        self.manifest.generation = self.manifest.generation.max(op.generation);
        self.manifest.op_id.clone_from(&op.id);
        self.record(State::Stopping);
        self.publish(Phase::Stopping);
        stack.release(&self.host, self.id(), Undo::Once).await;
        tracing::info!(sandbox_id = %self.id(), "sandbox destroyed");
        self.bury(Some(op), None);
    }

    async fn crashed(&mut self, stack: Stack) {
        let (id, generation) = (self.id(), self.manifest.generation);
        let console = console_tail(&self.host.console(id), 2048).unwrap_or_default();
        tracing::warn!(sandbox_id = %id, console, "the VM ended by itself");
        metrics::counter!("wrenn_agent_vms_exited_total").increment(1);
        // The event before the record: a crash between the two repeats the event, which does no harm.
        if let Err(error) = self.host.events.record(id, generation, EventKind::Exited) {
            tracing::error!(sandbox_id = %id, error = %chain(&error), "an event is not durable");
        }
        self.record(State::Crashed);
        self.publish(Phase::Crashed);
        stack.release(&self.host, id, Undo::Once).await;
        self.bury(None, None);
    }

    /// Writes the manifest with a new state; without it the next start finds the old one and judges anew.
    fn record(&mut self, state: State) {
        self.manifest.state = state;
        if let Err(error) = self.manifest.write(&self.host.directory(self.id())) {
            tracing::error!(sandbox_id = %self.id(), error = %chain(&error), "state is not durable");
        }
    }

    fn publish(&self, state: Phase) {
        let (generation, op_id) = (self.manifest.generation, self.manifest.op_id.clone());
        self.view.send_modify(|view| {
            view.state = state;
            view.generation = generation;
            view.op_id = op_id;
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
