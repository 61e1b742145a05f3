//! Starts the jailer as leader of a session of its own.
//!
//! The jailer's `--daemonize` would do that too but sends the console to `/dev/null`; so it is spawned with
//! `POSIX_SPAWN_SETSID` and its output goes to the console pipe. As a session leader with `--new-pid-ns` it
//! makes Firecracker the leader of another session, writes its pid file and ends.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};
use tokio::io::unix::AsyncFd;

use super::error::JailError;
use super::{JailHost, JailSpec, SOCKET, console, events};

/// A running jailer. Dropped before it has ended by itself, it is killed: unfinished, it could go on to make
/// a jail that nobody owns any more.
#[derive(Debug)]
pub(super) struct Jailer {
    pid: i32,
    pidfd: AsyncFd<OwnedFd>,
}

impl Jailer {
    /// Starts it, writing to `console`. Blocking for the time of an exec.
    pub(super) fn start(
        host: &JailHost,
        spec: &JailSpec,
        console: &File,
    ) -> Result<Self, JailError> {
        let spawn = || -> io::Result<Self> {
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
            let pid = posix_spawn(
                host.jailer.as_path(),
                &actions,
                &attributes,
                &arguments,
                &environment,
            )?
            .as_raw();
            // It is our child and not waited for yet, so its pid is its own.
            let number = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidData)?;
            let pidfd = rustix::process::pidfd_open(number, PidfdFlags::NONBLOCK)?;
            Ok(Self {
                pid,
                pidfd: events::watch(pidfd)?,
            })
        };
        spawn().map_err(|source| JailError::Spawn {
            jailer: host.jailer.clone(),
            source,
        })
    }

    /// Waits for its end, which is when Firecracker runs; a status other than 0 is its refusal.
    pub(super) async fn ended(self, console: &File) -> Result<(), JailError> {
        let failed = |source: io::Error| JailError::Process {
            action: "wait for the jailer,",
            pid: self.pid,
            source,
        };
        let _ready = self.pidfd.readable().await.map_err(failed)?;
        let code = self.reap().map_err(failed)?;
        if code == Some(0) {
            return Ok(());
        }
        let status = code.map_or("a signal".into(), |code| format!("status {code}"));
        Err(JailError::Jailer {
            status,
            console: console::pending(console),
        })
    }

    fn reap(&self) -> io::Result<Option<i32>> {
        let status = rustix::process::waitid(
            WaitId::PidFd(self.pidfd.get_ref().as_fd()),
            WaitIdOptions::EXITED,
        )?;
        Ok(status.and_then(|status| status.exit_status()))
    }
}

impl Drop for Jailer {
    fn drop(&mut self) {
        // Both fail, harmlessly, when it has been waited for. The wait is short: the process is dead.
        if rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL).is_ok() {
            let _ = self.reap();
        }
    }
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
