//! The kernel's dm ioctl layout (`linux/dm-ioctl.h`, interface 4), encoded field by field.
//!
//! The C structs exist here only so that the compiler checks their sizes and gives the offsets;
//! buffers are plain bytes, so no reply is ever reinterpreted as a struct.

use std::fs::File;
use std::mem::offset_of;

use rustix::io::Errno;
use rustix::ioctl::{self, Ioctl, IoctlOutput, Opcode};

use super::table::{Mode, Table};
use crate::DeviceName;

/// Flag bits of `struct dm_ioctl`.
pub(super) const READ_ONLY: u32 = 1 << 0;
pub(super) const SUSPEND: u32 = 1 << 1;
pub(super) const BUFFER_FULL: u32 = 1 << 8;

const NAME_LENGTH: usize = 128;
const IOCTL_GROUP: u8 = 0xfd;
/// The interface version we were written against; the kernel accepts any minor of major 4.
const VERSION: [u32; 3] = [4, 0, 0];

#[repr(C)]
struct DmIoctl {
    version: [u32; 3],
    data_size: u32,
    data_start: u32,
    target_count: u32,
    open_count: i32,
    flags: u32,
    event_nr: u32,
    padding: u32,
    dev: u64,
    name: [u8; NAME_LENGTH],
    uuid: [u8; 129],
    data: [u8; 7],
}

#[repr(C)]
struct DmTargetSpec {
    sector_start: u64,
    length: u64,
    status: i32,
    next: u32,
    target_type: [u8; 16],
}

pub(super) const HEADER: usize = size_of::<DmIoctl>();
pub(super) const TARGET_SPEC: usize = size_of::<DmTargetSpec>();
/// Where a target's kind stands in its spec.
pub(super) const TARGET_KIND: usize = offset_of!(DmTargetSpec, target_type);
const _: () =
    assert!(HEADER == 312 && offset_of!(DmIoctl, name) == 48 && offset_of!(DmIoctl, dev) == 40);
const _: () = assert!(TARGET_SPEC == 40 && TARGET_KIND == 24);

/// The ioctls in use, by their number in the kernel's command list.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(super) enum Command {
    List = 2,
    Create = 3,
    Remove = 4,
    Suspend = 6,
    Status = 7,
    Load = 9,
    Deps = 11,
    TableStatus = 12,
}

impl Command {
    pub(super) fn action(self) -> &'static str {
        match self {
            Self::List => "list devices",
            Self::Create => "create",
            Self::Remove => "remove",
            Self::Suspend => "suspend or resume",
            Self::Status => "get the state of",
            Self::Load => "load the table of",
            Self::Deps => "get the dependencies of",
            Self::TableStatus => "get the table status of",
        }
    }

    const fn opcode(self) -> Opcode {
        ioctl::opcode::read_write::<DmIoctl>(IOCTL_GROUP, self as u8)
    }
}

/// One request and, after [`Packet::exchange`], its reply.
#[derive(Debug)]
pub(super) struct Packet {
    bytes: Vec<u8>,
}

impl Packet {
    pub(super) fn anonymous() -> Self {
        let mut packet = Self {
            bytes: vec![0; HEADER],
        };
        for (i, word) in VERSION.into_iter().enumerate() {
            packet.put(offset_of!(DmIoctl, version) + 4 * i, &word.to_ne_bytes());
        }
        packet.put(
            offset_of!(DmIoctl, data_start),
            &(HEADER as u32).to_ne_bytes(),
        );
        packet.seal_size();
        packet
    }

    pub(super) fn named(name: &DeviceName) -> Self {
        let mut packet = Self::anonymous();
        // DeviceName is at most 106 bytes, so a terminating zero always remains.
        packet.put(offset_of!(DmIoctl, name), name.as_str().as_bytes());
        packet
    }

    pub(super) fn set_flags(&mut self, flags: u32) {
        self.put(offset_of!(DmIoctl, flags), &flags.to_ne_bytes());
    }

    /// Appends the targets of `table`, each spec followed by its parameters and padded to 8 bytes.
    pub(super) fn set_table(&mut self, table: &Table) {
        if table.mode == Mode::ReadOnly {
            self.set_flags(READ_ONLY);
        }
        self.put(
            offset_of!(DmIoctl, target_count),
            &(table.targets.len() as u32).to_ne_bytes(),
        );
        for target in &table.targets {
            let parameters = target.parameters.as_bytes();
            let length = (TARGET_SPEC + parameters.len() + 1).next_multiple_of(8);
            let start = self.bytes.len();
            self.bytes.resize(start + length, 0);
            self.put(
                start + offset_of!(DmTargetSpec, sector_start),
                &target.start.to_ne_bytes(),
            );
            self.put(
                start + offset_of!(DmTargetSpec, length),
                &target.length.to_ne_bytes(),
            );
            self.put(
                start + offset_of!(DmTargetSpec, next),
                &(length as u32).to_ne_bytes(),
            );
            self.put(start + TARGET_KIND, target.kind.as_bytes());
            self.put(start + TARGET_SPEC, parameters);
        }
        self.seal_size();
    }

    /// Adds `room` bytes for a reply.
    pub(super) fn make_room(&mut self, room: usize) {
        self.bytes.resize(self.bytes.len() + room, 0);
        self.seal_size();
    }

    pub(super) fn exchange(&mut self, control: &File, command: Command) -> Result<(), Errno> {
        // SAFETY: the buffer is exactly `data_size` bytes long (seal_size), which is the bound the kernel
        // reads and writes within; it lives across the call.
        unsafe {
            ioctl::ioctl(
                control,
                Exchange {
                    opcode: command.opcode(),
                    bytes: &mut self.bytes,
                },
            )
        }
    }

    pub(super) fn device(&self) -> u64 {
        let at = offset_of!(DmIoctl, dev);
        u64::from_ne_bytes(
            self.bytes[at..at + 8]
                .try_into()
                .expect("eight bytes of the fixed header"),
        )
    }

    pub(super) fn has_flag(&self, flag: u32) -> bool {
        self.word(offset_of!(DmIoctl, flags)) & flag != 0
    }

    /// The reply after the header; bounds that do not fit the buffer give nothing.
    pub(super) fn payload(&self) -> &[u8] {
        let start = self.word(offset_of!(DmIoctl, data_start)) as usize;
        let end = (self.word(offset_of!(DmIoctl, data_size)) as usize).min(self.bytes.len());
        self.bytes.get(start..end).unwrap_or_default()
    }

    fn word(&self, at: usize) -> u32 {
        u32::from_ne_bytes(
            self.bytes[at..at + 4]
                .try_into()
                .expect("four bytes of the fixed header"),
        )
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn seal_size(&mut self) {
        let size = self.bytes.len() as u32;
        self.put(offset_of!(DmIoctl, data_size), &size.to_ne_bytes());
    }
}

struct Exchange<'a> {
    opcode: Opcode,
    bytes: &'a mut [u8],
}

// SAFETY: every dm command reads and writes a buffer that begins with `struct dm_ioctl` and is bounded by its
// `data_size`; `Packet` keeps that field equal to the buffer's length.
unsafe impl Ioctl for Exchange<'_> {
    type Output = ();
    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        self.opcode
    }

    fn as_ptr(&mut self) -> *mut rustix::ffi::c_void {
        self.bytes.as_mut_ptr().cast()
    }

    unsafe fn output_from_ptr(
        _: IoctlOutput,
        _: *mut rustix::ffi::c_void,
    ) -> rustix::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opcodes_are_those_of_the_kernel_headers() {
        // _IOWR(0xfd, n, struct dm_ioctl) with a size of 0x138.
        assert_eq!(Command::List.opcode(), 0xc138_fd02);
        assert_eq!(Command::TableStatus.opcode(), 0xc138_fd0c);
    }

    #[test]
    fn a_table_is_laid_out_with_aligned_specs_that_name_their_successor() {
        let name = DeviceName::new("x").unwrap();
        let mut packet = Packet::named(&name);
        packet.set_table(&Table::grown(
            crate::DeviceNumber { major: 7, minor: 3 },
            100,
            300,
        ));
        assert_eq!(packet.word(offset_of!(DmIoctl, target_count)), 2);
        assert!(packet.has_flag(READ_ONLY));
        assert_eq!(
            packet.word(offset_of!(DmIoctl, data_size)) as usize,
            packet.bytes.len()
        );
        let first = &packet.payload()[..TARGET_SPEC + 6];
        assert_eq!(&first[24..31], b"linear\0");
        assert_eq!(&first[40..46], b"7:3 0\0");
        let next = u32::from_ne_bytes(first[20..24].try_into().unwrap()) as usize;
        assert_eq!(next % 8, 0);
        let second = &packet.payload()[next..];
        assert_eq!(u64::from_ne_bytes(second[0..8].try_into().unwrap()), 100);
        assert_eq!(u64::from_ne_bytes(second[8..16].try_into().unwrap()), 200);
        assert_eq!(&second[24..29], b"zero\0");
    }
}
