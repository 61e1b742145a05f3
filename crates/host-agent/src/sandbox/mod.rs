//! Sandboxes: one task each, that owns all its resources.
//!
//! ```text
//!            create                 pause                      destroy (legal from every state, idempotent)
//!  (none) ──────────▶ Starting ─▶ Running ─▶ Pausing ─▶ Paused ─────────────▶ Stopping ──▶ (none)
//!                        │         ▲  │  ▲──── failed      │
//!                        │ failed  │  └─ VM ended ──▶ Crashed ──▶ (none)
//!                        ▼         └──── Resuming ◀────────┘
//!                      (none)              └── failed: Paused, as it was
//! ```
//!
//! - [`policy`]: what a request means in a state; pure.
//! - [`driver`]: the task; [`copies`]: its forks and templates.
//! - [`ensure`], [`resume`]: a start as ordered [`steps`], each pushing a guard on a [`stack`]; [`guest`]: what
//!   both have in common; [`pages`]: who serves the memory of a restored one; [`ready`], [`spare`]: what is started
//!   and restored ahead.
//! - [`pause`]: the end of a VM that comes back; [`snapshot`]: its files; [`seed`]: copies of them, that other
//!   sandboxes are restored from; [`disk`]: what copies share of their disks; [`warm`]: those of images;
//!   [`flat`]: memories in one file; [`working_set`]: what is brought ahead of a guest.
//! - [`manifest`]: the durable record; [`tombstone`]: what is remembered of those that are gone.
//! - [`registry`]: finds the task of a sandbox; [`adopt`]: finds VMs again after a restart.

mod adopt;
mod copies;
pub mod disk;
mod driver;
mod egress;
mod ensure;
mod failure;
mod flat;
mod guest;
mod host;
pub mod manifest;
mod pages;
mod pause;
pub mod policy;
mod ready;
mod registry;
mod resume;
pub mod seed;
pub mod snapshot;
mod spare;
mod spec;
mod stack;
mod steps;
mod tombstone;
mod verified;
mod view;
mod warm;
mod working_set;

pub(crate) use self::spec::{check_envs, check_user};
pub use self::{
    driver::{Idle, Update},
    egress::{Egress, Internet},
    failure::{Failure, FailureKind},
    host::{Host, OpenError, binaries},
    manifest::OnIdle,
    registry::{InUse, Refused, Registry},
    spec::{BadSpec, Operation, Spec},
    view::{PauseReason, Paused, Phase, Running, View},
};
