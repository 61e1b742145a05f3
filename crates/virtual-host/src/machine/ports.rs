//! Ports of 127.0.0.1 that lead into the machine.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use crate::FileError;

/// The machine's forwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ports {
    pub(crate) agent: u16,
    pub(crate) ssh: u16,
}

impl Ports {
    /// Free ports: those of `last` time where they still are.
    ///
    /// Nothing reserves them until QEMU has them; who starts QEMU tries again with others.
    pub(crate) fn pick(last: Option<(u16, u16)>) -> Result<Self, FileError> {
        let (agent, ssh) = last.unwrap_or((0, 0));
        let (agent, ssh) = (listen(agent)?, listen(ssh)?);
        let port = |listener: &TcpListener| listener.local_addr().map(|a| a.port());
        let failed = FileError::at("asking for a port of", Path::new("127.0.0.1"));
        Ok(Self {
            agent: port(&agent).map_err(&failed)?,
            ssh: port(&ssh).map_err(&failed)?,
        })
    }
}

fn listen(port: u16) -> Result<TcpListener, FileError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .map_err(FileError::at("listening on", Path::new("127.0.0.1")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_kept_while_free_and_changed_when_taken() {
        let first = Ports::pick(None).unwrap();
        assert_ne!(first.agent, first.ssh);
        assert_eq!(Ports::pick(Some((first.agent, first.ssh))).unwrap(), first);
        let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, first.agent)).unwrap();
        let second = Ports::pick(Some((first.agent, first.ssh))).unwrap();
        assert_ne!(second.agent, first.agent);
        assert_eq!(second.ssh, first.ssh);
    }
}
