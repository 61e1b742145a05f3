//! Kernel settings under `/proc/sys/net`, which are those of the writing thread's namespace.

use std::io;
use std::path::Path;

use crate::{Error, Result};

/// Settings of a fresh namespace: it routes IPv4 for one guest, has no IPv6, and believes no redirects.
pub(crate) const NAMESPACE: &[(&str, &str)] = &[
    ("ipv6/conf/all/disable_ipv6", "1"),
    ("ipv6/conf/default/disable_ipv6", "1"),
    ("ipv4/conf/all/rp_filter", "1"),
    ("ipv4/conf/default/rp_filter", "1"),
    ("ipv4/conf/all/accept_redirects", "0"),
    ("ipv4/conf/default/accept_redirects", "0"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
    ("ipv4/ip_forward", "1"),
];

/// Settings of the host that guests' packets need.
pub(crate) const HOST: &[(&str, &str)] = &[("ipv4/ip_forward", "1")];

/// Settings of the host's end of a veth pair.
pub(crate) fn of_link(link: &str) -> [(String, &'static str); 4] {
    [
        (format!("ipv6/conf/{link}/disable_ipv6"), "1"),
        (format!("ipv4/conf/{link}/rp_filter"), "1"),
        (format!("ipv4/conf/{link}/accept_redirects"), "0"),
        (format!("ipv4/conf/{link}/send_redirects"), "0"),
    ]
}

/// Writes settings. A kernel without IPv6 has no IPv6 to turn off.
pub(crate) fn set<K: AsRef<str>>(settings: &[(K, &str)]) -> Result<()> {
    for (key, value) in settings {
        let path = Path::new("/proc/sys/net").join(key.as_ref());
        match std::fs::write(&path, value) {
            Err(error)
                if error.kind() == io::ErrorKind::NotFound && key.as_ref().starts_with("ipv6/") => {
            }
            Err(source) => {
                return Err(Error::File {
                    action: "set",
                    path,
                    source,
                });
            }
            Ok(()) => {}
        }
    }
    Ok(())
}
