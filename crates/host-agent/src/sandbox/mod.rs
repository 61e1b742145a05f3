//! Sandboxes: one task each, that owns all its resources.
//!
//! ```text
//!            create                              destroy (legal from every state, idempotent)
//!  (none) ──────────▶ Starting ──▶ Running ──────────────▶ Stopping ──▶ (none)
//!                        │            │ VM ended
//!                        │ failed     └──────▶ Crashed ──▶ (none)
//!                        └──▶ (none)
//! ```
//!
//! - [`policy`]: what a request means in a state; pure.
//! - [`driver`]: the task.
//! - [`ensure`]: creation as ordered steps, each pushing a guard on a [`stack`].
//! - [`manifest`]: the durable record; [`tombstone`]: what is remembered of those that are gone.
//! - [`registry`]: finds the task of a sandbox; [`adopt`]: finds VMs again after a restart.

mod adopt;
mod driver;
mod egress;
mod ensure;
mod failure;
mod host;
pub mod manifest;
pub mod policy;
mod registry;
mod spec;
mod stack;
mod tombstone;
mod view;

pub(crate) use self::spec::{check_envs, check_user};
pub use self::{
    egress::{Egress, Internet},
    failure::{Failure, FailureKind},
    host::{Host, OpenError, binaries},
    registry::{InUse, Refused, Registry},
    spec::{BadSpec, Operation, Spec},
    view::{Phase, Running, View},
};
