//! Decisions: what a request is allowed to bring about, and in which order.
//!
//! Functions here take authority as values that only the extractors of `http/` can make, and never see a
//! request, a header or a connection. Work that must outlive its caller is a row first.

pub(crate) mod account;
mod account_log;
pub(crate) mod admin;
pub(crate) mod admission;
mod authority;
pub(crate) mod device;
pub(crate) mod disk_use;
mod error;
pub(crate) mod exec;
pub(crate) mod files;
pub(crate) mod fork;
pub(crate) mod host;
pub(crate) mod idempotency;
pub(crate) mod key;
pub(crate) mod mail;
pub(crate) mod oauth;
pub(crate) mod password;
pub(crate) mod pause;
pub(crate) mod policy;
pub(crate) mod processes;
pub(crate) mod sandbox;
pub(crate) mod scheduler;
pub(crate) mod signin;
pub(crate) mod signup;
pub(crate) mod snapshot;
pub(crate) mod team;
pub(crate) mod wake;

pub(crate) use authority::{Caller, HostAdder, HostKeeper, HostsSeen, Member, TeamActor};
pub(crate) use error::{Error, Result};
