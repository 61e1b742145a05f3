//! One number for what a file holds, wherever its holes are.

use std::{
    fs::File,
    io,
    ops::Range,
    os::unix::fs::{FileExt as _, MetadataExt as _},
};

use crc32fast::Hasher;
use rustix::fs::{SeekFrom, seek};

use crate::PAGE_BYTES;

/// Bytes read at a time.
const PIECE: usize = 1 << 20;

/// CRC-32 over the number and the bytes of each page that is not all zeros, and the length: a hole and zeros
/// are the same, and any single changed bit changes it. It guards against damage, not against forgery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksum(pub u32);

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Of all of it.
    pub checksum: Checksum,
    /// The pages that are not all zeros, by number; runs that touch are one.
    pub pages: Vec<Range<u64>>,
}

/// What a file holds, page by page as it is read or written, in order.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    hasher: Hasher,
    pages: Vec<Range<u64>>,
}

impl Tally {
    /// The next page; the last of a file may be shorter.
    pub(crate) fn add(&mut self, number: u64, page: &[u8]) {
        if page.iter().all(|byte| *byte == 0) {
            return;
        }
        self.hasher.update(&number.to_le_bytes());
        self.hasher.update(page);
        match self.pages.last_mut() {
            Some(last) if last.end == number => last.end += 1,
            _ => self.pages.push(number..number + 1),
        }
    }

    /// All of a file of so many bytes was added.
    pub(crate) fn finish(self, length: u64) -> Contents {
        let mut whole = Hasher::new();
        whole.update(&length.to_le_bytes());
        whole.combine(&self.hasher);
        Contents {
            checksum: Checksum(whole.finalize()),
            pages: self.pages,
        }
    }
}

/// Reads a file once. Holes are not read. Blocking.
///
/// # Errors
/// When it cannot be read.
pub fn contents(file: &File) -> io::Result<Contents> {
    let length = file.metadata()?.size();
    let mut found = Tally::default();
    let mut buffer = vec![0; PIECE];
    for extent in extents(file, length)? {
        let mut at = extent.start;
        while at < extent.end {
            let piece = (extent.end - at).min(PIECE as u64) as usize;
            file.read_exact_at(&mut buffer[..piece], at)?;
            let first = at / PAGE_BYTES;
            for (number, page) in (first..).zip(buffer[..piece].chunks(PAGE_BYTES as usize)) {
                found.add(number, page);
            }
            at += piece as u64;
        }
    }
    Ok(found.finish(length))
}

/// The parts of a file that are not holes, widened to whole pages, in bytes.
fn extents(file: &File, length: u64) -> io::Result<Vec<Range<u64>>> {
    let mut found: Vec<Range<u64>> = Vec::new();
    let mut at = 0;
    while at < length {
        let data = match seek(file, SeekFrom::Data(at)) {
            Ok(data) => data,
            Err(rustix::io::Errno::NXIO) => break, // no data up to the end
            Err(error) => return Err(error.into()),
        };
        let hole = seek(file, SeekFrom::Hole(data))?;
        let start = data / PAGE_BYTES * PAGE_BYTES;
        let end = hole.next_multiple_of(PAGE_BYTES).min(length);
        match found.last_mut() {
            Some(last) if last.end >= start => last.end = end,
            _ => found.push(start..end),
        }
        at = end;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(byte: u8) -> Vec<u8> {
        vec![byte; PAGE_BYTES as usize]
    }

    #[test]
    fn holes_are_zeros_and_every_bit_counts() {
        let dir = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let mut options = File::options();
            options.create_new(true).read(true).write(true);
            let file = options.open(dir.path().join(name)).unwrap();
            file.set_len(600 * PAGE_BYTES).unwrap();
            file.write_all_at(&page(7), 3 * PAGE_BYTES).unwrap();
            file.write_all_at(&page(8), 4 * PAGE_BYTES).unwrap();
            file.write_all_at(&page(9), 599 * PAGE_BYTES).unwrap();
            file
        };
        let sparse = make("sparse");
        let found = contents(&sparse).unwrap();
        assert_eq!(found.pages, [3..5, 599..600]);

        let zeroed = make("zeroed");
        zeroed.write_all_at(&page(0), 300 * PAGE_BYTES).unwrap();
        assert_eq!(contents(&zeroed).unwrap(), found);
        for (at, bit) in [(3 * PAGE_BYTES, 0), (4 * PAGE_BYTES + 77, 7), (0, 3)] {
            let flipped = make(&format!("flipped-{at}"));
            let mut byte = [0];
            flipped.read_exact_at(&mut byte, at).unwrap();
            flipped.write_all_at(&[byte[0] ^ 1 << bit], at).unwrap();
            assert_ne!(contents(&flipped).unwrap().checksum, found.checksum);
        }
        let shorter = make("shorter");
        shorter.set_len(599 * PAGE_BYTES).unwrap();
        assert_ne!(contents(&shorter).unwrap().checksum, found.checksum);
    }

    #[test]
    fn a_file_that_ends_within_a_page_is_read_to_its_end() {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, b"short").unwrap();
        let found = contents(&file).unwrap();
        assert_eq!(found.pages.first(), Some(&(0..1)));
    }
}
