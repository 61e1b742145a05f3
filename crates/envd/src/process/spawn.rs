//! Turns a child into a program, with every step checked.
//!
//! Between its birth and its exec the child is in the memory of envd (`birth`), other threads of which may
//! be in the middle of anything; so it makes system calls and nothing else. All it needs is prepared before
//! (`Image`). What it fails at it leaves in its plan, where its maker finds it.

use std::{
    ffi::{CStr, CString, c_void},
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd},
    ptr,
    sync::OnceLock,
};

use rustix::{
    io::Errno,
    process::{Pid, WaitId, WaitIdOptions, waitid},
};
use thiserror::Error;

use super::{birth, command::Image, descriptors};
use crate::users::User;

// linux/ioprio.h, linux/close_range.h
const IOPRIO_WHO_PROCESS: libc::c_long = 1;
const IOPRIO_BEST_EFFORT_4: libc::c_long = (2 << 13) | 4;
const CLOSE_RANGE_CLOEXEC: libc::c_ulong = 4;
const LAST_SIGNAL: libc::c_int = 64;
/// Of the kernel's signal set.
const SIGNAL_SET_BYTES: usize = 8;

/// What the child was doing when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Session,
    Terminal,
    Priority,
    User,
    Directory,
    Signals,
    Descriptors,
    Program,
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

/// A program that runs.
#[derive(Debug)]
pub(super) struct Spawned {
    pub(super) pid: Pid,
    pub(super) pidfd: OwnedFd,
}

/// Makes a child and lets it become `image` as `user`. Blocks until it has, or has failed and is reaped.
pub(super) fn spawn(
    image: &Image,
    user: &User,
    stdio: &Stdio,
    cgroup: Option<BorrowedFd<'_>>,
) -> Result<Spawned, SpawnError> {
    let arguments = pointers(&image.arguments);
    let environment = pointers(&image.environment);
    let mut plan = Plan {
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
        ignored: ignored_signals(),
        descriptors: descriptors::inherited(),
        failure: None,
    };
    let argument: *mut Plan<'_> = &raw mut plan;
    // SAFETY: `run` makes system calls only, and `argument` is the plan that it expects.
    let born = unsafe { birth::bear(cgroup, run, argument.cast()) };
    let (pid, pidfd) = born.map_err(SpawnError::Prepare)?;
    // SAFETY: the plan is still there. By the pointer that the child had, so that what it wrote is seen.
    let Some((stage, errno)) = (unsafe { (*argument).failure }) else {
        return Ok(Spawned { pid, pidfd });
    };
    // It has ended already.
    let _ = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
    Err(SpawnError::Child {
        stage,
        errno: Errno::from_raw_os_error(errno),
    })
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings
        .iter()
        .map(|one| one.as_ptr())
        .chain([ptr::null()])
        .collect()
}

/// All that the child needs, and what becomes of it.
struct Plan<'a> {
    candidates: &'a [CString],
    arguments: &'a [*const libc::c_char],
    environment: &'a [*const libc::c_char],
    directory: &'a CStr,
    user: &'a User,
    stdio: [RawFd; 3],
    controlling: Controlling,
    /// Signals that a program would inherit as ignored.
    ignored: &'a [libc::c_int],
    /// How many a program may have.
    descriptors: libc::rlimit,
    failure: Option<(Stage, i32)>,
}

/// The life of a child: becomes the program, or tells why not and ends.
///
/// # Safety
///
/// Only for `birth::bear`, with a `Plan`.
unsafe extern "C" fn run(plan: *mut c_void) -> ! {
    let plan: *mut Plan<'_> = plan.cast();
    // SAFETY: the plan outlives this, and its owner stands still. `_exit` ends only this process and runs
    // nothing of its maker's.
    unsafe {
        (*plan).failure = Some((*plan).become_program());
        libc::_exit(127)
    }
}

impl Plan<'_> {
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
            if !reset_signals(self.ignored) {
                return (Stage::Signals, errno());
            }
            libc::umask(0o022);
            if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const self.descriptors) != 0
                || libc::syscall(
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
                && has_ids(libc::SYS_getresuid, *uid)
                && has_ids(libc::SYS_getresgid, *gid)
        }
    }
}

/// Whether the real, the effective and the saved id are `expected`.
unsafe fn has_ids(call: libc::c_long, expected: u32) -> bool {
    let mut ids = [!expected; 3];
    let [real, effective, saved] = &mut ids;
    // SAFETY: three places for a number each.
    let told = unsafe { libc::syscall(call, real, effective, saved) };
    told == 0 && ids == [expected; 3]
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

/// Every signal unblocked and at its default: whoever started envd may have ignored some, and Rust's
/// runtime ignores SIGPIPE; a program must inherit neither. Handlers are gone since the child's birth.
unsafe fn reset_signals(ignored: &[libc::c_int]) -> bool {
    // SAFETY: four zero words are the kernel's `sigaction` for the default, and one is an empty signal set.
    // By system call, because the C library keeps two signals for itself and would refuse them.
    unsafe {
        let default = [0_u64; 4];
        for signal in ignored {
            libc::syscall(
                libc::SYS_rt_sigaction,
                *signal,
                default.as_ptr(),
                ptr::null::<u64>(),
                SIGNAL_SET_BYTES,
            );
        }
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            default.as_ptr(),
            ptr::null::<u64>(),
            SIGNAL_SET_BYTES,
        ) == 0
    }
}

/// The signals that envd ignores: since its start, for it changes none.
fn ignored_signals() -> &'static [libc::c_int] {
    static IGNORED: OnceLock<Vec<libc::c_int>> = OnceLock::new();
    IGNORED.get_or_init(|| (1..=LAST_SIGNAL).filter(|one| is_ignored(*one)).collect())
}

fn is_ignored(signal: libc::c_int) -> bool {
    // The kernel's `sigaction`: the handler and three words more.
    let mut action = [0_u64; 4];
    // SAFETY: nothing is set, and `action` has room for what is told.
    let told = unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal,
            ptr::null::<u64>(),
            action.as_mut_ptr(),
            SIGNAL_SET_BYTES,
        )
    };
    told == 0 && action[0] == libc::SIG_IGN as u64
}
