//! The kernel's command line, as far as the guest reads it: `ip=` and `wrenn.dns=`.
//!
//! It is written by the host but read as if it were not: any bytes parse, and what is not understood is
//! an absent value.

use std::net::{IpAddr, Ipv4Addr};

use thiserror::Error;

/// What the guest takes from its command line.
#[derive(Debug, PartialEq)]
pub(super) struct Arguments {
    pub(super) address: Result<Address, AddressError>,
    /// In order of preference; the defaults when none is given.
    pub(super) resolvers: Vec<IpAddr>,
}

/// The static configuration of one network device.
#[derive(Debug, PartialEq)]
pub(super) struct Address {
    pub(super) device: String,
    pub(super) guest: Ipv4Addr,
    pub(super) prefix: u8,
    pub(super) gateway: Ipv4Addr,
}

#[derive(Debug, Error, PartialEq)]
pub(super) enum AddressError {
    #[error("there is no ip= argument")]
    Absent,
    #[error("'{0}' is not <guest>::<gateway>:<mask>::<device>:off")]
    Malformed(String),
}

const DEFAULT_RESOLVERS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(8, 8, 8, 8)),
    IpAddr::V4(Ipv4Addr::new(8, 8, 4, 4)),
];
const MAX_RESOLVERS: usize = 3;
const MAX_DEVICE: usize = 15;

/// Reads the bytes of `/proc/cmdline`; of an argument given twice the later counts.
pub(super) fn parse(line: &[u8]) -> Arguments {
    let line = String::from_utf8_lossy(line);
    let value = |name| {
        line.split_ascii_whitespace()
            .rev()
            .find_map(|word| word.strip_prefix(name))
    };
    let address = match value("ip=") {
        None => Err(AddressError::Absent),
        Some(text) => address(text).ok_or_else(|| AddressError::Malformed(text.into())),
    };
    let mut resolvers: Vec<IpAddr> = value("wrenn.dns=")
        .into_iter()
        .flat_map(|list| list.split(','))
        .filter_map(|one| one.parse().ok())
        .take(MAX_RESOLVERS)
        .collect();
    if resolvers.is_empty() {
        resolvers.extend(DEFAULT_RESOLVERS);
    }
    Arguments { address, resolvers }
}

/// The kernel's own notation: `client:server:gateway:mask:host name:device:autoconf`.
/// Any bytes are a command line, and resolvers there always are.
#[cfg(feature = "fuzzing")]
pub(crate) fn fuzz(data: &[u8]) {
    let arguments = parse(data);
    assert!((1..=MAX_RESOLVERS).contains(&arguments.resolvers.len()));
    if let Ok(address) = arguments.address {
        assert!(address.prefix <= 32 && (1..=MAX_DEVICE).contains(&address.device.len()));
    }
}

fn address(text: &str) -> Option<Address> {
    let mut parts = text.split(':');
    let guest = parts.next()?.parse().ok()?;
    parts.next()?;
    let gateway = parts.next()?.parse().ok()?;
    let mask = u32::from(parts.next()?.parse::<Ipv4Addr>().ok()?);
    parts.next()?;
    let device = parts.next()?;
    let known = !device.is_empty()
        && device.len() <= MAX_DEVICE
        && device.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let prefix = mask.leading_ones();
    let contiguous = mask.count_ones() == prefix;
    (known && contiguous).then(|| Address {
        device: device.into(),
        guest,
        prefix: u8::try_from(prefix).expect("at most 32 bits are set"),
        gateway,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Result<(&str, u8), AddressError>) {
        let seen = parse(line.as_bytes()).address;
        let expected = expected.map(|(guest, prefix)| Address {
            device: "eth0".into(),
            guest: guest.parse().unwrap(),
            prefix,
            gateway: "169.254.0.22".parse().unwrap(),
        });
        assert_eq!(seen, expected, "{line}");
    }

    #[test]
    fn the_address_of_a_sandbox_is_read() {
        check(
            "console=ttyS0 quiet ip=169.254.0.21::169.254.0.22:255.255.255.252::eth0:off a=b\n",
            Ok(("169.254.0.21", 30)),
        );
        check(
            "ip=1.2.3.4::9.9.9.9:0.0.0.0::x:off ip=10.0.0.1::169.254.0.22:255.0.0.0::eth0",
            Ok(("10.0.0.1", 8)),
        );
    }

    #[test]
    fn a_broken_address_is_refused() {
        check("quiet", Err(AddressError::Absent));
        for text in [
            "",
            "off",
            "1.2.3.4::5.6.7.8:255.0.255.0::eth0:off",
            "1.2.3.4::5.6.7.8:255.255.255.0::../x:off",
            "1.2.3.4::5.6.7.8:255.255.255.0::aaaaaaaaaaaaaaaa:off",
            "1.2.3.4::5.6.7.8:255.255.255.0",
        ] {
            check(
                &format!("ip={text}"),
                Err(AddressError::Malformed(text.into())),
            );
        }
    }

    #[test]
    fn resolvers_fall_back_to_public_ones() {
        let read = |line: &str| parse(line.as_bytes()).resolvers;
        assert_eq!(
            read("wrenn.dns=1.1.1.1,nonsense,2.2.2.2"),
            ["1.1.1.1", "2.2.2.2"].map(|a| a.parse::<IpAddr>().unwrap())
        );
        assert_eq!(read("wrenn.dns=,,"), DEFAULT_RESOLVERS);
        assert_eq!(
            parse(b"\xff\xfe wrenn.dns=\xff").resolvers,
            DEFAULT_RESOLVERS
        );
    }
}
