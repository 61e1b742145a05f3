//! Ports and names.

use std::net::{SocketAddr, TcpListener, ToSocketAddrs};

use super::{Check, Group};
use crate::{
    error::CliError,
    local::{control, state::StateDir},
};

/// Fails when another program listens on `address`.
pub(super) fn port_free(state: &StateDir, address: SocketAddr) -> Result<(), CliError> {
    match TcpListener::bind(address) {
        Ok(_) => Ok(()),
        // Our own control plane may hold it.
        Err(_)
            if control::socket(state).exists()
                && std::os::unix::net::UnixStream::connect(control::socket(state)).is_ok() =>
        {
            Ok(())
        }
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            let holder = holder(address.port())
                .map(|holder| format!(" by {holder}"))
                .unwrap_or_default();
            let next = SocketAddr::new(address.ip(), address.port().saturating_add(1));
            Err(CliError::local(format_args!("{address} is taken{holder}"))
                .hint("try", format_args!("wrenn up --listen {next}"))
                .hint(
                    "or",
                    format_args!(
                        "stop what listens there: ss -ltnp 'sport = :{}'",
                        address.port()
                    ),
                ))
        }
        Err(error) => Err(
            CliError::local(format_args!("listen on {address}: {error}"))
                .hint("try", "wrenn up --listen 127.0.0.1:8080"),
        ),
    }
}

/// The process that listens on `port`, as far as this user may see it.
fn holder(port: u16) -> Option<String> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .find_map(|table| {
            std::fs::read_to_string(table)
                .ok()?
                .lines()
                .skip(1)
                .find_map(|line| listening_inode(line, port))
        })?;
    let socket = format!("socket:[{inode}]");
    std::fs::read_dir("/proc")
        .ok()?
        .flatten()
        .find_map(|process| {
            let pid: u32 = process.file_name().to_str()?.parse().ok()?;
            let mut files = std::fs::read_dir(process.path().join("fd")).ok()?.flatten();
            files.find(|file| {
                std::fs::read_link(file.path())
                    .is_ok_and(|target| target.as_os_str() == socket.as_str())
            })?;
            let name = std::fs::read_to_string(process.path().join("comm")).ok()?;
            Some(format!("{} (process {pid})", name.trim()))
        })
}

fn listening_inode(line: &str, port: u16) -> Option<String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (_, local_port) = fields.get(1)?.rsplit_once(':')?;
    let listening = *fields.get(3)? == "0A" && u16::from_str_radix(local_port, 16).ok()? == port;
    listening.then(|| fields.get(9).map(|inode| (*inode).to_owned()))?
}

pub(super) async fn checks(state: &StateDir) -> Vec<Check> {
    let group = Group::Network;
    let settings = state.settings().ok().flatten().unwrap_or_default();
    let mut checks = vec![match port_free(state, settings.listen) {
        Ok(()) => group.ok("port", format!("{} is free or ours", settings.listen)),
        Err(error) => group.failed("port", &error),
    }];
    let resolved = ("x.wrenn.localhost", 80).to_socket_addrs();
    let local = resolved.map(|mut addresses| addresses.all(|address| address.ip().is_loopback()));
    checks.push(match local {
        Ok(true) => group.ok("*.localhost", "resolves to this machine"),
        _ => group.warn(
            "*.localhost",
            "does not resolve here; browsers resolve it by themselves",
            "sudo apt-get install -y libnss-myhostname",
        ),
    });
    checks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listening_sockets_of_the_port_count() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 31337 1 0 100 0 0 10 0";
        assert_eq!(listening_inode(line, 8080).as_deref(), Some("31337"));
        assert_eq!(listening_inode(line, 8081), None);
        assert_eq!(listening_inode(&line.replace(" 0A ", " 01 "), 8080), None);
        assert_eq!(listening_inode("", 8080), None);
    }

    #[test]
    fn a_taken_port_is_named_with_its_holder() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let dir = tempfile::tempdir().expect("a directory");
        let state = StateDir::locate(Some(dir.path())).expect("a state");
        let error = port_free(&state, address).expect_err("taken");
        assert!(
            error.message.contains("is taken")
                && error.message.contains(&std::process::id().to_string()),
            "{}",
            error.message
        );
        assert!(
            error.hints[0].command.starts_with("wrenn up --listen"),
            "{error:?}"
        );
    }
}
