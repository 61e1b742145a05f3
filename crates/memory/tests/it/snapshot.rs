//! Snapshots whose content is known.

use std::{fs, fs::File, ops::Range, os::unix::fs::FileExt, path::Path};

use wrenn_memory::{
    HEADER_FILE, LayerId, Mapping, PAGE_BYTES, Source, Written, header, layer_file,
};

use crate::random::Random;

/// 64-bit words of a page.
pub(crate) const WORDS: u64 = PAGE_BYTES / 8;

/// A snapshot in a directory of its own.
pub(crate) struct Snapshot {
    pub(crate) mapping: Mapping,
    pub(crate) directory: tempfile::TempDir,
}

impl Snapshot {
    /// One of `pages` pages and `layers` layers, each of which wrote scattered runs, some of them zeros.
    pub(crate) fn new(pages: u64, layers: u8) -> Self {
        let mut random = Random::new(u64::from(layers) + pages);
        let mut mapping = Mapping::zero(pages).unwrap();
        let directory = tempfile::tempdir().unwrap();
        for number in 1..=layers {
            let written = generation(pages, u64::from(number) * 100, &mut random);
            mapping = mapping.overlaid(layer(number), &written).unwrap();
            write_layer(directory.path(), number, &written);
        }
        let used = mapping.layers().len();
        assert_eq!(used, usize::from(layers), "the test wants them all");
        Self::publish(mapping, directory)
    }

    /// One of two layers that hold the pages in turn, so each is a run of its own; all content is zeros.
    pub(crate) fn in_turn(pages: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let all = |step| {
            let data = |page| Written::Data {
                pages: page..page + 1,
                at: page,
            };
            (0..pages).step_by(step).map(data).collect::<Vec<_>>()
        };
        let mapping = Mapping::zero(pages).unwrap();
        let mapping = mapping.overlaid(layer(1), &all(1)).unwrap();
        let mapping = mapping.overlaid(layer(2), &all(2)).unwrap();
        for number in 1..=2 {
            let file = File::create(directory.path().join(layer_file(layer(number)))).unwrap();
            file.set_len(pages * PAGE_BYTES).unwrap();
        }
        Self::publish(mapping, directory)
    }

    fn publish(mapping: Mapping, directory: tempfile::TempDir) -> Self {
        fs::write(directory.path().join(HEADER_FILE), header::encode(&mapping)).unwrap();
        Self { mapping, directory }
    }

    pub(crate) fn pages(&self) -> u64 {
        self.mapping.pages()
    }

    /// The file of a layer of it.
    pub(crate) fn layer_file(&self, index: usize) -> File {
        let name = layer_file(self.mapping.layers()[index]);
        let path = self.directory.path().join(name);
        File::options().write(true).open(path).unwrap()
    }

    /// What a page is to hold.
    pub(crate) fn word(&self, page: u64, word: u64) -> u64 {
        match self.mapping.at(page).unwrap().source {
            Source::Zero => 0,
            Source::Layer { index, page } => {
                let number = self.mapping.layers()[index as usize].as_bytes()[0];
                content(number, page, word)
            }
        }
    }
}

fn layer(number: u8) -> LayerId {
    LayerId::from_bytes([number; 16])
}

/// No word of any page is that of another, and none is zero.
fn content(layer: u8, page: u64, word: u64) -> u64 {
    u64::from(layer) << 48 | page << 16 | word
}

/// Runs of 1 to 362 pages, some beside each other, others up to two `gaps` apart, from anywhere in the file.
fn generation(pages: u64, gap: u64, random: &mut Random) -> Vec<Written> {
    let mut next = 0;
    let mut written = Vec::new();
    loop {
        let start = next + random.below(3) * random.below(gap);
        let length = 1 + random.below(20) * random.below(20);
        next = start + length;
        if next > pages {
            return written;
        }
        written.push(match random.below(4) {
            0 => Written::Zero(start..next),
            kind => Written::Data {
                pages: start..next,
                at: start + kind * 7,
            },
        });
    }
}

fn write_layer(directory: &Path, number: u8, written: &[Written]) {
    let file = File::create(directory.join(layer_file(layer(number)))).unwrap();
    for piece in written {
        if let Written::Data { pages, at } = piece {
            let bytes = file_content(number, *at..*at + (pages.end - pages.start));
            file.write_all_at(&bytes, at * PAGE_BYTES).unwrap();
        }
    }
}

fn file_content(layer: u8, pages: Range<u64>) -> Vec<u8> {
    let words = |page| (0..WORDS).map(move |word| content(layer, page, word));
    pages.flat_map(words).flat_map(u64::to_ne_bytes).collect()
}
