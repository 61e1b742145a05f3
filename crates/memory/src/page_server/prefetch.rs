//! What of a working set is still to be brought.

use std::{ops::Range, vec::IntoIter};

use super::working_set::WorkingSet;

/// The rest of a working set.
#[derive(Debug)]
pub(super) struct Prefetch {
    now: Range<u64>,
    rest: IntoIter<Range<u64>>,
}

impl Prefetch {
    pub(super) fn new(set: WorkingSet) -> Self {
        Self {
            now: 0..0,
            rest: set.into_ranges().into_iter(),
        }
    }

    /// The next pages, at most `most` and at least one; `None` at the end.
    pub(super) fn take(&mut self, most: u64) -> Option<Range<u64>> {
        if self.now.is_empty() {
            self.now = self.rest.next()?;
        }
        let start = self.now.start;
        self.now.start = self.now.end.min(start + most);
        Some(start..self.now.start)
    }

    /// Takes back the end of what was taken last.
    pub(super) fn put_back(&mut self, pages: Range<u64>) {
        debug_assert_eq!(pages.end, self.now.start);
        self.now.start = pages.start;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_in_pieces_and_nothing_is_lost() {
        let ranges = [0..5, 9..10, 20..31];
        let mut prefetch = Prefetch::new(WorkingSet::new(ranges.into_iter()));
        assert_eq!(prefetch.take(4), Some(0..4));
        prefetch.put_back(2..4);
        assert_eq!(prefetch.take(4), Some(2..5));
        assert_eq!(prefetch.take(1), Some(9..10));
        prefetch.put_back(9..10);
        assert_eq!(prefetch.take(100), Some(9..10));
        assert_eq!(prefetch.take(100), Some(20..31));
        assert_eq!(prefetch.take(100), None);
        assert_eq!(prefetch.take(100), None);
    }
}
