//! The TAP device, made persistent for its VM's user to open.

use std::fs::File;

use rustix::io::Errno;
use rustix::ioctl::{IntegerSetter, Opcode, Setter, ioctl};

use crate::slot::TAP_NAME;
use crate::{Error, Result};

const TUNSETIFF: Opcode = 0x4004_54ca;
const TUNSETPERSIST: Opcode = 0x4004_54cb;
const TUNSETOWNER: Opcode = 0x4004_54cc;

const IFF_TAP: u16 = 0x0002;
const IFF_NO_PI: u16 = 0x1000;
const IFF_VNET_HDR: u16 = 0x4000;

/// `struct ifreq` as far as `TUNSETIFF` reads it.
#[repr(C)]
#[derive(Debug)]
struct InterfaceRequest {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

const _: () = assert!(size_of::<InterfaceRequest>() == 40);

/// Makes [`TAP_NAME`] in this thread's namespace, to be opened by user `owner` (an unprivileged VMM).
pub(crate) fn create(owner: u32) -> Result<()> {
    let node = "/dev/net/tun";
    let tun = File::options()
        .read(true)
        .write(true)
        .open(node)
        .map_err(|source| Error::File {
            action: "open",
            path: node.into(),
            source,
        })?;
    let mut request = InterfaceRequest {
        name: [0; 16],
        flags: IFF_TAP | IFF_NO_PI | IFF_VNET_HDR,
        rest: [0; 22],
    };
    request.name[..TAP_NAME.len()].copy_from_slice(TAP_NAME.as_bytes());
    let failed = |action| move |source: Errno| Error::Tap { action, source };
    // SAFETY: TUNSETIFF reads (and may write the name back into) one `struct ifreq`, whose size is asserted.
    unsafe { ioctl(&tun, Setter::<TUNSETIFF, InterfaceRequest>::new(request)) }
        .map_err(failed("create the"))?;
    // SAFETY: TUNSETOWNER takes the user id as its argument itself, not a pointer.
    unsafe {
        ioctl(
            &tun,
            IntegerSetter::<TUNSETOWNER>::new_usize(owner as usize),
        )
    }
    .map_err(failed("set the owner of the"))?;
    // SAFETY: TUNSETPERSIST takes its flag as the argument itself, not a pointer.
    unsafe { ioctl(&tun, IntegerSetter::<TUNSETPERSIST>::new_usize(1)) }.map_err(failed("keep the"))
}
