//! A whole platform on one machine: what `wrenn up` starts, keeps running and stops.
//!
//! ```text
//! wrenn up ──▶ checks, images ──▶ supervisor (a process of its own) ──▶ postgres, redis, control-plane,
//!    ▲                                   │                              host-agent or virtual host
//!    └──── steps, status, over a Unix socket
//! ```
//!
//! `state` is the directory everything lies in; `supervisor` owns the children; `bring_up` is the order in
//! which they start; `control` is the socket between the two processes. Only this module and the commands of
//! cli.md §3 touch the machine.

pub(crate) mod backup;
pub(crate) mod bring_up;
pub(crate) mod checks;
pub(crate) mod component;
pub(crate) mod control;
pub(crate) mod external;
pub(crate) mod first_run;
pub(crate) mod images;
pub(crate) mod log_file;
pub(crate) mod machine;
pub(crate) mod pg_tools;
pub(crate) mod platform;
pub(crate) mod postgres;
pub(crate) mod program;
pub(crate) mod redis;
pub(crate) mod standby;
pub(crate) mod state;
pub(crate) mod supervisor;
pub(crate) mod units;
