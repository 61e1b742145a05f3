//! A snapshot's memory, read page by page whatever layers it lies in.

use std::{
    fs::File,
    io::{self, ErrorKind, Write},
    ops::Range,
    os::unix::fs::FileExt as _,
    path::Path,
};

use rustix::fs::copy_file_range;

use crate::{
    Checksum, Mapping, PAGE_BYTES, Run, SnapshotError, Source, Written,
    checksum::Tally,
    read_mapping,
    snapshot::{OpenLayer, open_layers},
};

/// Pages compared at a time: 1 MiB.
const PIECE: u64 = 256;
/// Bytes copied between two looks whether the copy is still wanted.
const COPIED: u64 = 4 << 20;

/// What [`Reader::pack`] has written.
#[derive(Debug)]
pub struct Packed {
    /// The pages, for [`Mapping::overlaid`].
    pub changed: Vec<Written>,
    /// Of the file.
    pub checksum: Checksum,
}

/// A snapshot's memory, open. Everything here blocks.
#[derive(Debug)]
pub struct Reader {
    mapping: Mapping,
    layers: Vec<OpenLayer>,
}

impl Reader {
    /// Opens the memory in `directory`.
    ///
    /// # Errors
    /// When its header or a layer is missing or damaged.
    pub fn open(directory: &Path) -> Result<Self, SnapshotError> {
        let mapping = read_mapping(directory)?;
        let layers = open_layers(directory, &mapping)?;
        Ok(Self { mapping, layers })
    }

    /// Where its pages are.
    #[must_use]
    pub fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// Bytes of the pages that are not zero without being stored.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        let runs = self.mapping.runs().iter();
        let stored = runs.filter(|run| run.source != Source::Zero);
        stored.map(|run| run.pages * PAGE_BYTES).sum()
    }

    /// Of the pages that are `written` in `file`, each at its own place, copies those that are not what they are
    /// here to the empty `to`, side by side.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn pack(
        &self,
        file: &File,
        written: &[Range<u64>],
        mut to: impl Write,
    ) -> io::Result<Packed> {
        let mut tally = Tally::default();
        let mut changed: Vec<Written> = Vec::new();
        let (mut new, mut old) = (Vec::new(), Vec::new());
        let mut at = 0;
        for piece in written.iter().flat_map(pieces) {
            new.resize(((piece.end - piece.start) * PAGE_BYTES) as usize, 0);
            old.resize(new.len(), 0);
            file.read_exact_at(&mut new, piece.start * PAGE_BYTES)?;
            self.read(&piece, &mut old)?;
            let (new, _) = new.as_chunks::<{ PAGE_BYTES as usize }>();
            let (old, _) = old.as_chunks::<{ PAGE_BYTES as usize }>();
            for (page, (new, old)) in piece.zip(new.iter().zip(old)) {
                if new == old {
                    continue;
                }
                to.write_all(new)?;
                tally.add(at, new);
                match changed.last_mut() {
                    Some(Written::Data { pages, .. }) if pages.end == page => pages.end += 1,
                    _ => changed.push(Written::Data {
                        pages: page..page + 1,
                        at,
                    }),
                }
                at += 1;
            }
        }
        to.flush()?;
        let checksum = tally.finish(at * PAGE_BYTES).checksum;
        Ok(Packed { changed, checksum })
    }

    /// Writes all of it to the empty file `to`, each page at its own place and zeros as holes, unless it is not
    /// `wanted` any more; whether it is whole.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn flatten(&self, to: &File, wanted: impl Fn() -> bool) -> io::Result<bool> {
        to.set_len(self.mapping.pages() * PAGE_BYTES)?;
        for run in self.mapping.runs() {
            let Source::Layer { index, page } = run.source else {
                continue;
            };
            let layer = &self.layers[index as usize].file; // the mapping's rules
            let (mut from, mut at) = (page * PAGE_BYTES, run.start * PAGE_BYTES);
            let end = run.end() * PAGE_BYTES;
            while at < end {
                if !wanted() {
                    return Ok(false);
                }
                let bytes = (end - at).min(COPIED) as usize;
                if copy_file_range(layer, Some(&mut from), to, Some(&mut at), bytes)? == 0 {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
            }
        }
        Ok(true)
    }

    /// Fills `bytes` with `pages`.
    fn read(&self, pages: &Range<u64>, bytes: &mut [u8]) -> io::Result<()> {
        let runs = self.mapping.runs();
        let first = runs.partition_point(|run| run.end() <= pages.start);
        for run in &runs[first..] {
            let Range { start, end } = within(run, pages);
            if start >= end {
                break;
            }
            let place = |page: u64| ((page - pages.start) * PAGE_BYTES) as usize;
            let bytes = &mut bytes[place(start)..place(end)];
            match run.source.after(start - run.start) {
                Source::Zero => bytes.fill(0),
                Source::Layer { index, page } => {
                    let layer = &self.layers[index as usize].file; // the mapping's rules
                    layer.read_exact_at(bytes, page * PAGE_BYTES)?;
                }
            }
        }
        Ok(())
    }
}

/// The same pages, a bounded number at a time.
fn pieces(pages: &Range<u64>) -> impl Iterator<Item = Range<u64>> + use<> {
    let Range { start, end } = *pages;
    let starts = (start..end).step_by(PIECE as usize);
    starts.map(move |start| start..end.min(start + PIECE))
}

fn within(run: &Run, pages: &Range<u64>) -> Range<u64> {
    run.start.max(pages.start)..run.end().min(pages.end)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;
    use crate::{HEADER_FILE, LayerId, contents, data_extents, header, layer_file};

    const PAGES: u64 = 700;

    fn page(byte: u8) -> Vec<u8> {
        vec![byte; PAGE_BYTES as usize]
    }

    /// A snapshot of generations that each wrote some pages with one byte, and what every page is then.
    fn snapshot(generations: &[Vec<(u64, u8)>]) -> (tempfile::TempDir, Vec<u8>) {
        let directory = tempfile::tempdir().unwrap();
        let mut model = vec![0; PAGES as usize];
        let mut mapping = Mapping::zero(PAGES).unwrap();
        for (number, generation) in generations.iter().enumerate() {
            let layer = LayerId::from_bytes([number as u8 + 1; 16]);
            let file = File::create(directory.path().join(layer_file(layer))).unwrap();
            file.set_len(PAGES * PAGE_BYTES).unwrap();
            let mut pages: Vec<_> = generation.iter().map(|(page, _)| *page).collect();
            pages.sort_unstable();
            pages.dedup();
            for (number, byte) in generation {
                file.write_all_at(&page(*byte), number * PAGE_BYTES)
                    .unwrap();
                model[*number as usize] = *byte;
            }
            let written = pages.iter().map(|&page| Written::Data {
                pages: page..page + 1,
                at: page,
            });
            let written: Vec<_> = written.collect();
            mapping = mapping.overlaid(layer, &written).unwrap();
        }
        fs::write(directory.path().join(HEADER_FILE), header::encode(&mapping)).unwrap();
        (directory, model)
    }

    fn check(flat: &File, model: &[u8]) {
        let mut bytes = vec![0xff; (PAGES * PAGE_BYTES) as usize];
        flat.read_exact_at(&mut bytes, 0).unwrap();
        for (found, byte) in bytes.chunks(PAGE_BYTES as usize).zip(model) {
            assert!(found.iter().all(|found| found == byte));
        }
    }

    fn generation() -> impl Strategy<Value = Vec<(u64, u8)>> {
        proptest::collection::vec((0..PAGES, 0..3_u8), 1..60)
    }

    proptest! {
        #[test]
        fn it_is_what_the_generations_wrote(
            generations in proptest::collection::vec(generation(), 1..5),
            other in generation(),
        ) {
            let (directory, model) = snapshot(&generations);
            let reader = Reader::open(directory.path()).unwrap();
            let flat = tempfile::tempfile_in(&directory).unwrap();
            prop_assert!(reader.flatten(&flat, || true).unwrap());
            check(&flat, &model);

            // What a VM writes, half of it as it was.
            let dump = tempfile::tempfile_in(&directory).unwrap();
            dump.set_len(PAGES * PAGE_BYTES).unwrap();
            let mut after = model.clone();
            for (number, byte) in &other {
                dump.write_all_at(&page(*byte), number * PAGE_BYTES).unwrap();
                after[*number as usize] = *byte;
            }
            let written = data_extents(&dump, PAGES).unwrap();
            let layer = LayerId::from_bytes([9; 16]);
            let mut options = File::options();
            options.create_new(true).read(true).write(true);
            let file = options.open(directory.path().join(layer_file(layer))).unwrap();
            let Packed { changed, checksum } = reader.pack(&dump, &written, &file).unwrap();
            prop_assert_eq!(contents(&file).unwrap().checksum, checksum);
            let pages = (0..PAGES as usize).filter(|&page| model[page] != after[page]);
            prop_assert_eq!(file.metadata().unwrap().len(), pages.count() as u64 * PAGE_BYTES);
            let mapping = reader.mapping().overlaid(layer, &changed).unwrap();
            fs::write(directory.path().join(HEADER_FILE), header::encode(&mapping)).unwrap();
            let flat = tempfile::tempfile_in(&directory).unwrap();
            Reader::open(directory.path()).unwrap().flatten(&flat, || true).unwrap();
            check(&flat, &after);
        }
    }

    #[test]
    fn a_copy_that_nobody_wants_ends() {
        let (directory, _) = snapshot(&[vec![(3, 1)]]);
        let reader = Reader::open(directory.path()).unwrap();
        let flat = tempfile::tempfile_in(&directory).unwrap();
        assert!(!reader.flatten(&flat, || false).unwrap());
    }
}
