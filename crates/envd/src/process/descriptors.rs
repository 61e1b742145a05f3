//! How many descriptors envd may have open, and how many its children.
//!
//! The kernel gives process 1, and with it everybody, 1024, which is less than what the bounds of envd add
//! up to. What programs are given stays as it was: some of them visit every descriptor that they may have.

use std::{io, sync::OnceLock};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Four of each of 1024 processes, two of each of 1024 forwarded connections, 1024 connections of callers,
/// 256 watchers and forwards, and files of what is under way.
const NEEDED: u64 = 16_384;

static INHERITED: OnceLock<Rlimit> = OnceLock::new();

/// Raises the limit of envd; to its own limit where envd may not raise that.
pub(crate) fn raise() -> io::Result<()> {
    let Rlimit { current, maximum } = *INHERITED.get_or_init(|| getrlimit(Resource::Nofile));
    if current.is_none_or(|current| current >= NEEDED) {
        return Ok(());
    }
    let raised = |maximum: Option<u64>| Rlimit {
        current: Some(maximum.map_or(NEEDED, |maximum| maximum.min(NEEDED))),
        maximum,
    };
    let most = maximum.map(|maximum| maximum.max(NEEDED));
    setrlimit(Resource::Nofile, raised(most))
        .or_else(|_| setrlimit(Resource::Nofile, raised(maximum)))?;
    Ok(())
}

/// The limit that envd was started with.
pub(super) fn inherited() -> libc::rlimit {
    let inherited = INHERITED.get_or_init(|| getrlimit(Resource::Nofile));
    libc::rlimit {
        rlim_cur: inherited.current.unwrap_or(libc::RLIM_INFINITY),
        rlim_max: inherited.maximum.unwrap_or(libc::RLIM_INFINITY),
    }
}
