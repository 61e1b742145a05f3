//! Copies of a sandbox: forks and snapshot templates. All of a copy is made, or nothing is left of it.

use std::sync::Arc;

use wrenn_ids::{SandboxId, TemplateId};

use super::{
    Host, Idle, Operation, Refused,
    disk::{self, DiskError},
    driver::{Driver, Life},
    manifest::Manifest,
    pause::{PauseError, Pausing},
    policy::State,
    seed::{self, Seed, SnapshotTemplate},
    stack::Stack,
    view::{PauseReason, Phase, Running},
};
use crate::chain;

/// What a sandbox is copied to.
#[derive(Debug, Clone)]
pub(super) enum Copy {
    /// Paused sandboxes, of which none exists yet.
    Children(Vec<SandboxId>, Idle),
    /// A snapshot template of this name.
    Template(TemplateId, String),
}

impl Copy {
    /// Makes it of a sandbox whose snapshot `taken` names. Blocks.
    pub(super) fn make(
        &self,
        host: &Host,
        taken: &Manifest,
        op: &Operation,
    ) -> Result<(), seed::Error> {
        let directory = host.directory(taken.sandbox_id);
        let Some(seed) = Seed::of(directory, taken).map_err(DiskError::from)? else {
            unreachable!("only what has a snapshot is copied");
        };
        let made = match self {
            Self::Template(id, name) => {
                let to = host.snapshot_template(*id);
                SnapshotTemplate::create(&to, &seed, taken, name, &op.id).map(drop)
            }
            Self::Children(children, idle) => {
                let targets: Vec<_> = children.iter().map(|id| host.directory(*id)).collect();
                seed.copy(&targets).and_then(|copied| {
                    children.iter().zip(&targets).try_for_each(|(child, to)| {
                        disk::begin(to, seed.size)?;
                        let record = taken.child(*child, copied.clone(), *idle);
                        Ok(record.write(to)?)
                    })
                })
            }
        };
        if made.is_err() {
            self.undo(host);
        }
        made
    }

    /// Removes what was made, wholly or in part. Blocks.
    pub(super) fn undo(&self, host: &Host) {
        match self {
            Self::Template(id, _) => {
                if let Err(error) = SnapshotTemplate::remove(&host.snapshot_template(*id)) {
                    tracing::warn!(error = %chain(&error), "a template that nobody waits for stays");
                }
            }
            Self::Children(children, _) => {
                for child in children {
                    let _ = std::fs::remove_dir_all(host.directory(*child)); // it may not be there
                }
            }
        }
    }
}

impl Driver {
    /// Copies the running sandbox; it runs on.
    pub(super) async fn copy_running(
        &mut self,
        stack: Stack,
        running: Running,
        op: Operation,
        copy: Copy,
    ) -> (Life, Result<(), Refused>) {
        let (host, id) = (Arc::clone(&self.host), self.id());
        let mut manifest = self.manifest.clone();
        self.publish(Phase::Pausing);
        let activity = self.view.borrow().activity.clone();
        let pausing = Pausing::of(&host, &stack, &running, &activity, PauseReason::User);
        let work = pausing.copy(&mut manifest, copy, op.clone());
        let (copied, destroy) = self.overtakeable(&pausing.superseded, work).await;
        if let Some(op) = destroy {
            // What was copied before the destroy was seen is there.
            let told = copied.map_err(|_| Refused::WrongState(id, None));
            return (self.destroy(stack, Some(op)).await, told);
        }
        self.manifest = manifest;
        let result = match copied {
            Ok(()) => {
                self.manifest.accept(&op);
                self.record(State::Running);
                Ok(())
            }
            Err(error) => {
                tracing::warn!(sandbox_id = %id, error = %chain(&error), "sandbox was not copied");
                Err(Refused::Failed(id, error.failure()))
            }
        };
        activity.touch();
        self.publish(Phase::Running(running.clone()));
        (Life::Running(stack, running), result)
    }

    /// Copies the paused sandbox.
    pub(super) async fn copy_paused(&mut self, op: Operation, copy: Copy) -> Result<(), Refused> {
        let (host, id) = (Arc::clone(&self.host), self.id());
        let (taken, by) = (self.manifest.clone(), op.clone());
        let copying = tokio::task::spawn_blocking(move || copy.make(&host, &taken, &by));
        match copying.await {
            Ok(Ok(())) => {
                self.manifest.accept(&op);
                self.record(State::Paused);
                let state = self.view.borrow().state.clone();
                self.publish(state);
                Ok(())
            }
            Ok(Err(error)) => {
                tracing::warn!(sandbox_id = %id, error = %chain(&error), "sandbox was not copied");
                Err(Refused::Failed(id, PauseError::from(error).failure()))
            }
            Err(_) => Err(Refused::Stopping),
        }
    }
}
