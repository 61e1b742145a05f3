//! What a guest may reach, beyond what no guest may reach.

use std::fmt;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// An IPv4 network in canonical form (no bits beyond the prefix).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    address: Ipv4Addr,
    prefix: u8,
}

/// A text that is neither an IPv4 address nor a network in CIDR notation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an IPv4 address or network")]
pub struct BadCidr(String);

/// A sandbox's own rules. Allow wins over deny; neither opens what is closed to every guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressPolicy {
    /// Whether what no rule names is reachable; if not, only `allow_out` is (DNS included).
    pub default: Verdict,
    pub allow_out: Vec<Cidr>,
    pub deny_out: Vec<Cidr>,
}

/// What happens to a destination that no rule names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allow,
    Deny,
}

impl Default for EgressPolicy {
    /// The internet, without exceptions: what a fresh slot has.
    fn default() -> Self {
        Self {
            default: Verdict::Allow,
            allow_out: Vec::new(),
            deny_out: Vec::new(),
        }
    }
}

impl EgressPolicy {
    /// The two sets that express it: disjoint, sorted, with gaps between ranges.
    pub(crate) fn ranges(&self) -> (Vec<Range>, Vec<Range>) {
        let denied = match self.default {
            Verdict::Allow => merge(self.deny_out.iter().map(Cidr::range)),
            Verdict::Deny => vec![0..=u32::MAX],
        };
        (merge(self.allow_out.iter().map(Cidr::range)), denied)
    }
}

/// Addresses, as numbers, both ends included.
pub(crate) type Range = RangeInclusive<u32>;

impl Cidr {
    /// A network; bits of `address` beyond `prefix` are dropped. `None` if `prefix` exceeds 32.
    pub const fn new(address: Ipv4Addr, prefix: u8) -> Option<Self> {
        if prefix > 32 {
            return None;
        }
        Some(Self {
            address: Ipv4Addr::from_bits(address.to_bits() & mask(prefix)),
            prefix,
        })
    }

    /// Its first address.
    pub fn address(self) -> Ipv4Addr {
        self.address
    }

    /// Its leading bits.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    pub(crate) fn range(&self) -> Range {
        self.address.to_bits()..=self.address.to_bits() | !mask(self.prefix)
    }
}

const fn mask(prefix: u8) -> u32 {
    if prefix == 0 {
        0
    } else {
        u32::MAX << (32 - prefix)
    }
}

impl FromStr for Cidr {
    type Err = BadCidr;

    fn from_str(text: &str) -> Result<Self, BadCidr> {
        let bad = || BadCidr(text.chars().take(64).collect());
        let (address, prefix) = text.split_once('/').unwrap_or((text, "32"));
        if prefix.is_empty()
            || prefix.len() > 2
            || !prefix.bytes().all(|byte| byte.is_ascii_digit())
        {
            return Err(bad());
        }
        let address = address.parse().map_err(|_| bad())?;
        Self::new(address, prefix.parse().map_err(|_| bad())?).ok_or_else(bad)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// The same addresses as sorted ranges that neither overlap nor touch: the kernel refuses overlaps.
pub(crate) fn merge(ranges: impl IntoIterator<Item = Range>) -> Vec<Range> {
    let mut sorted: Vec<Range> = ranges.into_iter().collect();
    sorted.sort_by_key(|range| *range.start());
    let mut merged: Vec<Range> = Vec::new();
    for range in sorted {
        match merged.last_mut() {
            Some(last) if *range.start() <= last.end().saturating_add(1) => {
                *last = *last.start()..=*last.end().max(range.end());
            }
            _ => merged.push(range),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: Option<&str>) {
        assert_eq!(
            text.parse::<Cidr>()
                .ok()
                .map(|cidr| cidr.to_string())
                .as_deref(),
            expected,
            "{text:?}"
        );
    }

    #[test]
    fn networks_are_parsed_strictly_and_made_canonical() {
        check("1.2.3.4", Some("1.2.3.4/32"));
        check("1.2.3.4/8", Some("1.0.0.0/8"));
        check("0.0.0.0/0", Some("0.0.0.0/0"));
        check("1.2.3.4/33", None);
        check("1.2.3.4/", None);
        check("1.2.3.4/+8", None);
        check("1.2.3/8", None);
        check("01.2.3.4", None);
        check("::1/128", None);
        check("example.com", None);
    }

    #[test]
    fn no_internet_denies_everything_that_is_not_allowed() {
        let policy = EgressPolicy {
            default: Verdict::Deny,
            allow_out: vec!["8.8.8.0/24".parse().unwrap()],
            deny_out: vec!["8.8.8.8".parse().unwrap()],
        };
        assert_eq!(
            policy.ranges(),
            (vec![0x0808_0800..=0x0808_08ff], vec![0..=u32::MAX])
        );
        assert_eq!(EgressPolicy::default().ranges(), (vec![], vec![]));
    }

    proptest! {
        #[test]
        fn merged_ranges_hold_the_same_addresses_and_never_touch(
            networks in proptest::collection::vec((any::<u32>(), 0u8..=32), 0..64),
            probe in any::<u32>(),
        ) {
            let ranges: Vec<Range> = networks
                .iter()
                .map(|(address, prefix)| Cidr::new(Ipv4Addr::from_bits(*address), *prefix).unwrap().range())
                .collect();
            let merged = merge(ranges.clone());
            for pair in merged.windows(2) {
                prop_assert!(u64::from(*pair[0].end()) + 1 < u64::from(*pair[1].start()));
            }
            let edges = ranges.iter().flat_map(|range| [*range.start(), *range.end(), range.end().wrapping_add(1)]);
            for address in edges.chain([probe]) {
                let within = |ranges: &[Range]| ranges.iter().any(|range| range.contains(&address));
                prop_assert_eq!(within(&ranges), within(&merged));
            }
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,40}") {
            let _ = text.parse::<Cidr>();
        }
    }
}
