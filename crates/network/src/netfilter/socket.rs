//! A blocking netlink socket with a deadline, in the namespace of the thread that opened it.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with,
};

use super::message::{Received, messages};
use crate::{Error, Result};

const ERROR: u16 = 2;
const DONE: u16 = 3;
/// The kernel answers at once; this only bounds a fault.
const DEADLINE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
}

impl Socket {
    pub(super) fn open() -> Result<Self> {
        let failed = |source| Error::Netfilter {
            action: "open a socket",
            source,
        };
        let fd = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(NETFILTER),
        )
        .map_err(failed)?;
        set_socket_timeout(&fd, Timeout::Recv, Some(DEADLINE)).map_err(failed)?;
        Ok(Self { fd })
    }

    /// Sends messages and waits for an acknowledgement of each sequence number in `expected`. The first
    /// refusal is the error.
    pub(super) fn transact(
        &self,
        action: &'static str,
        bytes: &[u8],
        expected: impl IntoIterator<Item = u32>,
    ) -> Result<()> {
        self.send(action, bytes)?;
        let mut expected: BTreeSet<u32> = expected.into_iter().collect();
        let mut refusal = None;
        let mut buffer = vec![0; 64 << 10];
        while !expected.is_empty() {
            for message in self.receive(action, &mut buffer)? {
                if let Some(outcome) = outcome(&message) {
                    expected.remove(&message.sequence);
                    if let Err(source) = outcome {
                        refusal.get_or_insert(source);
                        // Messages of a batch after a refused one may never be acknowledged.
                        expected.retain(|sequence| *sequence < message.sequence);
                    }
                }
            }
        }
        refusal.map_or(Ok(()), |source| Err(Error::Netfilter { action, source }))
    }

    /// Sends a dump request and gives each reply's body to `each`.
    pub(super) fn dump(
        &self,
        action: &'static str,
        bytes: &[u8],
        mut each: impl FnMut(&[u8]),
    ) -> Result<()> {
        self.send(action, bytes)?;
        let mut buffer = vec![0; 64 << 10];
        loop {
            for message in self.receive(action, &mut buffer)? {
                match (message.kind, outcome(&message)) {
                    (DONE, _) => return Ok(()),
                    (_, Some(Err(source))) => return Err(Error::Netfilter { action, source }),
                    (_, Some(Ok(()))) => {}
                    (_, None) => each(message.body),
                }
            }
        }
    }

    fn send(&self, action: &'static str, bytes: &[u8]) -> Result<()> {
        sendto(
            &self.fd,
            bytes,
            SendFlags::empty(),
            &SocketAddrNetlink::new(0, 0),
        )
        .map_err(|source| Error::Netfilter { action, source })?;
        Ok(())
    }

    fn receive<'a>(
        &self,
        action: &'static str,
        buffer: &'a mut Vec<u8>,
    ) -> Result<impl Iterator<Item = Received<'a>>> {
        let (read, _) = recv(&self.fd, buffer.as_mut_slice(), RecvFlags::empty())
            .map_err(|source| Error::Netfilter { action, source })?;
        let datagram = &buffer[..read];
        if messages(datagram).next().is_none() {
            return Err(Error::MalformedReply { action });
        }
        Ok(messages(datagram))
    }
}

/// What an acknowledgement says; `None` for other messages.
fn outcome(message: &Received<'_>) -> Option<Result<(), Errno>> {
    if message.kind != ERROR {
        return None;
    }
    let code = message
        .body
        .get(..4)
        .and_then(|bytes| Some(i32::from_ne_bytes(bytes.try_into().ok()?)));
    Some(match code {
        Some(0) => Ok(()),
        Some(code) => Err(Errno::from_raw_os_error(
            code.checked_neg().unwrap_or(i32::MAX),
        )),
        None => Err(Errno::BADMSG),
    })
}
