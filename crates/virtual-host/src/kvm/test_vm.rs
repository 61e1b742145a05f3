//! A VM of one page that writes a byte to a port and halts.
//!
//! It runs in a forked child with an alarm, because a KVM that does not work may not return from a
//! call. The child makes only system calls and allocates nothing, as it must after a fork of a
//! process with threads.
//! Numbers and layouts are of `linux/kvm.h` and `asm/kvm.h` for x86_64.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, WaitOptions, pidfd_open, waitpid};

use crate::tool::readable_until;

const KVM_GET_API_VERSION: libc::c_ulong = 0xae00;
const KVM_CREATE_VM: libc::c_ulong = 0xae01;
const KVM_GET_VCPU_MMAP_SIZE: libc::c_ulong = 0xae04;
const KVM_CREATE_VCPU: libc::c_ulong = 0xae41;
const KVM_SET_USER_MEMORY_REGION: libc::c_ulong = 0x4020_ae46;
const KVM_RUN: libc::c_ulong = 0xae80;
const KVM_SET_REGS: libc::c_ulong = 0x4090_ae82;
const KVM_GET_SREGS: libc::c_ulong = 0x8138_ae83;
const KVM_SET_SREGS: libc::c_ulong = 0x4138_ae84;

const KVM_EXIT_IO: u32 = 2;
const KVM_EXIT_HLT: u32 = 5;
/// Offset of `exit_reason` in `struct kvm_run`.
const EXIT_REASON: usize = 8;

const PAGE: usize = 4096;
/// Where the page is in the VM.
const GUEST_ADDRESS: u64 = 0x1000;
/// `mov al, 'W'; out 0x10, al; hlt`
const CODE: [u8; 5] = [0xb0, b'W', 0xe6, 0x10, 0xf4];

/// The alarm that ends the child.
const SECONDS: libc::c_uint = 3;

#[repr(C)]
struct MemoryRegion {
    slot: u32,
    flags: u32,
    guest_address: u64,
    size: u64,
    user_address: u64,
}

/// `struct kvm_regs`: sixteen general registers, then rip and rflags.
#[repr(C)]
struct Registers {
    general: [u64; 16],
    rip: u64,
    rflags: u64,
}

/// `struct kvm_sregs`, of which only the base and selector of the first segment (cs) are used.
#[repr(C, align(8))]
struct SpecialRegisters([u8; 312]);

const _: () = {
    assert!(size_of::<MemoryRegion>() == 0x20);
    assert!(size_of::<Registers>() == 0x90);
    assert!(size_of::<SpecialRegisters>() == 0x138);
};

/// How the test VM failed.
#[derive(Debug, thiserror::Error)]
pub enum TestVmError {
    /// The child could not be started or watched.
    #[error("starting the process of the test VM")]
    Process(#[source] io::Error),
    /// A KVM call was refused.
    #[error("{0} failed")]
    Call(&'static str),
    /// The VM did something else than its five bytes say.
    #[error("the test VM did not do what its code says")]
    WrongExit,
    /// The VM did not come back.
    #[error("the test VM did not end within {SECONDS} s")]
    Hung,
}

/// What the child does, in order; its exit code names the one that failed.
const STEPS: [&str; 8] = [
    "creating a VM",
    "mapping memory",
    "giving memory to the VM",
    "creating a virtual CPU",
    "mapping the virtual CPU",
    "reading registers",
    "setting registers",
    "running the VM",
];
/// Exit code of the child when the VM ran but did the wrong thing.
const WRONG_EXIT: libc::c_int = 100;

pub(crate) fn api_version(device: &File) -> io::Result<i32> {
    // SAFETY: the call takes no pointer and only reads a constant of the driver.
    let version = unsafe { libc::ioctl(device.as_raw_fd(), KVM_GET_API_VERSION, 0) };
    if version < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(version)
    }
}

/// Runs the VM in a child of its own.
pub(crate) fn run(device: &File) -> Result<(), TestVmError> {
    let kvm = device.as_raw_fd();
    // SAFETY: the child calls nothing but `child`, which neither allocates nor takes locks, and
    // `_exit`; so it needs nothing that another thread may hold.
    let pid = unsafe { libc::fork() };
    match pid {
        -1 => Err(TestVmError::Process(io::Error::last_os_error())),
        0 => {
            // SAFETY: as above; `_exit` runs no destructors of the copied process.
            unsafe {
                libc::signal(libc::SIGALRM, libc::SIG_DFL);
                libc::alarm(SECONDS);
                libc::_exit(child(kvm));
            }
        }
        pid => {
            let pid = Pid::from_raw(pid).ok_or(TestVmError::Hung)?;
            verdict(pid)
        }
    }
}

fn verdict(pid: Pid) -> Result<(), TestVmError> {
    let process = |e: rustix::io::Errno| TestVmError::Process(e.into());
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(process)?;
    let until = Instant::now() + Duration::from_secs(u64::from(SECONDS) + 2);
    if !readable_until(&pidfd, until).map_err(TestVmError::Process)? {
        // Not even the alarm ends it: it hangs in the kernel and cannot be reaped now.
        return Err(TestVmError::Hung);
    }
    let status = waitpid(Some(pid), WaitOptions::empty()).map_err(process)?;
    let Some(code) = status.and_then(|(_, status)| status.exit_status()) else {
        return Err(TestVmError::Hung);
    };
    match usize::try_from(code).ok().and_then(|n| n.checked_sub(1)) {
        None => Ok(()),
        Some(step) => Err(STEPS
            .get(step)
            .map_or(TestVmError::WrongExit, |s| TestVmError::Call(s))),
    }
}

/// The exit code: 0, the number of the failed step, or [`WRONG_EXIT`].
fn child(kvm: RawFd) -> libc::c_int {
    match steps(kvm) {
        Ok(true) => 0,
        Ok(false) => WRONG_EXIT,
        Err(step) => step,
    }
}

fn steps(kvm: RawFd) -> Result<bool, libc::c_int> {
    let vm = call(1, kvm, KVM_CREATE_VM, 0)?;
    let page = map(2, -1, PAGE)?;
    // SAFETY: the page is ours, writable and longer than the code.
    unsafe { std::ptr::copy_nonoverlapping(CODE.as_ptr(), page, CODE.len()) };
    let region = MemoryRegion {
        slot: 0,
        flags: 0,
        guest_address: GUEST_ADDRESS,
        size: PAGE as u64,
        user_address: page as u64,
    };
    call(
        3,
        vm,
        KVM_SET_USER_MEMORY_REGION,
        &raw const region as libc::c_ulong,
    )?;
    let cpu = call(4, vm, KVM_CREATE_VCPU, 0)?;
    let length = call(5, kvm, KVM_GET_VCPU_MMAP_SIZE, 0)?;
    let shared = map(5, cpu, usize::try_from(length).map_err(|_| 5)?)?;

    let mut special = SpecialRegisters([0; 312]);
    call(6, cpu, KVM_GET_SREGS, &raw mut special as libc::c_ulong)?;
    // cs: base (u64 at 0) and selector (u16 at 12) zero, so that rip is a plain address.
    special.0[0..8].fill(0);
    special.0[12..14].fill(0);
    call(7, cpu, KVM_SET_SREGS, &raw const special as libc::c_ulong)?;
    let registers = Registers {
        general: [0; 16],
        rip: GUEST_ADDRESS,
        rflags: 2,
    };
    call(7, cpu, KVM_SET_REGS, &raw const registers as libc::c_ulong)?;

    for expected in [KVM_EXIT_IO, KVM_EXIT_HLT] {
        call(8, cpu, KVM_RUN, 0)?;
        // SAFETY: the mapping is at least a `struct kvm_run`, aligned to a page.
        let reason = unsafe { shared.add(EXIT_REASON).cast::<u32>().read_volatile() };
        if reason != expected {
            return Ok(false);
        }
    }
    Ok(true)
}

fn call(
    step: libc::c_int,
    fd: RawFd,
    request: libc::c_ulong,
    argument: libc::c_ulong,
) -> Result<RawFd, libc::c_int> {
    // SAFETY: every argument is zero or the address of a live struct of the size that the request
    // number names.
    let result = unsafe { libc::ioctl(fd, request, argument) };
    if result < 0 { Err(step) } else { Ok(result) }
}

/// Maps `length` bytes of `fd`, or fresh memory if that is -1.
fn map(step: libc::c_int, fd: RawFd, length: usize) -> Result<*mut u8, libc::c_int> {
    let kind = if fd < 0 { libc::MAP_ANONYMOUS } else { 0 };
    // SAFETY: asks for a new mapping and touches none that exists.
    let address = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            length,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | kind,
            fd,
            0,
        )
    };
    if address == libc::MAP_FAILED {
        Err(step)
    } else {
        Ok(address.cast())
    }
}
