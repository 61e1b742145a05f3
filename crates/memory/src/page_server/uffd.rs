//! The kernel's userfaultfd (`linux/userfaultfd.h`): messages out of it, pages into the memory behind it.
//!
//! It takes addresses of the other process, so nothing done here can touch this one's memory. The kernel reads
//! the source of a copy: where that cannot be read, the copy fails and nobody gets a signal.

use std::{mem::offset_of, ops::Range, os::fd::OwnedFd};

use rustix::{
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    io::{Errno, read, retry_on_intr},
    ioctl::{Opcode, Updater, ioctl, opcode},
};

use super::layers::Content;
use crate::PAGE_BYTES;

#[repr(C)]
struct UffdioRange {
    start: u64,
    len: u64,
}

#[repr(C)]
struct UffdioCopy {
    dst: u64,
    src: u64,
    len: u64,
    mode: u64,
    copy: i64,
}

#[repr(C)]
struct UffdioZeropage {
    range: UffdioRange,
    mode: u64,
    zeropage: i64,
}

/// `struct uffd_msg` of a fault and of a removal; the union ends where the longest of both does.
#[repr(C)]
struct FaultMessage {
    event: u8,
    reserved: [u8; 7],
    flags: u64,
    address: u64,
    ptid: u32,
    padding: u32,
}

#[repr(C)]
struct RemoveMessage {
    event: u8,
    reserved: [u8; 7],
    start: u64,
    end: u64,
    padding: u64,
}

const GROUP: u8 = 0xaa;
/// The ioctls in use.
pub(super) const WAKE: Opcode = opcode::read::<UffdioRange>(GROUP, 0x02);
pub(super) const COPY: Opcode = opcode::read_write::<UffdioCopy>(GROUP, 0x03);
pub(super) const ZEROPAGE: Opcode = opcode::read_write::<UffdioZeropage>(GROUP, 0x04);
const _: () = assert!(WAKE == 0x8010_aa02 && COPY == 0xc028_aa03 && ZEROPAGE == 0xc020_aa04);
const _: () = assert!(offset_of!(UffdioCopy, copy) == 32 && offset_of!(UffdioZeropage, mode) == 16);

const MESSAGE: usize = size_of::<FaultMessage>();
const ADDRESS: usize = offset_of!(FaultMessage, address);
const FLAGS: usize = offset_of!(FaultMessage, flags);
const START: usize = offset_of!(RemoveMessage, start);
const END: usize = offset_of!(RemoveMessage, end);
const _: () = assert!(MESSAGE == 32 && size_of::<RemoveMessage>() == MESSAGE);
const _: () = assert!(FLAGS == 8 && ADDRESS == 16 && START == 8 && END == 16);

const EVENT_PAGEFAULT: u8 = 0x12;
const EVENT_REMOVE: u8 = 0x15;
/// Of a fault: a protected page was written; a page is in the file but not mapped. Neither is a missing page.
const FLAGS_NOT_MISSING: u64 = 0b110;

/// Messages taken at once.
const MESSAGES: usize = 64;

/// What the kernel tells.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// A thread waits for the page of this address.
    Fault(u64),
    /// These addresses are given back: they read as zeros from now on.
    Removed(Range<u64>),
    /// Something that was not asked for, by its number.
    Unexpected(u8),
}

/// What became of pages that were to be filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filled {
    /// So many are, at least one; who waited for them goes on.
    Pages(u64),
    /// The first is there already.
    Present,
    /// None: a removal is about to be told, or just was, and is not done yet.
    Changing,
    /// None: the process has ended.
    Gone,
}

/// Another process's userfaultfd.
#[derive(Debug)]
pub(super) struct Uffd(OwnedFd);

impl Uffd {
    /// Takes it over; from now on reading it does not block.
    pub(super) fn new(fd: OwnedFd) -> Result<Self, Errno> {
        fcntl_setfl(&fd, fcntl_getfl(&fd)? | OFlags::NONBLOCK)?;
        Ok(Self(fd))
    }

    pub(super) fn fd(&self) -> &OwnedFd {
        &self.0
    }

    /// The messages that are there, a bounded number.
    pub(super) fn messages(&self) -> Result<Vec<Message>, Errno> {
        let mut bytes = [0; MESSAGES * MESSAGE];
        let length = match retry_on_intr(|| read(&self.0, &mut bytes)) {
            Err(Errno::AGAIN) => 0,
            length => length?,
        };
        let (messages, _) = bytes[..length].as_chunks::<MESSAGE>();
        Ok(messages.iter().map(message).collect())
    }

    /// Fills `pages` pages from the address `to` on with `content`.
    pub(super) fn fill(&self, to: u64, pages: u64, content: Content<'_>) -> Result<Filled, Errno> {
        match content {
            Content::Zero => self.zero(to, pages),
            Content::Bytes(bytes) => {
                debug_assert_eq!(bytes.bytes(), pages * PAGE_BYTES);
                self.copy(to, bytes.address(), bytes.bytes())
            }
        }
    }

    fn copy(&self, dst: u64, src: u64, len: u64) -> Result<Filled, Errno> {
        let mut request = UffdioCopy {
            dst,
            src,
            len,
            mode: 0,
            copy: 0,
        };
        // SAFETY: COPY takes this struct. The kernel reads `len` bytes at `src`, with checks of its own, and writes
        // only to the memory behind the descriptor, which is not ours.
        let result = unsafe { ioctl(&self.0, Updater::<COPY, _>::new(&mut request)) };
        filled(result, len, request.copy)
    }

    fn zero(&self, start: u64, pages: u64) -> Result<Filled, Errno> {
        let len = pages * PAGE_BYTES;
        let mut request = UffdioZeropage {
            range: UffdioRange { start, len },
            mode: 0,
            zeropage: 0,
        };
        // SAFETY: ZEROPAGE takes this struct, and changes only the memory behind the descriptor, which is not ours.
        let result = unsafe { ioctl(&self.0, Updater::<ZEROPAGE, _>::new(&mut request)) };
        filled(result, len, request.zeropage)
    }

    /// Lets those go on who wait for the page at this address.
    pub(super) fn wake(&self, start: u64) -> Result<(), Errno> {
        let mut range = UffdioRange {
            start,
            len: PAGE_BYTES,
        };
        // SAFETY: WAKE takes this struct and touches no memory.
        unsafe { ioctl(&self.0, Updater::<WAKE, _>::new(&mut range)) }
    }
}

fn message(bytes: &[u8; MESSAGE]) -> Message {
    let number = |at: usize| {
        let mut number = [0; 8];
        number.copy_from_slice(&bytes[at..at + 8]);
        u64::from_ne_bytes(number)
    };
    match bytes[0] {
        EVENT_PAGEFAULT if number(FLAGS) & FLAGS_NOT_MISSING == 0 => {
            Message::Fault(number(ADDRESS))
        }
        EVENT_REMOVE => Message::Removed(number(START)..number(END)),
        other => Message::Unexpected(other),
    }
}

/// What the kernel's answer means: it says EAGAIN both when it stopped half-way, with `done` bytes, and when it did
/// not begin.
fn filled(result: Result<(), Errno>, len: u64, done: i64) -> Result<Filled, Errno> {
    match (result, u64::try_from(done).unwrap_or(0) / PAGE_BYTES) {
        (Ok(()), _) => Ok(Filled::Pages(len / PAGE_BYTES)),
        (Err(Errno::AGAIN), 0) => Ok(Filled::Changing),
        (Err(Errno::AGAIN), pages) => Ok(Filled::Pages(pages)),
        (Err(Errno::EXIST), _) => Ok(Filled::Present),
        (Err(Errno::SRCH), _) => Ok(Filled::Gone),
        (Err(error), _) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_and_what_was_not_asked_for_is_told() {
        let check = |event: u8, first: u64, second: u64, expected| {
            let mut bytes = [0xee; MESSAGE];
            bytes[0] = event;
            bytes[8..16].copy_from_slice(&first.to_ne_bytes());
            bytes[16..24].copy_from_slice(&second.to_ne_bytes());
            assert_eq!(message(&bytes), expected);
        };
        check(0x12, 0, 0x7000, Message::Fault(0x7000));
        check(0x12, 1, 0x7000, Message::Fault(0x7000));
        check(0x12, 2, 0x7000, Message::Unexpected(0x12));
        check(0x12, 4, 0x7000, Message::Unexpected(0x12));
        check(0x15, 0x1000, 0x3000, Message::Removed(0x1000..0x3000));
        check(0x13, 9, 0, Message::Unexpected(0x13));
    }

    #[test]
    fn an_answer_of_the_kernel_is_understood() {
        let check = |result, done, expected| assert_eq!(filled(result, 8192, done), expected);
        check(Ok(()), 8192, Ok(Filled::Pages(2)));
        check(Err(Errno::AGAIN), 4096, Ok(Filled::Pages(1)));
        check(Err(Errno::AGAIN), 0, Ok(Filled::Changing));
        check(Err(Errno::AGAIN), -11, Ok(Filled::Changing));
        check(Err(Errno::EXIST), -17, Ok(Filled::Present));
        check(Err(Errno::SRCH), 0, Ok(Filled::Gone));
        check(Err(Errno::FAULT), -14, Err(Errno::FAULT));
    }
}
