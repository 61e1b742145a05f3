//! Makes a child that lives in its maker's memory until it becomes a program.
//!
//! A copy of that memory, as `fork` makes it, costs more than all else in the start of a program. So the
//! child is made as `vfork` makes one: it has a stack of its own, and the thread that made it stands still
//! until the child has become a program or has ended. Only that thread: it is one of those that may block,
//! because a frozen cgroup or a file system that does not answer holds the child, and its maker with it.
//!
//! The child is made by `clone3` directly: it is born with its pidfd, in its cgroup, and without handlers
//! of signals, which would run in this memory.

use std::{
    arch::asm,
    ffi::c_void,
    io,
    mem::MaybeUninit,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
};

use rustix::process::Pid;

// linux/sched.h
const CLONE_VM: u64 = 0x100;
const CLONE_PIDFD: u64 = 0x1000;
const CLONE_VFORK: u64 = 0x4000;
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Of 16 bytes, so that the stack begins and ends where the processor's calling convention wants it.
type Slot = MaybeUninit<u128>;
/// Of the child's stack: 32 KiB, for a few calls of a few variables each.
const STACK_SLOTS: usize = 2048;

/// What a child does with its argument. It does not return.
pub(super) type Life = unsafe extern "C" fn(*mut c_void) -> !;

/// Makes a child that runs `life`; completes when the child has become a program or has ended.
///
/// # Safety
///
/// `life` shares all memory with this process and makes system calls only: nothing that allocates, takes a
/// lock or panics. `argument` is what `life` expects.
pub(super) unsafe fn bear(
    cgroup: Option<BorrowedFd<'_>>,
    life: Life,
    argument: *mut c_void,
) -> io::Result<(Pid, OwnedFd)> {
    let mut stack: Vec<Slot> = Vec::with_capacity(STACK_SLOTS);
    let mut pidfd: RawFd = -1;
    let common = CLONE_VM | CLONE_VFORK | CLONE_PIDFD | CLONE_CLEAR_SIGHAND;
    let request = CloneArgs {
        flags: common | cgroup.map_or(0, |_| CLONE_INTO_CGROUP),
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: u64::from(libc::SIGCHLD.unsigned_abs()),
        stack: stack.as_mut_ptr() as u64,
        stack_size: (STACK_SLOTS * size_of::<Slot>()) as u64,
        cgroup: cgroup.map_or(0, |fd| u64::from(fd.as_raw_fd().unsigned_abs())),
        ..CloneArgs::default()
    };
    let result: isize;
    // SAFETY: `request` has the layout and size of the kernel's `struct clone_args`; it, `pidfd` and the
    // stack outlive the child's use of them, since CLONE_VFORK holds this thread until the child has left
    // this memory. The child begins after `syscall` with result zero, with these registers and at the end
    // of its own stack, calls `life` as the caller promises and never comes past `ud2`.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r9",
            "call r8",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 => result,
            in("rdi") &raw const request,
            in("rsi") size_of::<CloneArgs>(),
            in("r8") life,
            in("r9") argument,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    let Some(pid) = i32::try_from(result)
        .ok()
        .filter(|pid| *pid > 0)
        .and_then(Pid::from_raw)
    else {
        let errno = i32::try_from(-result).unwrap_or(libc::EINVAL);
        return Err(io::Error::from_raw_os_error(errno));
    };
    // SAFETY: the kernel has just opened this descriptor for us and nothing else knows it.
    Ok((pid, unsafe { OwnedFd::from_raw_fd(pidfd) }))
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
