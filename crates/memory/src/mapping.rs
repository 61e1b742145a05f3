//! The mapping of a snapshot's pages to what holds them.
//!
//! Runs lie side by side from page 0 to the end, none empty, no two neighbours that could be one; every layer
//! of the list is used. So two mappings are equal exactly when every page is in the same place.

use std::ops::Range;

use crate::LayerId;

/// Pages of the largest guest: 1 TiB.
pub const MAX_PAGES: u64 = 1 << 28;
/// Layers of one mapping: ten generations over their first, and room.
pub const MAX_LAYERS: usize = 64;
/// Runs of one mapping. Beyond it a snapshot is to be written flat: a page would cost as much to find as to read.
pub const MAX_RUNS: usize = 1 << 18;

/// What holds a run of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nothing: they are zero.
    Zero,
    /// A layer, from this page of its file on.
    Layer {
        /// Which of [`Mapping::layers`].
        index: u32,
        /// Page of its file.
        page: u64,
    },
}

impl Source {
    /// The same, `pages` further on.
    pub(crate) fn after(self, pages: u64) -> Self {
        match self {
            Self::Zero => Self::Zero,
            Self::Layer { index, page } => Self::Layer {
                index,
                page: page + pages,
            },
        }
    }
}

/// Pages that lie together in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// First page of the guest.
    pub start: u64,
    /// How many pages.
    pub pages: u64,
    /// Where they are.
    pub source: Source,
}

impl Run {
    /// First page after it.
    pub(crate) fn end(&self) -> u64 {
        self.start + self.pages
    }
}

/// Where a page is, and how many pages from it on lie together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Of the page.
    pub source: Source,
    /// At least 1.
    pub pages: u64,
}

/// Pages that a new generation wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// These pages of the guest lie in the new layer's file from this page on.
    Data {
        /// Of the guest.
        pages: Range<u64>,
        /// Of the file.
        at: u64,
    },
    /// These pages of the guest are zero now.
    Zero(Range<u64>),
}

impl Written {
    fn pages(&self) -> &Range<u64> {
        match self {
            Self::Data { pages, .. } | Self::Zero(pages) => pages,
        }
    }
}

/// Why there is no such mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MappingError {
    /// A guest has 1 to [`MAX_PAGES`] pages.
    #[error("a guest of {0} pages")]
    Size(u64),
    /// Runs must lie side by side from page 0 to the end.
    #[error("page {0} is mapped twice, out of order or not at all")]
    Order(u64),
    /// A run is empty, or ends beyond what a file can hold.
    #[error("the run at page {0} has no possible length")]
    Length(u64),
    /// A run names a layer that is not in the list.
    #[error("the run at page {0} names no layer")]
    Layer(u64),
    /// A layer is listed twice or not used.
    #[error("layer {0} is listed twice or not used")]
    Unused(LayerId),
    /// Neighbours are one run.
    #[error("the run at page {0} continues the one before")]
    Mergeable(u64),
    /// More than [`MAX_LAYERS`].
    #[error("{0} layers")]
    TooManyLayers(usize),
    /// More than [`MAX_RUNS`].
    #[error("{0} runs")]
    TooManyRuns(usize),
}

/// Where every page of a guest is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    pages: u64,
    layers: Vec<LayerId>,
    runs: Vec<Run>,
}

impl Mapping {
    /// A guest of `pages` pages, all zero.
    ///
    /// # Errors
    /// When a guest cannot have that size.
    pub fn zero(pages: u64) -> Result<Self, MappingError> {
        let runs = vec![Run {
            start: 0,
            pages,
            source: Source::Zero,
        }];
        Self::from_parts(pages, Vec::new(), runs)
    }

    /// A mapping as it was written down; every rule of this module is checked.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn from_parts(
        pages: u64,
        layers: Vec<LayerId>,
        runs: Vec<Run>,
    ) -> Result<Self, MappingError> {
        if pages == 0 || pages > MAX_PAGES {
            return Err(MappingError::Size(pages));
        }
        if layers.len() > MAX_LAYERS {
            return Err(MappingError::TooManyLayers(layers.len()));
        }
        if runs.len() > MAX_RUNS {
            return Err(MappingError::TooManyRuns(runs.len()));
        }
        let mut used = vec![false; layers.len()];
        let mut next = 0;
        let mut before = None;
        for run in &runs {
            if run.start != next {
                return Err(MappingError::Order(next));
            }
            if run.pages == 0 || run.pages > pages - next {
                return Err(MappingError::Length(next));
            }
            if let Source::Layer { index, page } = run.source {
                let used = used
                    .get_mut(index as usize)
                    .ok_or(MappingError::Layer(next))?;
                *used = true;
                if page > MAX_PAGES - run.pages {
                    return Err(MappingError::Length(next));
                }
            }
            if before == Some(run.source) {
                return Err(MappingError::Mergeable(next));
            }
            before = Some(run.source.after(run.pages));
            next = run.end();
        }
        if next != pages {
            return Err(MappingError::Order(next));
        }
        let twice = (1..layers.len()).find(|&at| layers[..at].contains(&layers[at]));
        if let Some(at) = used.iter().position(|used| !used).or(twice) {
            return Err(MappingError::Unused(layers[at]));
        }
        Ok(Self {
            pages,
            layers,
            runs,
        })
    }

    /// What the guest is after a generation that wrote `written`, in order of pages, to the new `layer`.
    /// Layers of which nothing is seen any more are left out.
    ///
    /// # Errors
    /// When `written` is out of order or beyond the guest, `layer` is one that is in use, or there are too many
    /// layers or runs: then the snapshot is to be written flat.
    pub fn overlaid(&self, layer: LayerId, written: &[Written]) -> Result<Self, MappingError> {
        if self.layers.contains(&layer) {
            return Err(MappingError::Unused(layer));
        }
        let mut over = Overlay {
            below: self,
            runs: Vec::with_capacity(self.runs.len() + 2 * written.len()),
            next: 0,
            run: 0,
        };
        let new = u32::try_from(self.layers.len())
            .map_err(|_| MappingError::TooManyLayers(self.layers.len()))?;
        for piece in written {
            let pages = piece.pages();
            if pages.start < over.next {
                return Err(MappingError::Order(pages.start));
            }
            let source = match piece {
                Written::Data { at, .. } => Source::Layer {
                    index: new,
                    page: *at,
                },
                Written::Zero(_) => Source::Zero,
            };
            let is_beyond = matches!(source, Source::Layer { page, .. } if page > MAX_PAGES);
            if pages.is_empty() || pages.end > self.pages || is_beyond {
                return Err(MappingError::Length(pages.start));
            }
            over.keep_to(pages.start);
            push(
                &mut over.runs,
                Run {
                    start: pages.start,
                    pages: pages.end - pages.start,
                    source,
                },
            );
            over.next = pages.end;
        }
        over.keep_to(self.pages);
        let mut layers = self.layers.clone();
        layers.push(layer);
        let runs = leave_out_unused(&mut layers, over.runs);
        Self::from_parts(self.pages, layers, runs)
    }

    /// Where the guest's page is; `None` beyond its end.
    #[must_use]
    pub fn at(&self, page: u64) -> Option<Extent> {
        let run = &self.runs[self.runs.partition_point(|run| run.end() <= page)..];
        let run = run.first()?;
        Some(Extent {
            source: run.source.after(page - run.start),
            pages: run.end() - page,
        })
    }

    /// Pages of the guest.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// The layers, oldest first.
    #[must_use]
    pub fn layers(&self) -> &[LayerId] {
        &self.layers
    }

    /// The runs, by page.
    #[must_use]
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The layer whose file holds every page at its own place, zeros as holes or zeros: such a file can be mapped
    /// as it is.
    #[must_use]
    pub fn flat(&self) -> Option<LayerId> {
        let [layer] = self.layers[..] else {
            return None;
        };
        let in_place = |run: &Run| match run.source {
            Source::Zero => true,
            Source::Layer { page, .. } => page == run.start,
        };
        self.runs.iter().all(in_place).then_some(layer)
    }
}

/// A new generation's runs while they are made.
struct Overlay<'a> {
    below: &'a Mapping,
    runs: Vec<Run>,
    /// First page that is not mapped yet.
    next: u64,
    /// Run of `below` that holds it.
    run: usize,
}

impl Overlay<'_> {
    /// Takes over what lies below from `next` to `end`.
    fn keep_to(&mut self, end: u64) {
        while self.next < end {
            let run = self.below.runs[self.run];
            if run.end() <= self.next {
                self.run += 1;
                continue;
            }
            let pages = run.end().min(end) - self.next;
            let source = run.source.after(self.next - run.start);
            push(
                &mut self.runs,
                Run {
                    start: self.next,
                    pages,
                    source,
                },
            );
            self.next += pages;
        }
    }
}

/// Adds a run, or lengthens the last when this one continues it.
fn push(runs: &mut Vec<Run>, run: Run) {
    match runs.last_mut() {
        Some(last) if last.source.after(last.pages) == run.source => last.pages += run.pages,
        _ => runs.push(run),
    }
}

/// Drops layers that no run names and numbers the rest anew.
fn leave_out_unused(layers: &mut Vec<LayerId>, mut runs: Vec<Run>) -> Vec<Run> {
    let mut numbers = vec![None; layers.len()];
    for run in &runs {
        if let Source::Layer { index, .. } = run.source {
            numbers[index as usize] = Some(0);
        }
    }
    for (number, next) in numbers.iter_mut().flatten().zip(0..) {
        *number = next;
    }
    for run in &mut runs {
        if let Source::Layer { index, .. } = &mut run.source {
            *index = numbers[*index as usize].unwrap_or_default();
        }
    }
    let mut at = 0;
    layers.retain(|_| {
        at += 1;
        numbers[at - 1].is_some()
    });
    runs
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAGES: u64 = 64;

    fn layer(number: u8) -> LayerId {
        LayerId::from_bytes([number; 16])
    }

    /// What a page holds: the generation that wrote it and its place in that generation's file; `None` is zero.
    type Model = Vec<Option<(LayerId, u64)>>;

    fn seen(mapping: &Mapping) -> Model {
        let at = |page| match mapping.at(page).unwrap().source {
            Source::Zero => None,
            Source::Layer { index, page } => Some((mapping.layers()[index as usize], page)),
        };
        (0..mapping.pages()).map(at).collect()
    }

    /// Pieces in order, made from gaps and lengths.
    fn generation() -> impl Strategy<Value = Vec<Written>> {
        let piece = (0..6_u64, 1..6_u64, any::<bool>(), 0..1000_u64);
        proptest::collection::vec(piece, 0..12).prop_map(|pieces| {
            let mut next = 0;
            let mut written = Vec::new();
            for (gap, length, is_data, at) in pieces {
                let pages = next + gap..next + gap + length;
                next = pages.end;
                if next > PAGES {
                    break;
                }
                written.push(if is_data {
                    Written::Data { pages, at }
                } else {
                    Written::Zero(pages)
                });
            }
            written
        })
    }

    proptest! {
        #[test]
        fn every_page_is_what_the_last_generation_that_wrote_it_made_it(
            generations in proptest::collection::vec(generation(), 0..12)
        ) {
            let mut mapping = Mapping::zero(PAGES).unwrap();
            let mut model: Model = vec![None; PAGES as usize];
            for (number, written) in generations.iter().enumerate() {
                let id = layer(number as u8 + 1);
                for piece in written {
                    for page in piece.pages().clone() {
                        model[page as usize] = match piece {
                            Written::Zero(_) => None,
                            Written::Data { pages, at } => Some((id, at + page - pages.start)),
                        };
                    }
                }
                mapping = mapping.overlaid(id, written).unwrap();
                prop_assert_eq!(seen(&mapping), model.clone());
                let again = Mapping::from_parts(PAGES, mapping.layers().to_vec(), mapping.runs().to_vec());
                prop_assert_eq!(again.as_ref(), Ok(&mapping));
            }
        }

        #[test]
        fn an_extent_ends_where_its_run_ends(written in generation(), page in 0..PAGES) {
            let mapping = Mapping::zero(PAGES).unwrap().overlaid(layer(1), &written).unwrap();
            let extent = mapping.at(page).unwrap();
            prop_assert!(extent.pages >= 1);
            let runs = mapping.runs();
            prop_assert!(runs.iter().any(|run| run.end() == page + extent.pages));
            prop_assert!(runs.iter().all(|run| run.start <= page || run.start >= page + extent.pages));
            prop_assert_eq!(mapping.at(PAGES), None);
        }
    }

    #[test]
    fn a_layer_of_which_nothing_is_seen_is_left_out() {
        let data = |pages: Range<u64>| {
            [Written::Data {
                at: pages.start,
                pages,
            }]
        };
        let first = Mapping::zero(8)
            .unwrap()
            .overlaid(layer(1), &data(2..4))
            .unwrap();
        let second = first.overlaid(layer(2), &data(6..8)).unwrap();
        assert_eq!(second.layers(), [layer(1), layer(2)]);
        let third = second.overlaid(layer(3), &data(1..5)).unwrap();
        assert_eq!(third.layers(), [layer(2), layer(3)]);
        assert_eq!(third.flat(), None);
        let whole = third.overlaid(layer(4), &data(0..8)).unwrap();
        assert_eq!(
            (whole.layers(), whole.flat()),
            (&[layer(4)][..], Some(layer(4)))
        );
        assert_eq!(whole.runs().len(), 1);
        assert_eq!(first.flat(), Some(layer(1)));
        let moved = [Written::Data { pages: 2..4, at: 0 }];
        assert_eq!(
            Mapping::zero(8)
                .unwrap()
                .overlaid(layer(1), &moved)
                .unwrap()
                .flat(),
            None
        );
    }

    #[test]
    fn what_breaks_a_rule_is_refused() {
        let run = |start, pages, source| Run {
            start,
            pages,
            source,
        };
        let data = |index, page| Source::Layer { index, page };
        let check = |layers: &[LayerId], runs: &[Run], expected| {
            assert_eq!(
                Mapping::from_parts(8, layers.to_vec(), runs.to_vec()),
                Err(expected)
            );
        };
        let one = [layer(1)];
        check(&[], &[], MappingError::Order(0));
        check(&[], &[run(0, 7, Source::Zero)], MappingError::Order(7));
        check(&[], &[run(1, 7, Source::Zero)], MappingError::Order(0));
        check(&[], &[run(0, 9, Source::Zero)], MappingError::Length(0));
        check(
            &[],
            &[run(0, u64::MAX, Source::Zero)],
            MappingError::Length(0),
        );
        check(&[], &[run(0, 0, Source::Zero)], MappingError::Length(0));
        check(&[], &[run(0, 8, data(0, 0))], MappingError::Layer(0));
        check(
            &one,
            &[run(0, 8, data(0, u64::MAX))],
            MappingError::Length(0),
        );
        check(
            &one,
            &[run(0, 8, Source::Zero)],
            MappingError::Unused(layer(1)),
        );
        check(
            &[layer(1), layer(1)],
            &[run(0, 4, data(0, 0)), run(4, 4, data(1, 0))],
            MappingError::Unused(layer(1)),
        );
        check(
            &one,
            &[run(0, 4, data(0, 0)), run(4, 4, data(0, 4))],
            MappingError::Mergeable(4),
        );
        check(
            &[],
            &[run(0, 4, Source::Zero), run(4, 4, Source::Zero)],
            MappingError::Mergeable(4),
        );
        for pages in [0, MAX_PAGES + 1, u64::MAX] {
            assert_eq!(Mapping::zero(pages), Err(MappingError::Size(pages)));
        }
        let zero = Mapping::zero(8).unwrap();
        let written = |pieces: &[Written]| zero.overlaid(layer(1), pieces);
        let zeros = |start, end| Written::Zero(start..end);
        assert_eq!(
            written(&[zeros(2, 4), zeros(3, 5)]),
            Err(MappingError::Order(3))
        );
        assert_eq!(written(&[zeros(2, 9)]), Err(MappingError::Length(2)));
        assert_eq!(written(&[zeros(2, 2)]), Err(MappingError::Length(2)));
        let beyond = [Written::Data {
            pages: 2..4,
            at: u64::MAX,
        }];
        assert_eq!(
            zero.overlaid(layer(1), &beyond),
            Err(MappingError::Length(2))
        );
    }
}
