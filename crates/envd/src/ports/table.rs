//! Who listens: the kernel's tables of TCP sockets, and which ports of the loopback address nobody outside
//! the guest can reach.

use std::{
    collections::BTreeMap,
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// `TCP_LISTEN` of include/net/tcp_states.h, as the table writes it.
const LISTEN: &[u8] = b"0A";

/// All addresses that something listens on, of both families.
pub(super) fn listening() -> io::Result<Vec<SocketAddr>> {
    let mut all = parse(&fs::read("/proc/net/tcp")?);
    // A kernel without IPv6 has no such table.
    all.extend(parse(&fs::read("/proc/net/tcp6").unwrap_or_default()));
    Ok(all)
}

/// Reads a table. A line that is not understood is skipped.
fn parse(table: &[u8]) -> Vec<SocketAddr> {
    let lines = table.split(|byte| *byte == b'\n').skip(1);
    lines.filter_map(listener).collect()
}

/// `sl local remote state …`, where an address is the hexadecimal digits of the kernel's words in the
/// machine's order, and the port is a number.
fn listener(line: &[u8]) -> Option<SocketAddr> {
    let mut fields = line
        .split(|byte| *byte == b' ')
        .filter(|field| !field.is_empty());
    let local = std::str::from_utf8(fields.nth(1)?).ok()?;
    if fields.nth(1)? != LISTEN {
        return None;
    }
    let (address, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |index: usize| {
        let digits = address.get(index * 8..index * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let address = match address.len() {
        8 => IpAddr::from(word(0)?),
        32 => {
            let mut bytes = [0; 16];
            for index in 0..4 {
                bytes[index * 4..index * 4 + 4].copy_from_slice(&word(index)?);
            }
            IpAddr::from(bytes)
        }
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

/// Any bytes are a table, and what is hidden listens on the loopback address.
#[cfg(feature = "fuzzing")]
pub(crate) fn fuzz(data: &[u8]) {
    let all = parse(data);
    let guest = IpAddr::from([169, 254, 0, 21]);
    for (port, address) in hidden(&all, guest, |port| port == 49_983) {
        assert!(address.is_loopback() && port != 49_983);
        assert!(all.contains(&SocketAddr::new(address, port)));
    }
}

/// The ports that listen on the loopback address only, with where; IPv4 counts where both do.
pub(super) fn hidden(
    listening: &[SocketAddr],
    guest: IpAddr,
    own: impl Fn(u16) -> bool,
) -> BTreeMap<u16, IpAddr> {
    let mut hidden = BTreeMap::new();
    for socket in listening {
        let address = match socket.ip() {
            IpAddr::V4(address) if address.is_loopback() => IpAddr::from(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::LOCALHOST) => IpAddr::from(Ipv6Addr::LOCALHOST),
            _ => continue,
        };
        let held = hidden.entry(socket.port()).or_insert(address);
        if address.is_ipv4() {
            // The very address: a server on 127.0.0.2 does not answer at 127.0.0.1.
            *held = socket.ip();
        }
    }
    for socket in listening {
        let ours = socket.ip() == guest && own(socket.port());
        if socket.ip().is_unspecified() || (socket.ip() == guest && !ours) {
            hidden.remove(&socket.port());
        }
    }
    hidden
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt\n";

    fn check(lines: &str, expected: &[&str]) {
        let table = format!("{HEAD}{lines}");
        let expected: Vec<SocketAddr> = expected.iter().map(|one| one.parse().unwrap()).collect();
        assert_eq!(parse(table.as_bytes()), expected, "{lines}");
    }

    #[test]
    fn listeners_of_both_families_are_read() {
        check(
            "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000\n",
            &["127.0.0.1:8080"],
        );
        check("   0: 00000000:0016 00000000:0000 0A", &["0.0.0.0:22"]);
        check("   0: 0100007F:1F90 0100007F:D431 01 0:0", &[]);
        check(
            "   1: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 0",
            &["[::1]:80"],
        );
    }

    #[test]
    fn rubbish_is_skipped() {
        for rubbish in [
            "",
            "x",
            "0: : : 0A",
            "0: 0100007F 0 0A",
            "0: 010007F:1F90 0 0A",
            "0: 0100007F:1F901 0 0A",
            "0: ÿ100007F:1F90 0 0A",
            "0: zzzzzzzz:1F90 0 0A",
        ] {
            check(rubbish, &[]);
        }
        assert_eq!(parse(b"\n\xff\xfe: \xff 0 0A\n"), []);
        assert_eq!(parse(b""), []);
    }

    #[test]
    fn only_what_nobody_outside_reaches_is_hidden() {
        let guest: IpAddr = "169.254.0.21".parse().unwrap();
        let of = |sockets: &[&str], own: u16| {
            let sockets: Vec<SocketAddr> = sockets.iter().map(|one| one.parse().unwrap()).collect();
            let hidden = hidden(&sockets, guest, |port| port == own);
            hidden
                .into_iter()
                .map(|(port, address)| format!("{port} {address}"))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            of(&["127.0.0.1:80", "[::1]:81"], 0),
            ["80 127.0.0.1", "81 ::1"]
        );
        assert_eq!(of(&["[::1]:80", "127.0.0.2:80"], 0), ["80 127.0.0.2"]);
        assert_eq!(of(&["127.0.0.1:80", "0.0.0.0:80"], 0), [""; 0]);
        assert_eq!(of(&["127.0.0.1:80", "[::]:80"], 0), [""; 0]);
        assert_eq!(of(&["127.0.0.1:80", "169.254.0.21:80"], 0), [""; 0]);
        assert_eq!(
            of(&["127.0.0.1:80", "169.254.0.21:80"], 80),
            ["80 127.0.0.1"]
        );
        assert_eq!(of(&["0.0.0.0:80", "10.0.0.1:81"], 0), [""; 0]);
    }
}
