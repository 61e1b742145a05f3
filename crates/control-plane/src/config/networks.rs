//! Lists of networks, as settings name them.

use std::{net::IpAddr, str::FromStr};

/// Networks in CIDR notation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<(IpAddr, u8)>);

/// What such a setting must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be `loopback` or networks such as 10.0.0.0/8, separated by commas")]
pub struct BadNetworks;

impl FromStr for Networks {
    type Err = BadNetworks;

    fn from_str(text: &str) -> Result<Self, BadNetworks> {
        let mut networks = Vec::new();
        for item in text.split(',').map(str::trim) {
            if item == "loopback" {
                networks.push((IpAddr::from([127, 0, 0, 0]), 8));
                networks.push((IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1u16]), 128));
                continue;
            }
            let (address, bits) = item.split_once('/').ok_or(BadNetworks)?;
            let address: IpAddr = address.parse().map_err(|_| BadNetworks)?;
            let bits: u8 = bits.parse().map_err(|_| BadNetworks)?;
            if bits > if address.is_ipv4() { 32 } else { 128 } {
                return Err(BadNetworks);
            }
            networks.push((address, bits));
        }
        Ok(Self(networks))
    }
}

impl Networks {
    /// Whether the address is in one of them; an IPv4 address written as IPv6 is the IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|(network, bits)| {
            let (left, right, width) = match (network, address) {
                (IpAddr::V4(network), IpAddr::V4(address)) => {
                    (network.to_bits().into(), address.to_bits().into(), 32)
                }
                (IpAddr::V6(network), IpAddr::V6(address)) => {
                    (network.to_bits(), address.to_bits(), 128)
                }
                _ => return false,
            };
            let differ: u128 = left ^ right;
            differ.checked_shr(width - u32::from(*bits)).unwrap_or(0) == 0
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(networks: &str, address: &str, expected: bool) {
        let networks: Networks = networks.parse().unwrap();
        assert_eq!(
            networks.contains(address.parse().unwrap()),
            expected,
            "{networks:?} {address}"
        );
    }

    #[test]
    fn an_address_is_in_a_network_or_not() {
        check("loopback", "127.1.2.3", true);
        check("loopback", "::1", true);
        check("loopback", "::ffff:127.0.0.1", true);
        check("loopback", "128.0.0.1", false);
        check("10.0.0.0/8, 2001:db8::/32", "10.255.0.1", true);
        check("10.0.0.0/8, 2001:db8::/32", "2001:db8:1::1", true);
        check("10.0.0.0/8, 2001:db8::/32", "2001:db9::1", false);
        check("0.0.0.0/0", "1.2.3.4", true);
        check("0.0.0.0/0", "::2", false);
        check("1.2.3.4/32", "1.2.3.5", false);
        for bad in ["", "10.0.0.0", "10.0.0.0/33", "x/8", "local"] {
            assert_eq!(bad.parse::<Networks>(), Err(BadNetworks), "{bad}");
        }
    }
}
