//! Makes a child and turns it into a program, with every step checked.
//!
//! The child is made by `clone3` directly: it is born with its pidfd and in its cgroup. Between the clone
//! and the exec it runs in a copy of a process whose other threads are gone, perhaps in the middle of an
//! allocation; so it makes system calls and nothing else. All it needs is prepared before (`Image`). The
//! first step that fails is written to a close-on-exec pipe as its number and errno; end of file on that
//! pipe means that the program runs.

use std::{
    ffi::{CStr, CString},
    io,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
    ptr,
};

use rustix::{
    io::Errno,
    pipe::{PipeFlags, pipe_with},
    process::Pid,
};
use thiserror::Error;
use tokio::{io::AsyncReadExt as _, net::unix::pipe};

use super::command::Image;
use crate::users::User;

// linux/sched.h, linux/ioprio.h, linux/close_range.h
const CLONE_PIDFD: u64 = 0x1000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
const IOPRIO_WHO_PROCESS: libc::c_long = 1;
const IOPRIO_BEST_EFFORT_4: libc::c_long = (2 << 13) | 4;
const CLOSE_RANGE_CLOEXEC: libc::c_ulong = 4;
const LAST_SIGNAL: libc::c_int = 64;
/// Of the kernel's signal set.
const SIGNAL_SET_BYTES: usize = 8;

/// What the child was doing when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stage {
    Session = 1,
    Terminal,
    Priority,
    User,
    Directory,
    Signals,
    Descriptors,
    Program,
}

impl Stage {
    fn from_number(number: u8) -> Option<Self> {
        let all = [
            Self::Session,
            Self::Terminal,
            Self::Priority,
            Self::User,
            Self::Directory,
            Self::Signals,
            Self::Descriptors,
            Self::Program,
        ];
        all.into_iter().find(|stage| *stage as u8 == number)
    }
}

/// A program that does not run.
#[derive(Debug, Error)]
pub(crate) enum SpawnError {
    #[error("prepare the process")]
    Prepare(#[source] io::Error),
    #[error("the process could not be set up")]
    Child { stage: Stage, errno: Errno },
    #[error("the process was lost while it started")]
    Lost,
}

/// The standard descriptors of the child.
#[derive(Debug)]
pub(super) struct Stdio {
    pub(super) stdin: OwnedFd,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
    pub(super) controlling: Controlling,
}

/// Whether standard input becomes the controlling terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Controlling {
    Nothing,
    Terminal,
}

/// A child on its way to its program.
#[derive(Debug)]
pub(super) struct Spawned {
    pub(super) pid: Pid,
    pub(super) pidfd: OwnedFd,
    report: pipe::Receiver,
}

impl Spawned {
    /// Waits until the program runs, or tells why it does not; the child is still to be reaped then.
    pub(super) async fn running(&mut self) -> Result<(), SpawnError> {
        let mut report = Vec::with_capacity(5);
        self.report
            .read_to_end(&mut report)
            .await
            .map_err(SpawnError::Prepare)?;
        let Some((stage, errno)) = report.split_first() else {
            return Ok(());
        };
        match (
            Stage::from_number(*stage),
            errno.try_into().map(i32::from_ne_bytes),
        ) {
            (Some(stage), Ok(errno)) => Err(SpawnError::Child {
                stage,
                errno: Errno::from_raw_os_error(errno),
            }),
            _ => Err(SpawnError::Lost),
        }
    }
}

/// Clones and lets the child become `image` as `user`.
pub(super) fn spawn(
    image: &Image,
    user: &User,
    stdio: Stdio,
    cgroup: Option<BorrowedFd<'_>>,
) -> Result<Spawned, SpawnError> {
    let prepare = |fault: Errno| SpawnError::Prepare(fault.into());
    let (report, child_report) = pipe_with(PipeFlags::CLOEXEC).map_err(prepare)?;
    rustix::io::ioctl_fionbio(&report, true).map_err(prepare)?;
    let report = pipe::Receiver::from_owned_fd(report).map_err(SpawnError::Prepare)?;

    let arguments = pointers(&image.arguments);
    let environment = pointers(&image.environment);
    let plan = Plan {
        candidates: &image.candidates,
        arguments: &arguments,
        environment: &environment,
        directory: &image.directory,
        user,
        stdio: [
            stdio.stdin.as_raw_fd(),
            stdio.stdout.as_raw_fd(),
            stdio.stderr.as_raw_fd(),
        ],
        controlling: stdio.controlling,
    };

    let mut pidfd: RawFd = -1;
    let request = CloneArgs {
        flags: CLONE_PIDFD
            | if cgroup.is_some() {
                CLONE_INTO_CGROUP
            } else {
                0
            },
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: u64::from(libc::SIGCHLD.unsigned_abs()),
        cgroup: cgroup.map_or(0, |fd| u64::from(fd.as_raw_fd().unsigned_abs())),
        ..CloneArgs::default()
    };
    // SAFETY: without CLONE_VM the child has its own copy of this memory and continues here with result
    // zero; `request` has the layout and size of the kernel's `struct clone_args`, and `pidfd` outlives the
    // call that writes it.
    let pid =
        unsafe { libc::syscall(libc::SYS_clone3, &raw const request, size_of::<CloneArgs>()) };
    if pid == 0 {
        // SAFETY: this is the child, which `run` never leaves.
        unsafe { plan.run(child_report.as_raw_fd()) }
    }
    let pid = i32::try_from(pid)
        .ok()
        .filter(|pid| *pid > 0)
        .and_then(Pid::from_raw);
    let Some(pid) = pid else {
        return Err(SpawnError::Prepare(io::Error::last_os_error()));
    };
    // SAFETY: the kernel has just opened this descriptor for us and nothing else knows it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Spawned { pid, pidfd, report })
}

/// `struct clone_args` of linux/sched.h, as far as `cgroup`.
#[derive(Default)]
#[repr(C, align(8))]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

const _: () = assert!(size_of::<CloneArgs>() == 88);

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings
        .iter()
        .map(|one| one.as_ptr())
        .chain([ptr::null()])
        .collect()
}

/// All that the child needs; borrowed from memory that it has a copy of.
struct Plan<'a> {
    candidates: &'a [CString],
    arguments: &'a [*const libc::c_char],
    environment: &'a [*const libc::c_char],
    directory: &'a CStr,
    user: &'a User,
    stdio: [RawFd; 3],
    controlling: Controlling,
}

impl Plan<'_> {
    /// Becomes the program, or reports and exits.
    ///
    /// # Safety
    ///
    /// Only for the child of a clone that shares no memory with its parent.
    unsafe fn run(&self, report: RawFd) -> ! {
        // SAFETY: the caller's promise is this function's.
        let (stage, errno) = unsafe { self.become_program() };
        let number = errno.to_ne_bytes();
        let message = [stage as u8, number[0], number[1], number[2], number[3]];
        // SAFETY: `message` is five readable bytes; a parent that is gone needs no report. `_exit` ends
        // only this process and runs nothing of the parent's.
        unsafe {
            libc::write(report, message.as_ptr().cast(), message.len());
            libc::_exit(127)
        }
    }

    /// The steps of the guest specification, in its order. Returns at the first that fails.
    ///
    /// # Safety
    ///
    /// As for `run`.
    unsafe fn become_program(&self) -> (Stage, i32) {
        // SAFETY: these are system calls (or the C library's bare wrappers of them, which neither allocate
        // nor lock) on arguments that live until the exec. The ids are set by raw system calls, because the
        // C library's own would address threads that this process does not have.
        unsafe {
            if libc::setsid() < 0 {
                return (Stage::Session, errno());
            }
            for (index, descriptor) in (0..).zip(self.stdio) {
                if libc::dup2(descriptor, index) < 0 {
                    return (Stage::Descriptors, errno());
                }
            }
            if self.controlling == Controlling::Terminal && libc::ioctl(0, libc::TIOCSCTTY, 0) != 0
            {
                return (Stage::Terminal, errno());
            }
            if !set_priority() {
                return (Stage::Priority, errno());
            }
            if !self.become_user() {
                return (Stage::User, errno());
            }
            if libc::chdir(self.directory.as_ptr()) != 0 {
                return (Stage::Directory, errno());
            }
            if !reset_signals() {
                return (Stage::Signals, errno());
            }
            libc::umask(0o022);
            if libc::syscall(
                libc::SYS_close_range,
                3,
                libc::c_uint::MAX,
                CLOSE_RANGE_CLOEXEC,
            ) != 0
            {
                return (Stage::Descriptors, errno());
            }
            let mut refused = libc::ENOENT;
            for candidate in self.candidates {
                libc::execve(
                    candidate.as_ptr(),
                    self.arguments.as_ptr(),
                    self.environment.as_ptr(),
                );
                match errno() {
                    // Not here; what an earlier directory said counts more.
                    libc::ENOENT | libc::ENOTDIR => {}
                    libc::EACCES => refused = libc::EACCES,
                    other => return (Stage::Program, other),
                }
            }
            (Stage::Program, refused)
        }
    }

    unsafe fn become_user(&self) -> bool {
        let User {
            uid, gid, groups, ..
        } = self.user;
        // SAFETY: `groups` is a readable array of its length; the rest takes numbers.
        unsafe {
            libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) == 0
                && libc::syscall(libc::SYS_setgid, *gid) == 0
                && libc::syscall(libc::SYS_setuid, *uid) == 0
                && [libc::getuid(), libc::geteuid()] == [*uid; 2]
                && [libc::getgid(), libc::getegid()] == [*gid; 2]
        }
    }
}

fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// What envd has for itself is not for its children: they are killed first when memory ends, and run at
/// ordinary priority.
unsafe fn set_priority() -> bool {
    // SAFETY: system calls on constants and on a descriptor that this function opens and closes.
    unsafe {
        let file = libc::open(
            c"/proc/self/oom_score_adj".as_ptr(),
            libc::O_WRONLY | libc::O_CLOEXEC,
        );
        if file < 0 {
            return false;
        }
        let written = libc::write(file, c"100".as_ptr().cast(), 3);
        libc::close(file);
        written == 3
            && libc::setpriority(libc::PRIO_PROCESS, 0, 0) == 0
            && libc::syscall(
                libc::SYS_ioprio_set,
                IOPRIO_WHO_PROCESS,
                0,
                IOPRIO_BEST_EFFORT_4,
            ) == 0
    }
}

/// Every signal unblocked and at its default: Rust's runtime ignores SIGPIPE, and whoever started envd may
/// have ignored more; a program must inherit neither.
unsafe fn reset_signals() -> bool {
    // SAFETY: four zero words are the kernel's `sigaction` for the default, and one is an empty signal set.
    // By system call, because the C library keeps two signals for itself and would refuse them.
    unsafe {
        let default = [0_u64; 4];
        for signal in 1..=LAST_SIGNAL {
            // The kernel refuses KILL and STOP, which cannot be anything but the default.
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                ptr::null::<u64>(),
                SIGNAL_SET_BYTES,
            );
        }
        let set = libc::SYS_rt_sigprocmask;
        libc::syscall(
            set,
            libc::SIG_SETMASK,
            default.as_ptr(),
            ptr::null::<u64>(),
            SIGNAL_SET_BYTES,
        ) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_survives_the_pipe() {
        for number in 0..=9 {
            let stage = Stage::from_number(number);
            assert_eq!(
                stage.map(|stage| stage as u8),
                (1..=8).contains(&number).then_some(number)
            );
        }
    }
}
