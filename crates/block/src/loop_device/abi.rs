//! The loop driver's ioctls (`linux/loop.h`), layouts checked at compile time.

use std::fs::File;
use std::mem::offset_of;
use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;
use rustix::ioctl::{self, Ioctl, IoctlOutput, NoArg, Opcode, Setter, Updater};

use super::Access;

const READ_ONLY: u32 = 1;
const DIRECT_IO: u32 = 16;

const CLR_FD: Opcode = 0x4c01;
const GET_STATUS64: Opcode = 0x4c05;
const CONFIGURE: Opcode = 0x4c0a;
const CTL_GET_FREE: Opcode = 0x4c82;

/// What `lo_file_name` begins with when the device is ours.
const MARK: &[u8] = b"wrenn-";

#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct LoopInfo64 {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

#[repr(C)]
#[derive(Debug)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo64,
    reserved: [u64; 8],
}

const _: () = assert!(size_of::<LoopInfo64>() == 232 && offset_of!(LoopInfo64, file_name) == 56);
const _: () = assert!(size_of::<LoopConfig>() == 304 && offset_of!(LoopConfig, info) == 8);

const EMPTY: LoopInfo64 = LoopInfo64 {
    device: 0,
    inode: 0,
    rdevice: 0,
    offset: 0,
    size_limit: 0,
    number: 0,
    encrypt_type: 0,
    encrypt_key_size: 0,
    flags: 0,
    file_name: [0; 64],
    crypt_name: [0; 64],
    encrypt_key: [0; 32],
    init: [0; 2],
};

/// What we read of a bound device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Status {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) is_ours: bool,
}

/// The number of a loop device that was free a moment ago.
pub(super) fn get_free(control: &File) -> Result<u32, Errno> {
    // SAFETY: LOOP_CTL_GET_FREE takes no argument and answers by its return value.
    unsafe { ioctl::ioctl(control, GetFree) }
}

/// Binds `backing` to the device, all settings in one step; EBUSY if it is bound already.
pub(super) fn configure(device: &File, backing: &File, access: Access) -> Result<(), Errno> {
    let (flags, name) = match access {
        Access::ReadOnlyCached => (READ_ONLY, b"wrenn-base".as_slice()),
        Access::ReadWriteDirect => (DIRECT_IO, b"wrenn-cow".as_slice()),
    };
    let mut info = LoopInfo64 { flags, ..EMPTY };
    info.file_name[..name.len()].copy_from_slice(name);
    let fd = backing.as_fd().as_raw_fd() as u32;
    let config = LoopConfig {
        fd,
        block_size: 0,
        info,
        reserved: [0; 8],
    };
    // SAFETY: LOOP_CONFIGURE reads one `struct loop_config`, whose layout is asserted above.
    unsafe { ioctl::ioctl(device, Setter::<CONFIGURE, LoopConfig>::new(config)) }
}

/// What the device is bound to; ENXIO if to nothing.
pub(super) fn status(device: &File) -> Result<Status, Errno> {
    let mut info = EMPTY;
    // SAFETY: LOOP_GET_STATUS64 writes one `struct loop_info64`, whose layout is asserted above.
    unsafe { ioctl::ioctl(device, Updater::<GET_STATUS64, LoopInfo64>::new(&mut info)) }?;
    Ok(Status {
        device: info.device,
        inode: info.inode,
        is_ours: info.file_name.starts_with(MARK),
    })
}

/// Unbinds the device; while others have it open the kernel does so at the last close.
pub(super) fn clear(device: &File) -> Result<(), Errno> {
    // SAFETY: LOOP_CLR_FD takes no argument.
    unsafe { ioctl::ioctl(device, NoArg::<CLR_FD>::new()) }
}

struct GetFree;

// SAFETY: the opcode takes no argument; the kernel answers with a device number as the return value.
unsafe impl Ioctl for GetFree {
    type Output = u32;
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        CTL_GET_FREE
    }

    fn as_ptr(&mut self) -> *mut rustix::ffi::c_void {
        std::ptr::null_mut()
    }

    unsafe fn output_from_ptr(
        output: IoctlOutput,
        _: *mut rustix::ffi::c_void,
    ) -> rustix::io::Result<u32> {
        u32::try_from(output).map_err(|_| Errno::INVAL)
    }
}
