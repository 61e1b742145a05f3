//! Firecracker: a typed client of its API, and launch inside its jailer.
//!
//! Two halves that meet in [`JailedVm`]:
//!
//! - [`api`]: wire types, an HTTP client over the API socket, and [`Vm`], whose phase is in its type:
//!
//! ```text
//! Vm<Configuring> ──start──▶ Vm<Running> ──pause──▶ Vm<Paused> ──create_snapshot──▶ (same)
//!        └──────load_snapshot──▶ │  ◀──────resume──────┘
//! ```
//!
//! - [`jail`]: a chroot, a cgroup, an own uid, namespaces and session for one VM; placing files and device
//!   nodes in it; its process as pid + start time; its console; its end as an event.
//!
//! Invariants: a VM outlives the process that launched it and is found again by [`ProcessIdentity`].
//! Everything a jail consists of is found again by its name ([`Jail::adopt`], [`census`]), and `Drop` of a
//! guard hands it to the [`Reaper`].
//!
//! Deliberately absent: what a VM is for, what its disk and network are made of, where snapshots are kept.

pub mod api;
pub mod jail;

pub use api::client::{ApiClient, ApiError};
pub use api::phase::{Configuring, Observed, Paused, Refused, Running, Vm};
pub use jail::census::{Census, census};
pub use jail::cgroup::{IoLimit, Limits};
pub use jail::console::{ConsoleLog, console_tail};
pub use jail::leftover::{Leftover, Reaper};
pub use jail::process::ProcessIdentity;
pub use jail::vm::{Companion, JailedVm};
pub use jail::{Jail, JailError, JailHost, JailSpec, VmId};
