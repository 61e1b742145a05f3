//! Which pages a memory file holds.
//!
//! Firecracker writes a page of the guest at its own place: all of them in a full snapshot, the dirty ones in a
//! diff, which leaves holes for the rest. So what is data was written, a page of zeros too; what is a hole was not.

use std::{
    fs::File,
    io::{self, ErrorKind},
    ops::Range,
};

use rustix::{
    fs::{SeekFrom, fstatfs, seek},
    io::Errno,
};

use crate::PAGE_BYTES;

/// The pages that are data in `file`, the memory of a guest of `pages` pages. Moves the file's position.
///
/// # Errors
/// `InvalidData` when the file has not the guest's size; `Unsupported` on a file system whose blocks are larger
/// than a page, where a hole is not told from data; what the kernel says of the file otherwise.
pub fn data_extents(file: &File, pages: u64) -> io::Result<Vec<Range<u64>>> {
    let length = file.metadata()?.len();
    if Some(length) != pages.checked_mul(PAGE_BYTES) {
        return Err(io::Error::new(
            ErrorKind::InvalidData,
            format!("a memory file of {length} bytes for {pages} pages"),
        ));
    }
    let block = fstatfs(file)?.f_bsize;
    if u64::try_from(block).is_ok_and(|block| block > PAGE_BYTES) {
        return Err(io::Error::new(
            ErrorKind::Unsupported,
            format!("a file system with blocks of {block} bytes"),
        ));
    }
    let mut written: Vec<Range<u64>> = Vec::new();
    let mut next = 0;
    loop {
        let start = match seek(file, SeekFrom::Data(next)) {
            Err(Errno::NXIO) => return Ok(written), // no more data
            start => start? / PAGE_BYTES,
        };
        next = seek(file, SeekFrom::Hole(start * PAGE_BYTES))?;
        let end = next.div_ceil(PAGE_BYTES);
        match written.last_mut() {
            // Smaller blocks may end within a page.
            Some(last) if last.end >= start => last.end = end,
            _ => written.push(start..end),
        }
    }
}

#[cfg(test)]
#[expect(
    clippy::single_range_in_vec_init,
    reason = "one range is what is meant"
)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    const PAGES: u64 = 512;

    fn check(written: &[Range<u64>], expected: &[Range<u64>]) {
        let file = tempfile::tempfile().unwrap();
        file.set_len(PAGES * PAGE_BYTES).unwrap();
        for pages in written {
            for page in pages.clone() {
                // Zeros in every other page: they are data nevertheless.
                let content = vec![(page % 2) as u8; PAGE_BYTES as usize];
                file.write_all_at(&content, page * PAGE_BYTES).unwrap();
            }
        }
        let extents = data_extents(&file, PAGES).unwrap();
        assert_eq!(extents, expected);
        file.sync_all().unwrap();
        assert_eq!(
            data_extents(&file, PAGES).unwrap(),
            expected,
            "after writing back"
        );
    }

    #[test]
    fn what_was_written_is_data_and_what_was_not_is_a_hole() {
        check(&[], &[]);
        check(&[0..PAGES], &[0..PAGES]);
        check(&[0..1], &[0..1]);
        check(&[PAGES - 1..PAGES], &[PAGES - 1..PAGES]);
        check(&[7..8, 9..10, 100..300], &[7..8, 9..10, 100..300]);
        check(&[30..31, 29..30, 31..40], &[29..40]);
    }

    #[test]
    fn a_file_of_another_size_is_refused() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(PAGES * PAGE_BYTES).unwrap();
        for pages in [0, PAGES - 1, PAGES + 1, u64::MAX] {
            let refused = data_extents(&file, pages).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::InvalidData, "{pages}");
        }
    }
}
