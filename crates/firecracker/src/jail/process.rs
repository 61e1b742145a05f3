//! A process that is surely the one meant: pid, start time and cgroup.
//!
//! Pids are reused, so a pid in a file proves nothing. The start time (clock ticks since boot) makes it
//! unique, the cgroup makes it ours, and a pidfd opened between two looks at both keeps it pinned.

use std::io;
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};
use serde::{Deserialize, Serialize};
use tokio::io::unix::AsyncFd;

use super::cgroup::Cgroup;
use super::error::JailError;
use super::events;

/// Names a process across restarts of its observer; goes into durable records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessIdentity {
    pub pid: i32,
    /// Clock ticks after boot (field 22 of `/proc/<pid>/stat`).
    pub start_time: u64,
}

impl ProcessIdentity {
    /// Looks at the process that has this pid now; `None` if there is none, or only a zombie.
    pub fn of(pid: i32) -> io::Result<Option<Self>> {
        match std::fs::read(format!("/proc/{pid}/stat")) {
            Ok(stat) => Ok(parse_stat(&stat).map(|start_time| Self { pid, start_time })),
            Err(error)
                if error.kind() == io::ErrorKind::NotFound
                    || error.raw_os_error() == Some(libc::ESRCH) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// A pinned process of ours.
#[derive(Debug)]
pub(crate) struct Process {
    identity: ProcessIdentity,
    pidfd: AsyncFd<OwnedFd>,
}

impl Process {
    /// Pins the process `identity` if it lives and is in `cgroup`.
    pub(crate) fn find(
        identity: ProcessIdentity,
        cgroup: &Cgroup,
    ) -> Result<Option<Self>, JailError> {
        let pid = identity.pid;
        let failed = |action| {
            move |source: io::Error| JailError::Process {
                action,
                pid,
                source,
            }
        };
        let Some(number) = Pid::from_raw(pid) else {
            return Ok(None);
        };
        let pidfd = match rustix::process::pidfd_open(number, PidfdFlags::NONBLOCK) {
            Ok(pidfd) => pidfd,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(source) => return Err(failed("pin")(source.into())),
        };
        // The pidfd is open, so from here the pid cannot change hands unseen.
        if ProcessIdentity::of(pid).map_err(failed("look at"))? != Some(identity) {
            return Ok(None);
        }
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        if !groups
            .lines()
            .any(|line| line.strip_prefix("0::") == Some(&cgroup.name()))
        {
            return Ok(None);
        }
        let pidfd = events::watch(pidfd).map_err(failed("watch"))?;
        Ok(Some(Self { identity, pidfd }))
    }

    pub(crate) fn identity(&self) -> ProcessIdentity {
        self.identity
    }

    /// Resolves when the process has ended; at once if it has already.
    pub(crate) async fn ended(&self) {
        // The only error is a runtime that is going away, in which case nobody is left to be told.
        if self.pidfd.readable().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Resolves when it has ended, whatever becomes of this value.
    pub(crate) fn end(&self) -> Result<impl Future<Output = ()> + Send + use<>, JailError> {
        let failed = |source| JailError::Process {
            action: "watch",
            pid: self.identity.pid,
            source,
        };
        let pidfd = self.pidfd.get_ref().try_clone().map_err(failed)?;
        let pidfd = events::watch(pidfd).map_err(failed)?;
        Ok(async move {
            let _ = pidfd.readable().await; // the only error is a runtime that is going away
        })
    }

    /// Whether it has ended by now; asks the kernel, whatever the runtime has heard.
    pub(crate) fn has_ended(&self) -> bool {
        let mut ended = [PollFd::new(&self.pidfd, PollFlags::IN)];
        matches!(
            rustix::event::poll(&mut ended, Some(&Timespec::default())),
            Ok(1)
        )
    }

    /// SIGKILL; a process that has ended is fine.
    pub(crate) fn kill(&self) -> Result<(), JailError> {
        match rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(source) => Err(JailError::Process {
                action: "kill",
                pid: self.identity.pid,
                source: source.into(),
            }),
        }
    }
}

/// The start time of a live process. The name in field 2 is the process's own choice and may contain
/// anything, so fields are counted from the last `)`.
fn parse_stat(stat: &[u8]) -> Option<u64> {
    let end_of_name = stat.iter().rposition(|byte| *byte == b')')?;
    let mut fields = std::str::from_utf8(&stat[end_of_name + 1..])
        .ok()?
        .split_ascii_whitespace();
    let state = fields.next()?; // field 3
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok() // field 22
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(stat: &str, expected: Option<u64>) {
        assert_eq!(parse_stat(stat.as_bytes()), expected, "{stat}");
    }

    #[test]
    fn the_start_time_is_found_behind_any_name() {
        let tail = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        check(&format!("12 (fc) {tail}"), Some(4711));
        check(&format!("12 (a) Z b) {tail}"), Some(4711));
        check(&format!("12 (fc) {}", tail.replacen('S', "Z", 1)), None);
        check("12 (fc", None);
        check("12 (fc) S 1", None);
        check("", None);
    }

    #[test]
    fn our_own_identity_is_stable_and_a_free_pid_has_none() {
        let me = std::process::id() as i32;
        let first = ProcessIdentity::of(me).unwrap().unwrap();
        assert_eq!(ProcessIdentity::of(me).unwrap(), Some(first));
        assert_eq!(ProcessIdentity::of(i32::MAX).unwrap(), None);
    }

    #[tokio::test]
    async fn a_process_outside_the_cgroup_is_not_ours() {
        let me = ProcessIdentity::of(std::process::id() as i32)
            .unwrap()
            .unwrap();
        let elsewhere = Cgroup::new(
            std::path::Path::new("/sys/fs/cgroup"),
            "wrenn-test-absent",
            "x",
        );
        assert!(Process::find(me, &elsewhere).unwrap().is_none());
    }

    proptest::proptest! {
        #[test]
        fn no_stat_line_makes_the_parser_panic(stat in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = parse_stat(&stat);
        }
    }
}
