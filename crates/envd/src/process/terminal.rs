//! The terminal of a process, from its master side: what the program prints, what a person types, how large
//! the window is.
//!
//! The kernel ends it when the last user of the other side is gone, or the leader of its session: reading
//! then fails with EIO, which is its end of file.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use rustix::{
    buffer::spare_capacity,
    fs::{Gid, Mode, Uid},
    pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::timeout,
};

use super::{
    command::Size,
    leader::watched,
    stdin::{InputError, WRITE_TIME},
};
use crate::users::User;

const CHUNK: usize = 16 << 10;
/// Owner reads and writes, the group of terminals writes: what programs like `write` expect.
const MODE: u32 = 0o620;

type Master = Arc<AsyncFd<OwnedFd>>;

#[derive(Debug)]
pub(super) struct Terminal {
    /// Absent when it is closed.
    master: Mutex<Option<Master>>,
    /// One writer at a time, so that what two people paste is not mixed.
    writing: tokio::sync::Mutex<()>,
}

impl Terminal {
    /// Makes a terminal of this size that belongs to `user`; also its other side, for the child.
    pub(super) fn open(size: Size, user: &User) -> io::Result<(Self, OwnedFd)> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags)?;
        unlockpt(&master)?;
        let other = ioctl_tiocgptpeer(&master, flags)?;
        rustix::fs::fchown(&other, Some(Uid::from_raw(user.uid)), None::<Gid>)?;
        rustix::fs::fchmod(&other, Mode::from_raw_mode(MODE))?;
        set_size(&master, size)?;
        rustix::io::ioctl_fionbio(&master, true)?;
        let master = watched(master, Interest::READABLE | Interest::WRITABLE)?;
        let terminal = Self {
            master: Mutex::new(Some(Arc::new(master))),
            writing: tokio::sync::Mutex::new(()),
        };
        Ok((terminal, other))
    }

    /// Sets the size of the window; the program in the foreground gets SIGWINCH.
    pub(super) fn resize(&self, size: Size) -> io::Result<()> {
        set_size(self.master()?.get_ref(), size)
    }

    /// Closes this side, when what is read or written now is done; nobody is on the other any more.
    pub(super) fn close(&self) {
        *self.slot() = None;
    }

    fn master(&self) -> io::Result<Master> {
        self.slot()
            .clone()
            .ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }

    fn slot(&self) -> MutexGuard<'_, Option<Master>> {
        self.master.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next output; nothing at the end. Cancel-safe.
    pub(super) async fn read(&self, buffer: &mut Vec<u8>) -> Option<Bytes> {
        let master = self.master().ok()?;
        loop {
            let mut ready = master.readable().await.ok()?;
            buffer.clear();
            buffer.reserve(CHUNK);
            let read = ready
                .try_io(|master| Ok(rustix::io::read(master.get_ref(), spare_capacity(buffer))?));
            match read {
                Ok(Ok(0) | Err(_)) => return None,
                // A copy, so that a short line does not keep the whole buffer.
                Ok(Ok(_)) => return Some(Bytes::copy_from_slice(buffer)),
                Err(_would_block) => {}
            }
        }
    }

    /// Types all of `bytes`, after what earlier callers type.
    pub(super) async fn write(&self, bytes: &[u8]) -> Result<(), InputError> {
        let write = async {
            let _turn = self.writing.lock().await;
            let master = self.master().map_err(|_| InputError::Closed)?;
            let mut rest = bytes;
            while !rest.is_empty() {
                let ready = master.writable().await;
                let mut ready = ready.map_err(|_| InputError::Closed)?;
                match ready.try_io(|master| Ok(rustix::io::write(master.get_ref(), rest)?)) {
                    Ok(Ok(written)) => rest = rest.get(written..).unwrap_or_default(),
                    Ok(Err(_)) => return Err(InputError::Closed),
                    Err(_would_block) => {}
                }
            }
            Ok(())
        };
        timeout(WRITE_TIME, write)
            .await
            .map_err(|_| InputError::Late)?
    }
}

fn set_size(master: impl AsFd, size: Size) -> io::Result<()> {
    let size = Winsize {
        ws_col: size.columns,
        ws_row: size.rows,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    Ok(tcsetwinsize(master, size)?)
}
