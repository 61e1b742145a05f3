//! A set of the guest's pages: a bit each, so 32 KiB for a guest of 1 GiB however its pages are scattered.

use std::ops::Range;

const BITS: u64 = u64::BITS as u64;

/// Pages from 0 to a bound.
#[derive(Clone, Debug)]
pub(super) struct Bitmap {
    words: Vec<u64>,
    pages: u64,
}

impl Bitmap {
    /// None of `pages` pages.
    pub(super) fn new(pages: u64) -> Self {
        Self {
            words: vec![0; pages.div_ceil(BITS) as usize],
            pages,
        }
    }

    /// Whether the page is in it; none beyond the bound is.
    pub(super) fn has(&self, page: u64) -> bool {
        let word = self.words.get((page / BITS) as usize);
        word.is_some_and(|word| word >> (page % BITS) & 1 == 1)
    }

    pub(super) fn add(&mut self, pages: Range<u64>) {
        self.change(pages, |word, mask| word | mask);
    }

    pub(super) fn remove(&mut self, pages: Range<u64>) {
        self.change(pages, |word, mask| word & !mask);
    }

    fn change(&mut self, pages: Range<u64>, change: impl Fn(u64, u64) -> u64) {
        let end = pages.end.min(self.pages);
        let mut page = pages.start;
        while page < end {
            let bit = page % BITS;
            let count = (BITS - bit).min(end - page);
            let mask = (u64::MAX >> (BITS - count)) << bit;
            let word = &mut self.words[(page / BITS) as usize];
            *word = change(*word, mask);
            page += count;
        }
    }

    /// The pages in it, neighbours together.
    pub(super) fn ranges(&self) -> impl Iterator<Item = Range<u64>> {
        let mut next = 0;
        std::iter::from_fn(move || {
            let start = self.find(next, true)?;
            let end = self.find(start, false).unwrap_or(self.pages);
            next = end;
            Some(start..end)
        })
    }

    /// The first page from `from` on that is in it, or is not.
    fn find(&self, from: u64, is_in: bool) -> Option<u64> {
        let mut page = from;
        while page < self.pages {
            let word = self.words[(page / BITS) as usize];
            let word = (if is_in { word } else { !word }) >> (page % BITS);
            if word != 0 {
                page += u64::from(word.trailing_zeros());
                return (page < self.pages).then_some(page);
            }
            page = (page / BITS + 1) * BITS;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(
            changes in proptest::collection::vec((any::<bool>(), 0..220_u64, 0..220_u64), 0..20),
            pages in 1..200_u64,
        ) {
            let mut bitmap = Bitmap::new(pages);
            let mut model = vec![false; pages as usize];
            for (is_added, start, end) in changes {
                for page in start..end.min(pages) {
                    model[page as usize] = is_added;
                }
                if is_added { bitmap.add(start..end) } else { bitmap.remove(start..end) }
            }
            for page in 0..300 {
                prop_assert_eq!(bitmap.has(page), model.get(page as usize) == Some(&true));
            }
            let ranges: Vec<_> = bitmap.ranges().collect();
            prop_assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start));
            let listed: Vec<u64> = ranges.into_iter().flatten().collect();
            let expected: Vec<u64> = (0..pages).filter(|&page| model[page as usize]).collect();
            prop_assert_eq!(listed, expected);
        }
    }
}
