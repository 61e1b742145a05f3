//! What Firecracker 1.12 says when it connects: where its guest's memory is, as a JSON array of regions, and with
//! the first byte of that the userfaultfd by which it is filled. It says nothing more and expects no answer.
//!
//! The VM is not trusted: its message has a bound and a deadline, and nothing of it is used before all is checked.

use std::{
    fs, io,
    io::IoSliceMut,
    mem::MaybeUninit,
    os::fd::{AsRawFd, OwnedFd},
    time::Instant,
};

use rustix::{
    cmsg_space,
    event::{PollFd, PollFlags, Timespec, poll},
    io::{Errno, retry_on_intr},
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg,
        sockopt::socket_peercred,
    },
    process::{PidfdFlags, pidfd_open},
};

use super::{
    regions::{Announced, Regions, RegionsError},
    socket::wait_readable,
    uffd::Uffd,
};

/// Bytes of the longest message: many times that of the most regions.
const MAX_BYTES: usize = 16 << 10;

/// Why what connected is not served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// It did not come in time, or the socket failed.
    #[error("cannot receive the regions of memory")]
    Receive(#[source] io::Error),
    /// It ended in the middle.
    #[error("the VM hung up before it had named its memory")]
    Closed,
    /// More than 16 KiB.
    #[error("the message of the VM is too long")]
    TooLong,
    /// Not an array of regions.
    #[error("the message of the VM does not name regions of memory")]
    Json(#[source] serde_json::Error),
    /// The regions are not those of the snapshot's guest.
    #[error("the memory of the VM is not that of the snapshot")]
    Regions(#[from] RegionsError),
    /// There must be one descriptor.
    #[error("the VM sent {0} file descriptors instead of one")]
    Descriptors(usize),
    /// The descriptor is something else.
    #[error("the VM sent a descriptor that is no userfaultfd")]
    NoUserfaultfd,
    /// The process at the other end cannot be watched.
    #[error("cannot watch the process of the VM")]
    Process(#[source] io::Error),
}

/// A VM whose memory is served.
#[derive(Debug)]
pub(super) struct Vm {
    pub(super) regions: Regions,
    pub(super) uffd: Uffd,
    /// Its process; readable when that has ended.
    pub(super) process: OwnedFd,
}

/// Receives what the VM says, which has `pages` pages.
pub(super) fn receive(
    connection: &OwnedFd,
    pages: u64,
    deadline: Instant,
) -> Result<Vm, HandshakeError> {
    let process = process(connection).map_err(HandshakeError::Process)?;
    let (announced, fds) = message(connection, deadline)?;
    let regions = Regions::new(&announced, pages)?;
    let [fd] = <[OwnedFd; 1]>::try_from(fds)
        .map_err(|fds: Vec<_>| HandshakeError::Descriptors(fds.len()))?;
    if !is_userfaultfd(&fd) {
        return Err(HandshakeError::NoUserfaultfd);
    }
    let uffd = Uffd::new(fd).map_err(|error| HandshakeError::Receive(error.into()))?;
    Ok(Vm {
        regions,
        uffd,
        process,
    })
}

/// The process that connected.
fn process(connection: &OwnedFd) -> io::Result<OwnedFd> {
    let pid = socket_peercred(connection)?.pid;
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    // Its number may be another's by now, but not while its end of the connection is open.
    let mut fds = [PollFd::new(connection, PollFlags::RDHUP)];
    let now = Timespec::default();
    match retry_on_intr(|| poll(&mut fds, Some(&now)))? {
        0 => Ok(process),
        _ => Err(Errno::SRCH.into()),
    }
}

fn message(
    connection: &OwnedFd,
    deadline: Instant,
) -> Result<(Vec<Announced>, Vec<OwnedFd>), HandshakeError> {
    let failed = |error: io::Error| HandshakeError::Receive(error);
    let mut text = Vec::new();
    let mut fds = Vec::new();
    loop {
        wait_readable(connection, deadline).map_err(failed)?;
        let mut bytes = [0; 4096];
        // Room for one more than there may be.
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(2))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = retry_on_intr(|| {
            recvmsg(
                connection,
                &mut [IoSliceMut::new(&mut bytes)],
                &mut control,
                RecvFlags::CMSG_CLOEXEC,
            )
        });
        let received = match received {
            Err(Errno::AGAIN) => continue,
            received => received.map_err(|error| failed(error.into()))?,
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        if fds.len() > 1 || received.flags.contains(ReturnFlags::CTRUNC) {
            return Err(HandshakeError::Descriptors(fds.len()));
        }
        if received.bytes == 0 {
            return Err(HandshakeError::Closed);
        }
        text.extend(&bytes[..received.bytes]);
        if text.len() > MAX_BYTES {
            return Err(HandshakeError::TooLong);
        }
        match serde_json::from_slice(&text) {
            Ok(announced) => return Ok((announced, fds)),
            Err(error) if error.is_eof() => {}
            Err(error) => return Err(HandshakeError::Json(error)),
        }
    }
}

fn is_userfaultfd(fd: &OwnedFd) -> bool {
    fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))
        .is_ok_and(|target| target.as_os_str() == "anon_inode:[userfaultfd]")
}

#[cfg(test)]
mod tests {
    use std::{io::Write, os::unix::net::UnixStream, time::Duration};

    use super::*;

    #[test]
    fn who_says_nothing_or_half_is_not_waited_for_beyond_the_deadline() {
        for said in ["", "[{"] {
            let (mut vm, server) = UnixStream::pair().unwrap();
            vm.write_all(said.as_bytes()).unwrap();
            let deadline = Instant::now() + Duration::from_millis(5);
            let refused = receive(&server.into(), 1, deadline);
            assert!(
                matches!(&refused, Err(HandshakeError::Receive(error)) if error.kind() == io::ErrorKind::TimedOut),
                "{refused:?}"
            );
        }
    }
}
