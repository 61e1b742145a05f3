//! Starts the jailer as leader of a session of its own.
//!
//! The jailer's `--daemonize` would do that too but sends the console to `/dev/null`; so it is spawned with
//! `POSIX_SPAWN_SETSID` and its output goes to the console pipe. As a session leader with `--new-pid-ns` it
//! makes Firecracker the leader of another session, writes its pid file and ends.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;

use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};

use super::error::JailError;
use super::{JailHost, JailSpec, SOCKET};

/// Starts it; gives its pid, which the caller must wait for.
pub(super) fn jailer(host: &JailHost, spec: &JailSpec, console: &File) -> Result<i32, JailError> {
    let failed = |source: io::Error| JailError::Spawn {
        jailer: host.jailer.clone(),
        source,
    };
    let spawn = || -> io::Result<i32> {
        let null = File::open("/dev/null")?;
        let mut actions = PosixSpawnFileActions::init()?;
        actions.add_dup2(null.as_raw_fd(), 0)?;
        actions.add_dup2(console.as_raw_fd(), 1)?;
        actions.add_dup2(console.as_raw_fd(), 2)?;
        let mut attributes = PosixSpawnAttr::init()?;
        attributes.set_flags(PosixSpawnFlags::from_bits_retain(
            libc::POSIX_SPAWN_SETSID.into(),
        ))?;
        let arguments = arguments(host, spec)?;
        let environment: [CString; 0] = [];
        Ok(posix_spawn(
            host.jailer.as_path(),
            &actions,
            &attributes,
            &arguments,
            &environment,
        )?
        .as_raw())
    };
    spawn().map_err(failed)
}

/// The jailer's command line. `pids.max` is set once more only because the jailer joins the cgroup
/// `<parent>/<id>` when it has something to write there; the rest was set when the cgroup was made.
fn arguments(host: &JailHost, spec: &JailSpec) -> io::Result<Vec<CString>> {
    let pids = format!("pids.max={}", spec.limits.processes);
    let (uid, gid) = (spec.uid.to_string(), spec.gid.to_string());
    let socket = format!("/{SOCKET}");
    let words: [&OsStr; 26] = [
        host.jailer.as_ref(),
        "--id".as_ref(),
        spec.id.as_str().as_ref(),
        "--exec-file".as_ref(),
        host.firecracker.as_ref(),
        "--uid".as_ref(),
        uid.as_ref(),
        "--gid".as_ref(),
        gid.as_ref(),
        "--chroot-base-dir".as_ref(),
        host.base.as_ref(),
        "--netns".as_ref(),
        spec.network_namespace.as_ref(),
        "--cgroup-version".as_ref(),
        "2".as_ref(),
        "--parent-cgroup".as_ref(),
        host.cgroup_parent.as_ref(),
        "--cgroup".as_ref(),
        pids.as_ref(),
        "--new-pid-ns".as_ref(),
        "--".as_ref(),
        "--api-sock".as_ref(),
        socket.as_ref(),
        "--level".as_ref(),
        "Warning".as_ref(),
        "--show-level".as_ref(),
    ];
    words
        .into_iter()
        .map(|word| CString::new(word.as_bytes()).map_err(io::Error::from))
        .collect()
}
