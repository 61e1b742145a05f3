//! Everything that follows from a slot's number.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The guest's address, the same in every VM.
pub const GUEST_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 0, 21);
/// The guest's gateway: the namespace's end of the TAP.
pub const GATEWAY_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 0, 22);
/// Bits of the network that guest and gateway share.
pub const GUEST_PREFIX: u8 = 30;
/// The guest's hardware address, the same in every VM.
pub const GUEST_MAC: [u8; 6] = [0x02, 0xfc, 0x00, 0x00, 0x00, 0x05];
/// The gateway's hardware address, the same in every namespace: a guest that is restored in another one goes on
/// with what it knows of its neighbour.
pub const GATEWAY_MAC: [u8; 6] = [0x02, 0xfc, 0x00, 0x00, 0x00, 0x06];
/// The TAP device in each namespace.
pub const TAP_NAME: &str = "tap0";

/// Where namespaces have their names, shared with `ip netns`.
pub(crate) const NAMESPACES: &str = "/run/netns";
/// Mark of our namespaces.
pub(crate) const NAMESPACE_MARK: &str = "wrenn-";
/// Mark of our links on the host.
pub(crate) const LINK_MARK: &str = "wv";
/// The namespace's end of the veth pair.
pub(crate) const UPLINK: &str = "eth0";
/// Addresses by which the host reaches guests: this + slot, /16.
pub(crate) const REACHABLE_BASE: Ipv4Addr = Ipv4Addr::new(10, 11, 0, 0);
/// Addresses of veth pairs: this + 2 × slot, /16.
pub(crate) const VETH_BASE: Ipv4Addr = Ipv4Addr::new(10, 12, 0, 0);
/// Bits of a veth pair's network.
pub(crate) const VETH_PREFIX: u8 = 31;

/// A slot's number: 1 to 32767.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Slot(u16);

/// A number that is no slot's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("slot {0} is not in 1 to 32767")]
pub struct BadSlot(u16);

impl Slot {
    /// The first slot.
    pub const MIN: Self = Self(1);
    /// The last slot.
    pub const MAX: Self = Self(32767);

    /// Checks a number.
    pub fn new(number: u16) -> Result<Self, BadSlot> {
        if (Self::MIN.0..=Self::MAX.0).contains(&number) {
            Ok(Self(number))
        } else {
            Err(BadSlot(number))
        }
    }

    /// The number.
    pub fn number(self) -> u16 {
        self.0
    }

    /// The slot after this one.
    pub(crate) fn next(self) -> Option<Self> {
        Self::new(self.0 + 1).ok()
    }

    /// Name of the network namespace.
    pub fn namespace(self) -> String {
        format!("{NAMESPACE_MARK}{}", self.0)
    }

    /// File of the network namespace, as `ip netns` and Firecracker's jailer take it.
    pub fn namespace_path(self) -> PathBuf {
        PathBuf::from(NAMESPACES).join(self.namespace())
    }

    /// Where the host reaches the guest.
    pub fn host_address(self) -> Ipv4Addr {
        plus(REACHABLE_BASE, u32::from(self.0))
    }

    /// Name of the host's end of the veth pair.
    pub(crate) fn link(self) -> String {
        format!("{LINK_MARK}{}", self.0)
    }

    /// Address of the host's end of the veth pair.
    pub(crate) fn link_address(self) -> Ipv4Addr {
        plus(VETH_BASE, 2 * u32::from(self.0))
    }

    /// Address of the namespace's end of the veth pair: what the guest's packets carry on the host.
    pub(crate) fn uplink_address(self) -> Ipv4Addr {
        plus(VETH_BASE, 2 * u32::from(self.0) + 1)
    }

    /// Sources of the packets that come from the slot onto the host: of connections that the guest began,
    /// and of answers to connections that the host began.
    pub(crate) fn sources(self) -> [Ipv4Addr; 2] {
        [self.uplink_address(), self.host_address()]
    }

    /// The slot with this number in decimal, without sign, spaces or leading zeros.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let slot = Self::new(text.parse().ok()?).ok()?;
        (slot.to_string() == text).then_some(slot)
    }
}

impl TryFrom<u16> for Slot {
    type Error = BadSlot;

    fn try_from(number: u16) -> Result<Self, BadSlot> {
        Self::new(number)
    }
}

impl From<Slot> for u16 {
    fn from(slot: Slot) -> Self {
        slot.0
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// [`GUEST_MAC`] as Firecracker takes it.
pub fn guest_mac_text() -> String {
    GUEST_MAC.map(|byte| format!("{byte:02X}")).join(":")
}

fn plus(base: Ipv4Addr, offset: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(base.to_bits() + offset)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(number: u16, host: [u8; 4], link: [u8; 4], uplink: [u8; 4]) {
        let slot = Slot::new(number).unwrap();
        let found = (
            slot.host_address(),
            slot.link_address(),
            slot.uplink_address(),
        );
        assert_eq!(found, (host.into(), link.into(), uplink.into()));
    }

    #[test]
    fn addresses_are_those_of_the_table() {
        check(1, [10, 11, 0, 1], [10, 12, 0, 2], [10, 12, 0, 3]);
        check(256, [10, 11, 1, 0], [10, 12, 2, 0], [10, 12, 2, 1]);
        check(
            32767,
            [10, 11, 127, 255],
            [10, 12, 255, 254],
            [10, 12, 255, 255],
        );
    }

    #[test]
    fn the_guest_is_named_the_same_everywhere() {
        assert_eq!(guest_mac_text(), "02:FC:00:00:00:05");
        assert_eq!(
            Slot::MIN.namespace_path(),
            PathBuf::from("/run/netns/wrenn-1")
        );
        assert_eq!(Slot::MAX.link(), "wv32767");
    }

    #[test]
    fn only_plain_numbers_in_range_are_slots() {
        let check = |text: &str, expected: Option<u16>| {
            assert_eq!(Slot::parse(text).map(Slot::number), expected, "{text:?}");
        };
        check("1", Some(1));
        check("32767", Some(32767));
        check("0", None);
        check("32768", None);
        check("01", None);
        check("+1", None);
        check("1 ", None);
        check("", None);
        assert!(Slot::new(0).is_err());
        assert_eq!(Slot::MAX.next(), None);
    }

    proptest! {
        #[test]
        fn two_slots_share_nothing(a in 1u16..=32767, b in 1u16..=32767) {
            prop_assume!(a != b);
            let (a, b) = (Slot::new(a).unwrap(), Slot::new(b).unwrap());
            let all = |slot: Slot| [slot.host_address(), slot.link_address(), slot.uplink_address()];
            for address in all(a) {
                prop_assert!(!all(b).contains(&address));
            }
            prop_assert_ne!(a.link(), b.link());
            prop_assert_ne!(a.namespace(), b.namespace());
        }

        #[test]
        fn addresses_stay_in_their_networks(number in 1u16..=32767) {
            let slot = Slot::new(number).unwrap();
            prop_assert_eq!(&slot.host_address().octets()[..2], &[10, 11]);
            prop_assert_eq!(&slot.uplink_address().octets()[..2], &[10, 12]);
            prop_assert_eq!(slot.link_address().to_bits() | 1, slot.uplink_address().to_bits());
            prop_assert!(slot.link().len() < 16);
        }
    }
}
