//! What the guest is called and whom it asks for names: host name, `/etc/hosts`, machine id, resolvers.

use std::{fs, io, net::IpAddr, path::Path};

/// The name before the first `/init`.
pub(crate) const FIRST_HOSTNAME: &str = "wrenn";

const HOSTS: &str = "/etc/hosts";
const OWN_ADDRESS: &str = "127.0.1.1";

/// Whether `name` is a host name of one label or several.
pub(crate) fn is_hostname(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && !name.starts_with(['-', '.'])
        && !name.ends_with(['-', '.'])
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

/// Whether `id` is what `/etc/machine-id` may hold.
pub(crate) fn is_machine_id(id: &str) -> bool {
    id.len() == 32
        && id
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Sets the host name and its line in `/etc/hosts`.
pub(crate) fn set_hostname(name: &str) -> io::Result<()> {
    rustix::system::sethostname(name.as_bytes())?;
    let hosts = fs::read(HOSTS).unwrap_or_default();
    let wanted = hosts_with(&String::from_utf8_lossy(&hosts), name);
    if wanted.as_bytes() != hosts {
        super::replace_file(Path::new(HOSTS), wanted.as_bytes(), 0o644)?;
    }
    Ok(())
}

fn hosts_with(hosts: &str, name: &str) -> String {
    let own = |line: &&str| line.split_ascii_whitespace().next() == Some(OWN_ADDRESS);
    let mut wanted: String = hosts
        .lines()
        .filter(|line| !own(line))
        .map(|line| format!("{line}\n"))
        .collect();
    if !hosts.lines().any(|line| {
        line.split_ascii_whitespace()
            .any(|word| word == "localhost")
    }) {
        wanted.push_str("127.0.0.1 localhost\n");
    }
    wanted.push_str(&format!("{OWN_ADDRESS} {name}\n"));
    wanted
}

/// Writes `/etc/machine-id`.
pub(crate) fn set_machine_id(id: &str) -> io::Result<()> {
    super::replace_file(
        Path::new("/etc/machine-id"),
        format!("{id}\n").as_bytes(),
        0o444,
    )
}

/// Writes `/etc/resolv.conf`.
pub(crate) fn write_resolvers(resolvers: &[IpAddr]) -> io::Result<()> {
    let mut text: String = resolvers
        .iter()
        .map(|one| format!("nameserver {one}\n"))
        .collect();
    text.push_str("options timeout:2 attempts:2\n");
    super::replace_file(Path::new("/etc/resolv.conf"), text.as_bytes(), 0o644)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_line_is_replaced_and_the_rest_kept() {
        let before = "127.0.0.1 localhost\n127.0.1.1\told\n# note\n";
        let after = "127.0.0.1 localhost\n# note\n127.0.1.1 new\n";
        assert_eq!(hosts_with(before, "new"), after);
        assert_eq!(hosts_with(after, "new"), after);
        assert_eq!(
            hosts_with("", "new"),
            "127.0.0.1 localhost\n127.0.1.1 new\n"
        );
    }

    #[test]
    fn names_with_surprises_are_refused() {
        for good in ["sb-1", "a.b", "X"] {
            assert!(is_hostname(good), "{good}");
        }
        for bad in ["", "-a", "a-", "a b", "a\nb", "é", &"a".repeat(65)] {
            assert!(!is_hostname(bad), "{bad}");
        }
        assert!(is_machine_id("0123456789abcdef0123456789abcdef"));
        assert!(!is_machine_id("0123456789ABCDEF0123456789abcdef"));
        assert!(!is_machine_id("0123"));
    }
}
