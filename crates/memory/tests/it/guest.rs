//! What plays Firecracker: memory of the test itself, registered with a userfaultfd, and a process that hands it to
//! the page server and whose end is the end of the VM.

use std::{
    fmt::Write as _,
    io::{self, IoSlice},
    mem::MaybeUninit,
    ops::Range,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::Path,
    process::{Child, Command, Stdio},
    ptr,
};

use rustix::{
    cmsg_space,
    ioctl::{Opcode, Updater, ioctl, opcode},
    mm::{
        Advice, MapFlags, ProtFlags, UserfaultfdFlags, madvise, mmap_anonymous, munmap, userfaultfd,
    },
    net::{
        AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
        SocketType, connect, sendmsg, socket,
    },
};
use wrenn_memory::PAGE_BYTES;

use crate::snapshot::WORDS;

/// `struct uffdio_api`.
#[repr(C)]
struct Api {
    api: u64,
    features: u64,
    ioctls: u64,
}

/// `struct uffdio_register`.
#[repr(C)]
struct Register {
    start: u64,
    len: u64,
    mode: u64,
    ioctls: u64,
}

const API: Opcode = opcode::read_write::<Api>(0xaa, 0x3f);
const REGISTER: Opcode = opcode::read_write::<Register>(0xaa, 0x00);
const _: () = assert!(API == 0xc018_aa3f && REGISTER == 0xc020_aa00);
const FEATURE_EVENT_REMOVE: u64 = 1 << 3;
const MODE_MISSING: u64 = 1;

/// A userfaultfd as Firecracker makes it.
pub(crate) fn new_userfaultfd() -> OwnedFd {
    let flags = UserfaultfdFlags::CLOEXEC | UserfaultfdFlags::NONBLOCK;
    // SAFETY: of the memory that is registered with it nobody holds references.
    let uffd = unsafe { userfaultfd(flags) }.unwrap();
    let mut api = Api {
        api: 0xaa,
        features: FEATURE_EVENT_REMOVE,
        ioctls: 0,
    };
    // SAFETY: API takes this struct.
    unsafe { ioctl(&uffd, Updater::<API, _>::new(&mut api)) }.unwrap();
    uffd
}

/// Memory of a guest, in two regions, the second part of it first.
pub(crate) struct Guest {
    start: *mut u8,
    length: u64,
    pages: u64,
    /// Until it is served: then it is the server's alone, and when that ends nobody waits for pages any more.
    uffd: Option<OwnedFd>,
    process: Option<Process>,
}

// SAFETY: the pages are accessed by volatile reads and writes of words, by threads that each have their own.
unsafe impl Sync for Guest {}

/// Pages between the two regions.
const GAP: u64 = 3;

impl Guest {
    pub(crate) fn new(pages: u64) -> Self {
        let length = (pages + GAP) * PAGE_BYTES;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe { mmap_anonymous(ptr::null_mut(), length as usize, protection, flags) };
        let guest = Self {
            start: start.unwrap().cast(),
            length,
            pages,
            uffd: Some(new_userfaultfd()),
            process: None,
        };
        for region in guest.regions() {
            let mut register = Register {
                start: guest.address(region.start) as u64,
                len: (region.end - region.start) * PAGE_BYTES,
                mode: MODE_MISSING,
                ioctls: 0,
            };
            // SAFETY: REGISTER takes this struct, and the range is ours.
            let registered =
                unsafe { ioctl(guest.uffd(), Updater::<REGISTER, _>::new(&mut register)) };
            registered.unwrap();
        }
        guest
    }

    /// A guest that `socket` serves.
    pub(crate) fn connected(pages: u64, socket: &Path) -> Self {
        let mut guest = Self::new(pages);
        let message = guest.message();
        guest.process = Some(Process::start(socket, &[&message], &[guest.uffd()]));
        guest.uffd = None;
        guest
    }

    pub(crate) fn uffd(&self) -> BorrowedFd<'_> {
        self.uffd.as_ref().unwrap().as_fd()
    }

    fn regions(&self) -> [Range<u64>; 2] {
        let first = self.pages / 3;
        [0..first, first..self.pages]
    }

    /// What Firecracker says of them.
    pub(crate) fn message(&self) -> String {
        let mut text = String::from("[");
        for (pages, comma) in self.regions().into_iter().zip([",", "]"]) {
            let address = self.address(pages.start) as u64;
            let size = (pages.end - pages.start) * PAGE_BYTES;
            let offset = pages.start * PAGE_BYTES;
            write!(
                text,
                r#"{{"base_host_virt_addr":{address},"size":{size},"offset":{offset},"page_size":4096,"page_size_kib":4096}}{comma}"#
            )
            .unwrap();
        }
        text
    }

    /// Where a page is.
    fn address(&self, page: u64) -> *mut u8 {
        let [first, second] = self.regions();
        let at = if first.contains(&page) {
            page + GAP + (second.end - second.start)
        } else {
            page - second.start
        };
        assert!(page < self.pages);
        // SAFETY: within the mapping.
        unsafe { self.start.add((at * PAGE_BYTES) as usize) }
    }

    pub(crate) fn read(&self, page: u64, word: u64) -> u64 {
        assert!(word < WORDS);
        let address = self.address(page).cast::<u64>();
        // SAFETY: within the mapping, aligned, and without references to it.
        unsafe { address.add(word as usize).read_volatile() }
    }

    pub(crate) fn write(&self, page: u64, word: u64, value: u64) {
        assert!(word < WORDS);
        let address = self.address(page).cast::<u64>();
        // SAFETY: as in `read`.
        unsafe { address.add(word as usize).write_volatile(value) }
    }

    /// Gives pages back, as the balloon does; they do not cross the regions' border.
    pub(crate) fn give_back(&self, pages: Range<u64>) {
        let length = (pages.end - pages.start) * PAGE_BYTES;
        let address = self.address(pages.start).cast();
        // SAFETY: within the mapping, to which there are no references.
        unsafe { madvise(address, length as usize, Advice::LinuxDontNeed) }.unwrap();
    }

    /// Ends the process of the VM.
    pub(crate) fn end(&mut self) {
        self.process = None;
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // SAFETY: our mapping, to which there are no references.
        unsafe { munmap(self.start.cast(), self.length as usize) }.unwrap();
    }
}

/// A process that has connected and lives for a minute, which ends any test; killed when it is dropped.
pub(crate) struct Process(Child);

impl Process {
    /// Sends the pieces of a message, the descriptors with the first.
    pub(crate) fn start(socket_path: &Path, pieces: &[&str], fds: &[BorrowedFd<'_>]) -> Self {
        let address = SocketAddrUnix::new(socket_path).unwrap();
        let pieces: Vec<Vec<u8>> = pieces
            .iter()
            .map(|piece| piece.as_bytes().to_vec())
            .collect();
        let fds: Vec<OwnedFd> = fds
            .iter()
            .map(|fd| fd.try_clone_to_owned().unwrap())
            .collect();
        let send = move || {
            let stream = socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
            connect(&stream, &address)?;
            for (at, piece) in pieces.iter().enumerate() {
                let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(8))];
                let mut control = SendAncillaryBuffer::new(&mut space);
                let mut borrowed = [stream.as_fd(); 8];
                for (slot, fd) in borrowed.iter_mut().zip(&fds) {
                    *slot = fd.as_fd();
                }
                let borrowed = &borrowed[..if at == 0 { fds.len() } else { 0 }];
                if !borrowed.is_empty() {
                    control.push(SendAncillaryMessage::ScmRights(borrowed));
                }
                let mut rest = &piece[..];
                while !rest.is_empty() {
                    let part = [IoSlice::new(rest)];
                    match sendmsg(&stream, &part, &mut control, SendFlags::NOSIGNAL) {
                        Ok(sent) => rest = &rest[sent..],
                        Err(rustix::io::Errno::PIPE) => break, // it had heard enough
                        Err(error) => return Err(error.into()),
                    }
                    control.clear();
                }
            }
            // As in Firecracker, the connection stays open as long as the process.
            std::mem::forget(stream);
            Ok::<_, io::Error>(())
        };
        let mut command = Command::new("/bin/sleep");
        command.arg("60").stdin(Stdio::null());
        // SAFETY: only system calls between fork and exec, and no allocation.
        unsafe { command.pre_exec(send) };
        Self(command.spawn().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}
