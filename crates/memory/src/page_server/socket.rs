//! The socket on which one VM connects.
//!
//! It takes its place by a rename, when it listens already and belongs to whom it should: who sees it can connect.
//! Its file goes when this is dropped, so nobody connects a second time.

use std::{
    fs,
    io::{self, ErrorKind},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    time::Instant,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{AtFlags, CWD, Gid, Mode, Uid, chmodat, chownat},
    io::retry_on_intr,
    net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen,
        socket_with,
    },
};

/// A socket that listens.
#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    path: PathBuf,
}

impl Socket {
    /// Listens at `path`, for `owner` only; what was there before is replaced.
    pub(super) fn publish(path: &Path, owner: Option<(u32, u32)>) -> io::Result<Self> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let early = path.with_file_name(name);
        match fs::remove_file(&early) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {} // of a server that was killed
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        bind(&fd, &SocketAddrUnix::new(&early)?)?;
        // From here on there is a file, and an owner that removes it.
        let mut socket = Self { fd, path: early };
        chmodat(
            CWD,
            &socket.path,
            Mode::from_raw_mode(0o600),
            AtFlags::empty(),
        )?;
        if let Some((user, group)) = owner {
            let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            chownat(CWD, &socket.path, Some(user), Some(group), flags)?;
        }
        listen(&socket.fd, 1)?;
        fs::rename(&socket.path, path)?;
        path.clone_into(&mut socket.path);
        Ok(socket)
    }

    /// Waits for a VM.
    pub(super) fn accept(&self, deadline: Instant) -> io::Result<OwnedFd> {
        wait_readable(&self.fd, deadline)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        Ok(retry_on_intr(|| accept_with(&self.fd, flags))?)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Who started us sweeps the directory when the VM is gone.
        let _ = fs::remove_file(&self.path);
    }
}

/// Waits until there is something to read, or an end.
pub(super) fn wait_readable(fd: impl AsFd, deadline: Instant) -> io::Result<()> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // Deadlines are seconds away.
        let left = Timespec::try_from(left).ok();
        let mut fds = [PollFd::new(&fd, PollFlags::IN)];
        match retry_on_intr(|| poll(&mut fds, left.as_ref()))? {
            0 if Instant::now() >= deadline => return Err(ErrorKind::TimedOut.into()),
            0 => {}
            _ => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::{fs::MetadataExt, net::UnixStream},
        time::Duration,
    };

    use super::*;

    #[test]
    fn it_appears_ready_for_its_owner_and_goes_when_it_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        for leftover in ["socket", "socket.new"] {
            fs::write(
                directory.path().join(leftover),
                "of a server that was killed",
            )
            .unwrap();
        }
        let socket = Socket::publish(&path, Some((7, 8))).unwrap();
        let metadata = fs::metadata(&path).unwrap();
        let (mode, user, group) = (metadata.mode(), metadata.uid(), metadata.gid());
        assert_eq!((mode & 0o7777, user, group), (0o600, 7, 8));
        let _vm = UnixStream::connect(&path).unwrap();
        socket.accept(Instant::now()).unwrap();
        drop(socket);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn nobody_is_waited_for_beyond_the_deadline() {
        let directory = tempfile::tempdir().unwrap();
        let socket = Socket::publish(&directory.path().join("socket"), None).unwrap();
        let late = socket.accept(Instant::now() + Duration::from_millis(5));
        assert_eq!(late.unwrap_err().kind(), ErrorKind::TimedOut);
        let nowhere = Socket::publish(&directory.path().join("no/socket"), None);
        assert_eq!(nowhere.unwrap_err().kind(), ErrorKind::NotFound);
    }
}
