//! A mapping's runs in 12 bytes each, where [`Run`] takes 32: with many runs they are most of what a server keeps.

use crate::{Mapping, Run, Source};

/// Instead of a layer's number.
const ZERO: u32 = u32::MAX;

/// A run from the end of the one before to its own.
#[derive(Debug)]
struct Packed {
    end: u32,
    layer: u32,
    page: u32,
}

/// The runs of a guest, by page.
#[derive(Debug)]
pub(super) struct Runs(Vec<Packed>);

impl Runs {
    pub(super) fn new(mapping: &Mapping) -> Self {
        let packed = |run: &Run| {
            let (layer, page) = match run.source {
                Source::Zero => (ZERO, 0),
                Source::Layer { index, page } => (index, page),
            };
            // The mapping's bound: guests and layers have 2²⁸ pages at most.
            Packed {
                end: run.end() as u32,
                layer,
                page: page as u32,
            }
        };
        Self(mapping.runs().iter().map(packed).collect())
    }

    /// The run that holds the page; `None` beyond the guest's end.
    pub(super) fn of_page(&self, page: u64) -> Option<Run> {
        let at = self.0.partition_point(|run| u64::from(run.end) <= page);
        let run = self.0.get(at)?;
        let start = match at {
            0 => 0,
            _ => u64::from(self.0[at - 1].end),
        };
        let source = match run.layer {
            ZERO => Source::Zero,
            index => Source::Layer {
                index,
                page: u64::from(run.page),
            },
        };
        Some(Run {
            start,
            pages: u64::from(run.end) - start,
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LayerId, MAX_PAGES, Written};

    #[test]
    fn every_page_has_the_run_that_the_mapping_has() {
        let last = MAX_PAGES - 1;
        let written = [
            Written::Data {
                pages: 2..5,
                at: MAX_PAGES - 3,
            },
            Written::Data { pages: 5..9, at: 0 },
            Written::Data {
                pages: last..MAX_PAGES,
                at: 7,
            },
        ];
        let mapping = Mapping::zero(MAX_PAGES).unwrap();
        let mapping = mapping.overlaid(LayerId::from_bytes([1; 16]), &written);
        let mapping = mapping.unwrap();
        let runs = Runs::new(&mapping);
        for run in mapping.runs() {
            for page in [run.start, run.start + run.pages / 2, run.end() - 1] {
                assert_eq!(runs.of_page(page), Some(*run), "page {page}");
            }
        }
        assert_eq!(runs.of_page(MAX_PAGES), None);
    }
}
