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

    /// A free port below those that the kernel gives away, so that nobody takes it by chance.
    fn quiet_port(from: u16) -> u16 {
        let mut free =
            (from..32_768).filter(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok());
        free.next().unwrap()
    }

    #[test]
    fn ports_are_kept_while_free_and_changed_when_taken() {
        let new = Ports::pick(None).unwrap();
        assert_ne!(new.agent, new.ssh);
        let start = 20_000 + (std::process::id() % 10_000) as u16;
        let agent = quiet_port(start);
        let first = Ports {
            agent,
            ssh: quiet_port(agent + 1),
        };
        assert_eq!(Ports::pick(Some((first.agent, first.ssh))).unwrap(), first);
        let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, first.agent)).unwrap();
        let second = Ports::pick(Some((first.agent, first.ssh))).unwrap();
        assert_ne!(second.agent, first.agent);
        assert_eq!(second.ssh, first.ssh);
    }
}
