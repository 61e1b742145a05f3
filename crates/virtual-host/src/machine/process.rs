//! QEMU's process, which is not our child: it outlives the command that started it.
//!
//! It is held by a pidfd that was checked against its start time, so that nothing is ever done to
//! another process that got its pid later.

use std::fs;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::Record;
use crate::tool::readable_until;
use crate::{Captured, FileError};

/// How long the kernel may take to end a killed QEMU.
const KILL_DEADLINE: Duration = Duration::from_secs(10);

/// A running QEMU.
#[derive(Debug)]
pub(crate) struct Process {
    pid: Pid,
    start_time: u64,
    pidfd: OwnedFd,
}

impl Process {
    /// The process whose pid QEMU left in `file` when it went to the background.
    pub(crate) fn of_pid_file(file: &Path, _started: Captured) -> Result<Self, FileError> {
        let failed = FileError::at("reading", file);
        let text = fs::read_to_string(file).map_err(&failed)?;
        let pid = text.trim().parse().ok().and_then(Pid::from_raw);
        pid.and_then(Self::open)
            .ok_or_else(|| failed(io::Error::other("QEMU ended as soon as it started")))
    }

    /// The process of `record`, if it still runs.
    pub(crate) fn of_record(record: &Record) -> Option<Self> {
        let process = Self::open(Pid::from_raw(record.pid)?)?;
        (process.start_time == record.start_time && process.is_alive()).then_some(process)
    }

    fn open(pid: Pid) -> Option<Self> {
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
        Some(Self {
            pid,
            start_time: start_time(&stat)?,
            pidfd,
        })
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Clock ticks after boot.
    pub(crate) fn start_time(&self) -> u64 {
        self.start_time
    }

    pub(crate) fn is_alive(&self) -> bool {
        // A pidfd is readable once its process has ended.
        matches!(readable_until(&self.pidfd, Instant::now()), Ok(false))
    }

    /// Waits for the end; false at the deadline.
    pub(crate) fn wait_for_end(&self, until: Instant) -> Result<bool, FileError> {
        readable_until(&self.pidfd, until).map_err(FileError::at("waiting for", Path::new("QEMU")))
    }

    /// Kills the process and waits until it is gone.
    pub(crate) fn kill(&self) {
        // Fails only when it has ended.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        if !matches!(
            readable_until(&self.pidfd, Instant::now() + KILL_DEADLINE),
            Ok(true)
        ) {
            tracing::warn!(pid = self.pid(), "QEMU is still there after it was killed");
        }
    }
}

/// Kills a QEMU when this process ends in whatever way: a shell that waits for the end of a pipe
/// whose other end only this process holds.
#[derive(Debug)]
pub(crate) struct Lifeline {
    shell: Child,
}

impl Lifeline {
    pub(crate) fn tie(process: &Process) -> io::Result<Self> {
        let shell = Command::new("sh")
            .args([
                "-c",
                "read -r word || kill -9 \"$1\"",
                "sh",
                &process.pid().to_string(),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        Ok(Self { shell })
    }
}

impl Drop for Lifeline {
    fn drop(&mut self) {
        // A word releases the shell without a kill: by now the pid may be somebody else's.
        if let Some(mut stdin) = self.shell.stdin.take() {
            let _ = stdin.write_all(b"released\n");
        }
        let _ = self.shell.wait();
    }
}

/// Field 22 of `/proc/<pid>/stat`; the second may hold anything, so fields count from its end.
fn start_time(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(pid: i32, start_time: u64) -> Record {
        let json = format!(
            r#"{{"format":1,"pid":{pid},"start_time":{start_time},"agent_port":1,"ssh_port":2,
               "acceleration":"emulated","memory_mib":1,"cpus":1}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    fn sleeper() -> (Child, Process) {
        let child = Command::new("sleep").arg("600").spawn().unwrap();
        let process = Process::open(Pid::from_child(&child)).unwrap();
        (child, process)
    }

    #[test]
    fn a_start_time_is_found_behind_any_name() {
        let fields: Vec<String> = (3..=30).map(|n| n.to_string()).collect();
        let stat = format!("7 (a) b) (c) {}", fields.join(" "));
        assert_eq!(start_time(&stat), Some(22));
        assert_eq!(start_time("7 (a) 3 4"), None);
    }

    #[test]
    fn a_process_is_recognised_by_its_start_time() {
        let (mut child, process) = sleeper();
        assert!(Process::of_record(&record(process.pid(), process.start_time())).is_some());
        assert!(Process::of_record(&record(process.pid(), process.start_time() + 1)).is_none());
        process.kill();
        child.wait().unwrap();
        assert!(!process.is_alive());
    }

    #[test]
    fn a_cut_lifeline_kills_and_a_released_one_does_not() {
        let (mut child, process) = sleeper();
        drop(Lifeline::tie(&process).unwrap());
        assert!(process.is_alive());
        let mut lifeline = Lifeline::tie(&process).unwrap();
        drop(lifeline.shell.stdin.take());
        assert!(
            process
                .wait_for_end(Instant::now() + Duration::from_secs(10))
                .unwrap()
        );
        child.wait().unwrap();
    }
}
