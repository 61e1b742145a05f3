//! The leader of a process group: waiting for it, reaping it, signalling it and its group safely.
//!
//! Pids are reused. The leader is waited for by pidfd; its group is signalled while the leader is unreaped
//! (its pid cannot be anybody else's then), and afterwards only when `/proc` shows a member that is of this
//! group and session and no older than the leader was.

use std::{
    fs, io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::{
    param::clock_ticks_per_second,
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid},
    time::{ClockId, clock_gettime},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::watch,
};

use super::exit::Exit;

#[derive(Debug)]
pub(super) struct Leader {
    pid: Pid,
    /// In clock ticks since boot: not later than it was born, and no earlier than who had its pid before.
    started: u64,
    exit: Mutex<Option<Exit>>,
    reaped: watch::Sender<bool>,
}

impl Leader {
    /// Takes over a child that nobody else waits for, not born before `started`.
    pub(super) fn new(pid: Pid, started: u64) -> Self {
        Self {
            pid,
            started,
            exit: Mutex::default(),
            reaped: watch::Sender::new(false),
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_pid().unsigned_abs()
    }

    /// Waits for the end by `pidfd`, which is the leader's, and reaps. Cancel-safe.
    pub(super) async fn exited(&self, pidfd: &AsyncFd<OwnedFd>) -> Exit {
        loop {
            // An error of the descriptor's own readiness cannot happen while it is open; if it does, the
            // kernel is asked all the same.
            let ready = pidfd.readable().await;
            if let Some(exit) = self.try_reap(pidfd.get_ref().as_fd()) {
                return exit;
            }
            if let Ok(mut ready) = ready {
                ready.clear_ready();
            }
        }
    }

    fn try_reap(&self, pidfd: BorrowedFd<'_>) -> Option<Exit> {
        let mut exit = self.exit();
        if exit.is_none() {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            *exit = match waitid(WaitId::PidFd(pidfd), options) {
                Ok(None) | Err(rustix::io::Errno::INTR) => return None,
                Ok(Some(status)) => Some(match status.exit_status() {
                    Some(code) => Exit::Code(code),
                    None => Exit::Signal {
                        number: status.terminating_signal().unwrap_or(libc::SIGKILL),
                        dumped: status.dumped(),
                    },
                }),
                // Somebody else has reaped it, and how it ended is lost.
                Err(_) => Some(Exit::Signal {
                    number: libc::SIGKILL,
                    dumped: false,
                }),
            };
            self.reaped.send_replace(true);
        }
        *exit
    }

    /// Completes when the leader has been reaped.
    pub(super) async fn reaped(&self) {
        // The sender is part of `self`, so the channel cannot close before.
        let _ = self.reaped.subscribe().wait_for(|reaped| *reaped).await;
    }

    /// Sends a signal to the whole group; to nobody when nothing of it is left.
    pub(super) fn signal(&self, signal: Signal) {
        let exit = self.exit();
        if exit.is_none() || self.has_survivor() {
            // The group may have ended since it was looked at.
            let _ = kill_process_group(self.pid, signal);
        }
    }

    fn has_survivor(&self) -> bool {
        let Ok(entries) = fs::read_dir("/proc") else {
            return false;
        };
        entries
            .filter_map(Result::ok)
            .filter(|entry| {
                entry
                    .file_name()
                    .to_string_lossy()
                    .bytes()
                    .all(|byte| byte.is_ascii_digit())
            })
            .filter_map(|entry| fs::read(entry.path().join("stat")).ok())
            .filter_map(|stat| Stat::parse(&stat))
            .any(|stat| {
                let pid = i64::from(self.pid());
                stat.group == pid && stat.session == pid && stat.started >= self.started
            })
    }

    fn exit(&self) -> MutexGuard<'_, Option<Exit>> {
        self.exit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time now, as `/proc/<pid>/stat` tells the start of a process.
pub(super) fn ticks_since_boot() -> u64 {
    const NANOSECONDS: u64 = 1_000_000_000;
    let now = clock_gettime(ClockId::Boottime);
    let part = |number: i64| u64::try_from(number).unwrap_or(0);
    let rate = clock_ticks_per_second();
    part(now.tv_sec) * rate + part(now.tv_nsec) * rate / NANOSECONDS
}

/// A descriptor whose readiness wakes a task.
pub(crate) fn watched(descriptor: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an owned descriptor stays open, and the same, for as long as its owner lives.
    let watched = unsafe { AsyncFd::register_with_interest(descriptor, interest) };
    watched.map_err(|fault| fault.into_parts().1)
}

/// What `/proc/<pid>/stat` tells of a process's kin.
#[derive(Debug, PartialEq)]
struct Stat {
    group: i64,
    session: i64,
    started: u64,
}

impl Stat {
    /// `pid (name) state ppid pgrp session … starttime`; the name may hold anything, so it ends at the last
    /// parenthesis.
    fn parse(text: &[u8]) -> Option<Self> {
        let end = text.iter().rposition(|byte| *byte == b')')?;
        let rest = std::str::from_utf8(&text[end + 1..]).ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        Some(Self {
            group: fields.get(2)?.parse().ok()?,
            session: fields.get(3)?.parse().ok()?,
            started: fields.get(19)?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_not_older_than_the_ticks_before_its_birth() {
        let before = ticks_since_boot();
        let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
        let stat = fs::read(format!("/proc/{}/stat", child.id())).unwrap();
        let started = Stat::parse(&stat).unwrap().started;
        child.wait().unwrap();
        assert!((before..=ticks_since_boot()).contains(&started));
    }

    #[test]
    fn a_stat_line_is_read_whatever_the_program_is_called() {
        let line = b"12 (a) b) (c) S 1 34 56 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 789 1000 2";
        assert_eq!(
            Stat::parse(line),
            Some(Stat {
                group: 34,
                session: 56,
                started: 789
            })
        );
        for rubbish in [
            &b""[..],
            b"12",
            b"12 (a) S",
            b"12 (a) S x y z",
            b"\xff) \xff",
        ] {
            assert_eq!(Stat::parse(rubbish), None);
        }
    }
}
