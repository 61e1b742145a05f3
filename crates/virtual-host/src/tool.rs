//! One way to run a program of the system: with a deadline, bounded output and an error that says
//! what failed and which package brings a missing program.
//!
//! Output goes to unlinked temporary files, so a background child that keeps a descriptor open
//! (ssh's connection sharing) cannot hold up the caller. The program leads its own process group, and the
//! whole group is ended at the deadline, and when [`interrupt`] ends all of this process's work: it is asked
//! to, so that it removes what it made elsewhere (`mmdebstrap` does), and killed when it takes too long.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

/// Bytes of each output stream that are kept; the rest is dropped.
const OUTPUT_LIMIT: u64 = 16 << 20;

/// How long a program that is ended may take to clean up.
const GRACE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 15 });

/// Readable once [`interrupt`] was called; without descriptors left there are no programs to end either.
static INTERRUPT: LazyLock<Option<OwnedFd>> =
    LazyLock::new(|| eventfd(0, EventfdFlags::CLOEXEC).ok());

/// Ends what this process builds and boots, now and from now on: its programs are ended, and who waits for them
/// or for a machine gets an error and cleans up. For a process that is about to end.
pub fn interrupt() {
    if let Some(fd) = INTERRUPT.as_ref() {
        // Fails only when the count is at its limit, and then it is readable too.
        let _ = rustix::io::write(fd, &1u64.to_ne_bytes());
    }
}

/// Whether [`interrupt`] was called.
pub(crate) fn is_interrupted() -> bool {
    INTERRUPT
        .as_ref()
        .is_some_and(|fd| readable_until(fd, Instant::now()).unwrap_or(false))
}

/// What a finished program left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    /// Exit code, or 128 + the signal that ended the program.
    pub code: i32,
    /// The first 16 MiB of standard output.
    pub stdout: Vec<u8>,
    /// The first 16 MiB of standard error.
    pub stderr: Vec<u8>,
}

impl Captured {
    /// Standard output as text without the white space around it.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }
}

/// Why a program of the system did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// The program is not installed.
    #[error("{program} is not installed; on Debian: apt-get install {package}")]
    Missing { program: String, package: String },
    /// The program could not be run or watched.
    #[error("running {program}")]
    Run {
        program: String,
        #[source]
        source: io::Error,
    },
    /// The program ended with an error.
    #[error("{program} failed with exit code {code}: {message}")]
    Failed {
        program: String,
        code: i32,
        message: String,
    },
    /// The program was ended because all work was to end.
    #[error("{program} was interrupted")]
    Interrupted { program: String },
    /// The program was ended at its deadline.
    #[error("{program} did not finish within {seconds} s: {message}")]
    Deadline {
        program: String,
        seconds: u64,
        message: String,
    },
}

/// A program to be run once.
#[derive(Debug)]
pub(crate) struct Tool {
    command: Command,
    program: String,
    deadline: Duration,
    stdin: Option<Vec<u8>>,
}

impl Tool {
    pub(crate) fn new(program: impl AsRef<OsStr>, deadline: Duration) -> Self {
        let program = program.as_ref();
        Self {
            command: Command::new(program),
            program: program.to_string_lossy().into_owned(),
            deadline,
            stdin: None,
        }
    }

    /// A program that must see files as their owner does: as it is for root, otherwise in a user
    /// namespace in which the caller is root and has its subordinate ids.
    pub(crate) fn as_root(program: &str, deadline: Duration) -> Self {
        if rustix::process::geteuid().is_root() {
            return Self::new(program, deadline);
        }
        Self::new("unshare", deadline).args(["--map-root-user", "--map-auto", "--", program])
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    pub(crate) fn args<I: IntoIterator<Item: AsRef<OsStr>>>(mut self, args: I) -> Self {
        self.command.args(args);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    pub(crate) fn stdin(mut self, bytes: Vec<u8>) -> Self {
        self.stdin = Some(bytes);
        self
    }

    /// Runs the program; any exit code but 0 is an error.
    pub(crate) fn run(self) -> Result<Captured, ToolError> {
        let program = self.program.clone();
        let captured = self.output()?;
        if captured.code != 0 {
            return Err(ToolError::Failed {
                program,
                code: captured.code,
                message: last_lines(&captured.stderr),
            });
        }
        Ok(captured)
    }

    /// Runs the program and returns its exit code as it is.
    pub(crate) fn output(mut self) -> Result<Captured, ToolError> {
        let (mut stdout, mut stderr) = self.streams().map_err(|e| self.failed(e))?;
        let mut child = match self.command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ToolError::Missing {
                    package: package_of(&self.program).to_owned(),
                    program: self.program,
                });
            }
            other => other.map_err(|e| self.failed(e))?,
        };
        let status =
            wait_until(&mut child, Instant::now() + self.deadline).map_err(|e| self.failed(e))?;
        let Some(status) = status else {
            end_group(&mut child);
            if is_interrupted() {
                return Err(ToolError::Interrupted {
                    program: self.program,
                });
            }
            return Err(ToolError::Deadline {
                message: last_lines(&kept(&mut stderr).unwrap_or_default()),
                seconds: self.deadline.as_secs(),
                program: self.program,
            });
        };
        Ok(Captured {
            code: status
                .code()
                .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
            stdout: kept(&mut stdout).map_err(|e| self.failed(e))?,
            stderr: kept(&mut stderr).map_err(|e| self.failed(e))?,
        })
    }

    fn streams(&mut self) -> io::Result<(File, File)> {
        let (stdout, stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
        let stdin = match self.stdin.take() {
            None => Stdio::null(),
            Some(bytes) => {
                let mut file = tempfile::tempfile()?;
                file.write_all(&bytes)?;
                file.seek(SeekFrom::Start(0))?;
                file.into()
            }
        };
        self.command
            .stdin(stdin)
            .stdout(stdout.try_clone()?)
            .stderr(stderr.try_clone()?)
            .process_group(0);
        Ok((stdout, stderr))
    }

    fn failed(&self, source: io::Error) -> ToolError {
        ToolError::Run {
            program: self.program.clone(),
            source,
        }
    }
}

/// Waits for `child` by its pidfd; `None` when the deadline or an interrupt came first.
fn wait_until(child: &mut Child, deadline: Instant) -> io::Result<Option<ExitStatus>> {
    if let Some(status) = child.try_wait()? {
        return Ok(Some(status));
    }
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let ended = PollFd::new(&pidfd, PollFlags::IN);
    let mut fds: Vec<PollFd<'_>> = INTERRUPT
        .iter()
        .map(|fd| PollFd::new(fd, PollFlags::IN))
        .chain([ended])
        .collect();
    if !any_readable_until(&mut fds, deadline)? {
        return Ok(None);
    }
    child.try_wait()
}

/// Waits until `fd` is readable (a pidfd: until its process has ended); false at the deadline.
pub(crate) fn readable_until(fd: &impl std::os::fd::AsFd, deadline: Instant) -> io::Result<bool> {
    any_readable_until(&mut [PollFd::new(fd, PollFlags::IN)], deadline)
}

fn any_readable_until(fds: &mut [PollFd<'_>], deadline: Instant) -> io::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        match poll(fds, Some(&timeout)) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn end_group(child: &mut Child) {
    let group = Pid::from_child(child);
    // Each fails only when everything has already ended, which is what is wanted.
    let _ = kill_process_group(group, Signal::TERM);
    if let Ok(pidfd) = pidfd_open(group, PidfdFlags::empty()) {
        let _ = readable_until(&pidfd, Instant::now() + GRACE);
    }
    // The leader is not reaped yet, so the group's number is still its own.
    let _ = kill_process_group(group, Signal::KILL);
    let _ = child.wait();
}

fn kept(file: &mut File) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(0))?;
    let mut bytes = Vec::new();
    file.take(OUTPUT_LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn last_lines(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(8)..].join("; ")
}

fn package_of(program: &str) -> &str {
    match program {
        "qemu-system-x86_64" => "qemu-system-x86",
        "mke2fs" | "debugfs" | "e2fsck" => "e2fsprogs",
        "depmod" => "kmod",
        "busybox" => "busybox-static",
        "ssh" | "ssh-keygen" => "openssh-client",
        "python3" => "python3-pip",
        "apt-get" | "apt-cache" => "apt",
        "dpkg-deb" => "dpkg",
        "unshare" => "util-linux uidmap",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Tool {
        Tool::new("sh", Duration::from_secs(10)).args(["-c", script])
    }

    #[test]
    fn a_program_gets_its_input_and_gives_its_output() {
        let captured = sh("cat; echo err >&2; exit 3")
            .stdin(b"in".to_vec())
            .output();
        let captured = captured.unwrap();
        assert_eq!((captured.code, captured.text().as_str()), (3, "in"));
        assert_eq!(captured.stderr, b"err\n");
    }

    #[test]
    fn a_failure_carries_the_last_lines_of_standard_error() {
        let error = sh("echo broken >&2; exit 1").run().unwrap_err();
        assert_eq!(error.to_string(), "sh failed with exit code 1: broken");
    }

    #[test]
    fn a_missing_program_names_its_package() {
        let error = Tool::new("no-such-program", Duration::from_secs(1)).run();
        assert!(matches!(error, Err(ToolError::Missing { .. })));
    }

    #[test]
    fn a_program_and_its_children_end_at_the_deadline() {
        let began = Instant::now();
        let tool = Tool::new("sh", Duration::from_millis(100)).args(["-c", "sleep 60 & sleep 60"]);
        assert!(matches!(tool.run(), Err(ToolError::Deadline { .. })));
        assert!(began.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_program_that_is_ended_may_clean_up_but_not_stay() {
        let dir = tempfile::tempdir().unwrap();
        let made = dir.path().join("made");
        std::fs::write(&made, "").unwrap();
        let cleans = format!("trap 'rm {}; exit 1' TERM; sleep 60 & wait", made.display());
        for script in [cleans.as_str(), "trap '' TERM; while :; do sleep 60; done"] {
            let began = Instant::now();
            let tool = Tool::new("sh", Duration::from_millis(300)).args(["-c", script]);
            assert!(matches!(tool.run(), Err(ToolError::Deadline { .. })));
            assert!(began.elapsed() < Duration::from_secs(10));
        }
        assert!(!made.exists());
    }

    #[test]
    fn a_background_child_does_not_hold_up_the_caller() {
        let began = Instant::now();
        assert_eq!(sh("sleep 5 & echo done").run().unwrap().text(), "done");
        assert!(began.elapsed() < Duration::from_secs(4));
    }
}
