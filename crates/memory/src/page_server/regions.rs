//! Where the guest's pages lie in the VM's process: what Firecracker sends along with the userfaultfd.
//!
//! Regions cover the guest from its first page to its last, once each, and none overlaps another in the process.

use std::ops::Range;

use serde::Deserialize;

use crate::PAGE_BYTES;

/// Regions of one guest; Firecracker 1.12 has one or two.
pub(super) const MAX_REGIONS: usize = 64;

/// A region as Firecracker 1.12 sends it; fields that are not named here are ignored.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Announced {
    /// Address in Firecracker's process.
    base_host_virt_addr: u64,
    /// Bytes.
    size: u64,
    /// Byte of the memory file with which it begins.
    offset: u64,
    /// Bytes of a page.
    page_size: u64,
}

/// Why regions are not those of the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegionsError {
    /// More than any Firecracker has.
    #[error("{0} regions of memory")]
    TooMany(usize),
    /// Huge pages are not served.
    #[error("pages of {0} bytes")]
    PageSize(u64),
    /// An address, a size or an offset is not at a page's border, a size is 0, or an end is nowhere.
    #[error("the region at {address:#x} with {bytes} bytes from {offset} on is no range of pages")]
    Unaligned {
        /// In the VM's process.
        address: u64,
        /// Its size.
        bytes: u64,
        /// In the memory file.
        offset: u64,
    },
    /// A page is there twice or not at all.
    #[error("page {0} is in no region or in two")]
    Gap(u64),
    /// Two regions share addresses.
    #[error("two regions share the address {0:#x}")]
    Overlap(u64),
    /// Another size than the snapshot's.
    #[error("regions of {found} pages for a snapshot of {expected}")]
    Total {
        /// Of the snapshot.
        expected: u64,
        /// Of the regions.
        found: u64,
    },
}

/// A part of the guest's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Region {
    /// Of the guest.
    pub(super) pages: Range<u64>,
    /// Where the first is in the VM's process.
    address: u64,
}

impl Region {
    fn new(announced: &Announced) -> Result<Self, RegionsError> {
        let Announced {
            base_host_virt_addr: address,
            size: bytes,
            offset,
            page_size,
        } = *announced;
        if page_size != PAGE_BYTES {
            return Err(RegionsError::PageSize(page_size));
        }
        let is_aligned = [address, bytes, offset]
            .iter()
            .all(|number| number % PAGE_BYTES == 0);
        let is_somewhere =
            address.checked_add(bytes).is_some() && offset.checked_add(bytes).is_some();
        if bytes == 0 || !is_aligned || !is_somewhere {
            return Err(RegionsError::Unaligned {
                address,
                bytes,
                offset,
            });
        }
        Ok(Self {
            pages: offset / PAGE_BYTES..(offset + bytes) / PAGE_BYTES,
            address,
        })
    }

    /// Where a page of it is in the VM's process.
    pub(super) fn address(&self, page: u64) -> u64 {
        debug_assert!(self.pages.contains(&page));
        self.address + (page - self.pages.start) * PAGE_BYTES
    }

    fn addresses(&self) -> Range<u64> {
        self.address..self.address + (self.pages.end - self.pages.start) * PAGE_BYTES
    }
}

/// All of the guest's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Regions(Vec<Region>);

impl Regions {
    /// Checks what was announced for a guest of `pages` pages.
    pub(super) fn new(announced: &[Announced], pages: u64) -> Result<Self, RegionsError> {
        if announced.len() > MAX_REGIONS {
            return Err(RegionsError::TooMany(announced.len()));
        }
        let regions = announced.iter().map(Region::new);
        let mut regions = regions.collect::<Result<Vec<_>, _>>()?;
        regions.sort_by_key(|region| region.address);
        for pair in regions.windows(2) {
            if pair[0].addresses().end > pair[1].address {
                return Err(RegionsError::Overlap(pair[1].address));
            }
        }
        regions.sort_by_key(|region| region.pages.start);
        let mut next = 0;
        for region in &regions {
            if region.pages.start != next {
                return Err(RegionsError::Gap(next.min(region.pages.start)));
            }
            next = region.pages.end;
        }
        if next != pages {
            return Err(RegionsError::Total {
                expected: pages,
                found: next,
            });
        }
        Ok(Self(regions))
    }

    /// The region of a page.
    pub(super) fn of_page(&self, page: u64) -> Option<&Region> {
        self.0.iter().find(|region| region.pages.contains(&page))
    }

    /// The page at an address.
    pub(super) fn page_at(&self, address: u64) -> Option<u64> {
        let contains = |region: &&Region| region.addresses().contains(&address);
        let region = self.0.iter().find(contains)?;
        Some(region.pages.start + (address - region.address) / PAGE_BYTES)
    }

    /// The pages within a range of addresses, region by region; what is no memory of the guest is left out.
    pub(super) fn pages_within(&self, range: &Range<u64>) -> impl Iterator<Item = Range<u64>> {
        self.0.iter().filter_map(|region| {
            let own = region.addresses();
            let start = range.start.clamp(own.start, own.end) - own.start;
            let end = range.end.clamp(own.start, own.end) - own.start;
            let first = region.pages.start;
            (start < end).then(|| first + start / PAGE_BYTES..first + end.div_ceil(PAGE_BYTES))
        })
    }
}

#[cfg(test)]
#[expect(
    clippy::single_range_in_vec_init,
    reason = "one range is what is meant"
)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BASE: u64 = 0x7f00_0000_0000;
    const PAGE: u64 = PAGE_BYTES;

    fn region(address: u64, size: u64, offset: u64) -> Announced {
        Announced {
            base_host_virt_addr: address,
            size,
            offset,
            page_size: PAGE,
        }
    }

    #[test]
    fn what_is_no_guest_is_refused() {
        let check = |announced: &[Announced], expected| {
            assert_eq!(Regions::new(announced, 8), Err(expected), "{announced:?}");
        };
        let total = |found| RegionsError::Total { expected: 8, found };
        check(&[], total(0));
        check(&[region(BASE, 7 * PAGE, 0)], total(7));
        check(&[region(BASE, 9 * PAGE, 0)], total(9));
        check(&[region(BASE, 8 * PAGE, PAGE)], RegionsError::Gap(0));
        let two = |address, offset| [region(BASE, 4 * PAGE, 0), region(address, 4 * PAGE, offset)];
        check(&two(BASE + 8 * PAGE, 3 * PAGE), RegionsError::Gap(3));
        check(&two(BASE + 8 * PAGE, 5 * PAGE), RegionsError::Gap(4));
        check(&two(BASE + 8 * PAGE, 0), RegionsError::Gap(0));
        let shared = RegionsError::Overlap(BASE + 3 * PAGE);
        check(&two(BASE + 3 * PAGE, 4 * PAGE), shared);
        let huge = Announced {
            page_size: 2 << 20,
            ..region(BASE, 8 * PAGE, 0)
        };
        check(&[huge], RegionsError::PageSize(2 << 20));
        check(
            &[region(BASE, PAGE, 0); MAX_REGIONS + 1],
            RegionsError::TooMany(65),
        );
        for (address, bytes, offset) in [
            (BASE + 1, 8 * PAGE, 0),
            (BASE, 8 * PAGE - 1, 0),
            (BASE, 8 * PAGE, 512),
            (BASE, 0, 0),
            (u64::MAX - PAGE + 1, 8 * PAGE, 0),
            (BASE, 8 * PAGE, u64::MAX - PAGE + 1),
        ] {
            let unaligned = RegionsError::Unaligned {
                address,
                bytes,
                offset,
            };
            check(&[region(address, bytes, offset)], unaligned);
        }
    }

    #[test]
    fn pages_and_addresses_agree() {
        let (low, high) = (BASE, BASE + 100 * PAGE);
        // The second part of the guest lies first in the process.
        let announced = [region(high, 3 * PAGE, 0), region(low, 5 * PAGE, 3 * PAGE)];
        let regions = Regions::new(&announced, 8).unwrap();
        for page in 0..8 {
            let address = regions.of_page(page).unwrap().address(page);
            assert_eq!(regions.page_at(address + 4095), Some(page));
        }
        assert_eq!(regions.of_page(8), None);
        for address in [
            0,
            low - 1,
            low + 5 * PAGE,
            high - 1,
            high + 3 * PAGE,
            u64::MAX,
        ] {
            assert_eq!(regions.page_at(address), None, "{address:#x}");
        }
        let within = |range: Range<u64>| regions.pages_within(&range).collect::<Vec<_>>();
        assert_eq!(within(0..u64::MAX), [0..3, 3..8]);
        assert_eq!(within(high + PAGE..high + 2 * PAGE), [1..2]);
        assert_eq!(within(low + 5 * PAGE..high), []);
        assert_eq!(within(low + 4 * PAGE..high + PAGE), [0..1, 7..8]);
    }

    /// Numbers of pages and what is beside them, near 0 and near the end.
    fn number() -> impl Strategy<Value = u64> {
        let near = (0..20_u64, 0..8_u64).prop_map(|(page, off)| page * PAGE + off / 7);
        (near, any::<bool>()).prop_map(|(near, is_low)| if is_low { near } else { !near })
    }

    proptest! {
        #[test]
        fn what_is_accepted_has_every_page_once(
            announced in proptest::collection::vec((number(), number(), number()), 1..4),
            is_in_order in any::<bool>(),
        ) {
            let mut next = 0;
            let announced: Vec<_> = announced.into_iter().map(|(address, size, mut offset)| {
                if is_in_order {
                    (offset, next) = (next, size.saturating_add(next));
                }
                region(address, size, offset)
            }).collect();
            if let Ok(regions) = Regions::new(&announced, next / PAGE) {
                prop_assert!(next < 60 * PAGE);
                for page in 0..next / PAGE {
                    let address = regions.of_page(page).unwrap().address(page);
                    prop_assert_eq!(regions.page_at(address), Some(page));
                }
                let within: u64 = regions.pages_within(&(0..u64::MAX)).map(|pages| pages.end - pages.start).sum();
                prop_assert_eq!(within, next / PAGE);
            }
        }
    }
}
