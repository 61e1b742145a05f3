//! What a page server has done, for who started it.
//!
//! A file of fixed size, little-endian, written over in place by one `pwrite` whenever the server goes to sleep:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `WRENNPGS` |
//! | 7 × u64 | state, faults, copied, zero, removed, prefetched and recorded pages |

use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    os::unix::fs::FileExt,
    path::Path,
};

const MAGIC: u64 = u64::from_le_bytes(*b"WRENNPGS");
const WORDS: usize = 8;
const BYTES: usize = WORDS * size_of::<u64>();

/// What a page server does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u64)]
pub enum State {
    /// It has no VM yet.
    #[default]
    Waiting = 1,
    /// It brings the working set, and what the guest asks for.
    Prefetching = 2,
    /// It brings what the guest asks for.
    Serving = 3,
    /// The VM has ended.
    Ended = 4,
    /// It gave up, so its VM can only be ended.
    Failed = 5,
}

impl State {
    fn from_word(word: u64) -> Option<Self> {
        let states = [
            Self::Waiting,
            Self::Prefetching,
            Self::Serving,
            Self::Ended,
            Self::Failed,
        ];
        states.into_iter().find(|&state| state as u64 == word)
    }
}

/// What a page server has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// What it does now.
    pub state: State,
    /// Faults that it was told of.
    pub faults: u64,
    /// Pages copied from layers, prefetched ones too.
    pub copied_pages: u64,
    /// Pages made zero, prefetched ones too.
    pub zero_pages: u64,
    /// Pages that the guest gave back.
    pub removed_pages: u64,
    /// Pages brought before anybody asked for them.
    pub prefetched_pages: u64,
    /// Pages of the working set that was recorded; 0 until it is.
    pub recorded_pages: u64,
}

impl Stats {
    /// Reads the file of a page server.
    ///
    /// # Errors
    /// What the file system says; `InvalidData` when it is no such file.
    pub fn read(path: &Path) -> io::Result<Self> {
        let no_stats = || io::Error::new(ErrorKind::InvalidData, "not a page server's counters");
        let bytes = fs::read(path)?;
        let (words, rest) = bytes.as_chunks::<8>();
        let words: Vec<u64> = words.iter().map(|&word| u64::from_le_bytes(word)).collect();
        match (words[..].try_into(), rest) {
            (Ok(words), []) => Self::from_words(words).ok_or_else(no_stats),
            _ => Err(no_stats()),
        }
    }

    fn words(&self) -> [u64; WORDS] {
        [
            MAGIC,
            self.state as u64,
            self.faults,
            self.copied_pages,
            self.zero_pages,
            self.removed_pages,
            self.prefetched_pages,
            self.recorded_pages,
        ]
    }

    fn from_words(words: [u64; WORDS]) -> Option<Self> {
        let [
            magic,
            state,
            faults,
            copied_pages,
            zero_pages,
            removed_pages,
            prefetched_pages,
            recorded_pages,
        ] = words;
        let state = State::from_word(state).filter(|_| magic == MAGIC)?;
        Some(Self {
            state,
            faults,
            copied_pages,
            zero_pages,
            removed_pages,
            prefetched_pages,
            recorded_pages,
        })
    }
}

/// The counters and the file that shows them, if one is wanted.
#[derive(Debug)]
pub(super) struct StatsFile {
    file: Option<File>,
    pub(super) now: Stats,
    shown: Option<Stats>,
}

impl StatsFile {
    /// Shows them in `file`, which is empty.
    pub(super) fn new(file: Option<File>) -> Self {
        let mut stats = Self {
            file,
            now: Stats::default(),
            shown: None,
        };
        stats.show();
        stats
    }

    /// Shows what has changed.
    pub(super) fn show(&mut self) {
        if self.shown == Some(self.now) {
            return;
        }
        self.shown = Some(self.now);
        let mut bytes = [0; BYTES];
        for (bytes, word) in bytes.chunks_exact_mut(8).zip(self.now.words()) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        // A full disk must not end a VM: then the counters stand still.
        let _ = self.file.as_ref().map(|file| file.write_all_at(&bytes, 0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_reads_back_and_nothing_else_reads() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("stats");
        let mut file = StatsFile::new(Some(File::create(&path).unwrap()));
        assert_eq!(Stats::read(&path).unwrap(), Stats::default());
        file.now = Stats {
            state: State::Ended,
            faults: 1,
            copied_pages: 2,
            zero_pages: 3,
            removed_pages: 4,
            prefetched_pages: 5,
            recorded_pages: u64::MAX,
        };
        file.show();
        assert_eq!(Stats::read(&path).unwrap(), file.now);
        let bytes = fs::read(&path).unwrap();
        let check = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            assert_eq!(
                Stats::read(&path).unwrap_err().kind(),
                ErrorKind::InvalidData
            );
        };
        check(&[]);
        check(&bytes[..BYTES - 1]);
        check(&[&bytes[..], &[0]].concat());
        check(&[&[0], &bytes[1..]].concat());
        check(&[&bytes[..8], &[9], &bytes[9..]].concat());
    }
}
