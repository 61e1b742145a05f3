//! CoW files read and written without a device: the kernel's persistent exception store.
//!
//! ```text
//! chunk 0            header: magic, valid, version, sectors of a chunk (four little-endian u32)
//! chunk 1            area 0: 256 × (old chunk, new chunk), two little-endian u64 each; new chunk 0 ends it
//! chunks 2–257       what area 0 names, in the order in which it was written
//! chunk 258, …       area 1 and so on, every 257 chunks
//! ```
//!
//! (Linux, drivers/md/dm-snap-persistent.c.) The kernel alone writes a disk's store while it is attached, so
//! these functions are for files that no device writes. A file that is not such a store is an error, never a
//! guess: this is where a sandbox's data are.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::copy_file_range;

use crate::number::CHUNK;
use crate::{DiskSize, Error, Result};

const MAGIC: u32 = 0x7041_6e53;
const VERSION: u32 = 1;
const CHUNK_SECTORS: u32 = 8;
/// Exceptions in an area, which is one chunk.
const PER_AREA: u64 = CHUNK / 16;
/// From one area to the next.
const STRIDE: u64 = PER_AREA + 1;

/// Which chunks of a disk a CoW file holds, and where.
#[derive(Debug)]
struct Exceptions {
    file: File,
    path: PathBuf,
    /// Chunk of the disk → chunk of the file.
    chunks: BTreeMap<u64, u64>,
}

/// Whether the CoW file holds anything. One that no device ever wrote is empty and has no header.
///
/// # Errors
/// When it is not a store.
pub fn is_empty(cow: &Path) -> Result<bool> {
    Ok(Exceptions::read(cow)?.chunks.is_empty())
}

/// Makes the new CoW file `to`, for a disk of `size`, that says what those of `stack` say, bottom first. Durable
/// but for its name. Blocks.
///
/// # Errors
/// When one of them is not a store, or a file cannot be read or written.
pub fn merge(stack: &[&Path], to: &Path, size: DiskSize) -> Result<()> {
    let stack = read_all(stack)?;
    let target = create(to, size.cow_bytes())?;
    let newest = newest(&stack);
    let mut header = [0; 16];
    for (at, word) in [MAGIC, 1, VERSION, CHUNK_SECTORS].into_iter().enumerate() {
        header[at * 4..][..4].copy_from_slice(&word.to_le_bytes());
    }
    let write = |bytes: &[u8], at| target.write_all_at(bytes, at).map_err(failed("write", to));
    write(&header, 0)?;
    let mut area = Vec::with_capacity(CHUNK as usize);
    for (at, (old, (source, chunk))) in (0_u64..).zip(&newest) {
        let new = place(at);
        copy(&stack[*source], *chunk, &target, to, new)?;
        area.extend(old.to_le_bytes());
        area.extend(new.to_le_bytes());
        if area.len() as u64 == CHUNK {
            write(&area, (1 + at / PER_AREA * STRIDE) * CHUNK)?;
            area.clear();
        }
    }
    // An area that is full is followed by an empty one; the file is new, so it is there already.
    write(&area, (1 + newest.len() as u64 / PER_AREA * STRIDE) * CHUNK)?;
    target.sync_all().map_err(failed("sync", to))
}

/// Makes the new file `to` with the whole disk of `size`: the image, over it what the CoW files of `stack` say,
/// bottom first; chunks of zeros are holes. Durable but for its name. Blocks.
///
/// # Errors
/// As [`merge`], and when the disk is smaller than the image.
pub fn flatten(image: &Path, stack: &[&Path], to: &Path, size: DiskSize) -> Result<()> {
    let stack = read_all(stack)?;
    let source = File::open(image).map_err(failed("open", image))?;
    let length = source.metadata().map_err(failed("measure", image))?.len();
    if length > size.as_bytes() {
        return Err(Error::SmallerThanBase {
            wanted: size.sectors(),
            base: length / 512,
        });
    }
    let target = create(to, size.as_bytes())?;
    let newest = newest(&stack);
    let mut chunk = vec![0; CHUNK as usize];
    let mut put = |file: &File, from: &Path, at: u64, old: u64| -> Result<()> {
        let room = (size.as_bytes() - old * CHUNK).min(CHUNK) as usize;
        let bytes = &mut chunk[..room];
        file.read_exact_at(bytes, at)
            .map_err(failed("read", from))?;
        if bytes.iter().any(|byte| *byte != 0) {
            let written = target.write_all_at(bytes, old * CHUNK);
            written.map_err(failed("write", to))?;
        }
        Ok(())
    };
    for data in data_chunks(&source, length).map_err(failed("read", image))? {
        for old in data.filter(|old| !newest.contains_key(old)) {
            put(&source, image, old * CHUNK, old)?;
        }
    }
    for (old, (at, new)) in newest {
        if old * CHUNK >= size.as_bytes() {
            return Err(damaged(&stack[at].path, "a chunk beyond the disk's end"));
        }
        put(&stack[at].file, &stack[at].path, new * CHUNK, old)?;
    }
    target.sync_all().map_err(failed("sync", to))
}

impl Exceptions {
    fn read(path: &Path) -> Result<Self> {
        let mut file = File::open(path).map_err(failed("open", path))?;
        let length = file.metadata().map_err(failed("measure", path))?.len();
        let mut header = [0; 16];
        match file.read_exact(&mut header) {
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                return Err(failed("read", path)(error));
            }
            _ => {} // what is too short has no header
        }
        let mut words = header.chunks_exact(4).map(|word| {
            u32::from_le_bytes(word.try_into().unwrap_or_default()) // it is four bytes long
        });
        let mut word = || words.next().unwrap_or_default();
        let (magic, valid, version, sectors) = (word(), word(), word(), word());
        let mut chunks = BTreeMap::new();
        match magic {
            0 => {}
            MAGIC if (valid, version, sectors) == (1, VERSION, CHUNK_SECTORS) => {
                read_areas(&file, path, length / CHUNK, &mut chunks)?;
            }
            MAGIC => {
                return Err(damaged(
                    path,
                    "invalid, or of another version or chunk size",
                ));
            }
            _ => return Err(damaged(path, "no CoW file")),
        }
        Ok(Self {
            file,
            path: path.to_owned(),
            chunks,
        })
    }
}

fn read_areas(
    file: &File,
    path: &Path,
    chunks_in_file: u64,
    chunks: &mut BTreeMap<u64, u64>,
) -> Result<()> {
    let mut area = [0; CHUNK as usize];
    for at in (1..chunks_in_file).step_by(STRIDE as usize) {
        let read = file.read_exact_at(&mut area, at * CHUNK);
        read.map_err(failed("read", path))?;
        for entry in area.as_chunks::<16>().0 {
            let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap_or_default());
            let (old, new) = (number(&entry[..8]), number(&entry[8..]));
            if new == 0 {
                return Ok(());
            }
            if new >= chunks_in_file || new % STRIDE == 1 || old > u64::MAX / CHUNK {
                return Err(damaged(path, "an exception that leads nowhere"));
            }
            if chunks.insert(old, new).is_some() {
                return Err(damaged(path, "two exceptions for one chunk"));
            }
        }
    }
    Ok(())
}

fn read_all(stack: &[&Path]) -> Result<Vec<Exceptions>> {
    stack.iter().map(|path| Exceptions::read(path)).collect()
}

/// For each chunk the file of the stack that says what it is, and where.
fn newest(stack: &[Exceptions]) -> BTreeMap<u64, (usize, u64)> {
    let mut newest = BTreeMap::new();
    for (at, exceptions) in stack.iter().enumerate() {
        newest.extend(
            exceptions
                .chunks
                .iter()
                .map(|(old, new)| (*old, (at, *new))),
        );
    }
    newest
}

/// The chunk of the file that the exception number `at` gets: every second and following, but the areas.
fn place(at: u64) -> u64 {
    2 + at / PER_AREA * STRIDE + at % PER_AREA
}

fn create(path: &Path, length: u64) -> Result<File> {
    let mut options = File::options();
    options.read(true).write(true).create_new(true).mode(0o600);
    let file = options.open(path).map_err(failed("create", path))?;
    file.set_len(length).map_err(failed("size", path))?;
    Ok(file)
}

fn copy(from: &Exceptions, chunk: u64, to: &File, path: &Path, at: u64) -> Result<()> {
    let (mut read, mut write) = (chunk * CHUNK, at * CHUNK);
    let end = write + CHUNK;
    while write < end {
        let left = (end - write) as usize;
        let copied = copy_file_range(&from.file, Some(&mut read), to, Some(&mut write), left)
            .map_err(|errno| failed("copy to", path)(errno.into()))?;
        if copied == 0 {
            return Err(damaged(&from.path, "it ends within a chunk"));
        }
    }
    Ok(())
}

/// The chunks of a file that are no holes.
fn data_chunks(file: &File, length: u64) -> io::Result<Vec<std::ops::Range<u64>>> {
    use rustix::fs::{SeekFrom, seek};
    let (mut found, mut at) = (Vec::new(), 0);
    while at < length {
        at = match seek(file, SeekFrom::Data(at)) {
            Err(rustix::io::Errno::NXIO) => break, // no more data
            start => start?,
        };
        let end = seek(file, SeekFrom::Hole(at))?;
        found.push(at / CHUNK..end.div_ceil(CHUNK));
        at = end;
    }
    Ok(found)
}

fn failed(action: &'static str, path: &Path) -> impl Fn(io::Error) -> Error {
    move |source| Error::File {
        action,
        path: path.to_owned(),
        source,
    }
}

fn damaged(path: &Path, detail: &'static str) -> Error {
    Error::NotAStore {
        path: path.to_owned(),
        detail,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    struct Fixture(tempfile::TempDir);

    impl Fixture {
        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        /// A store with these chunks of these bytes, in the order in which they were first written.
        fn store(&self, name: &str, chunks: &[(u64, u8)]) -> PathBuf {
            let path = self.path(name);
            let file = create(&path, size().cow_bytes()).unwrap();
            for (at, word) in [MAGIC, 1, VERSION, CHUNK_SECTORS].into_iter().enumerate() {
                file.write_all_at(&word.to_le_bytes(), at as u64 * 4)
                    .unwrap();
            }
            for (at, (old, byte)) in (0..).zip(chunks) {
                let entry = (1 + at / PER_AREA * STRIDE) * CHUNK + at % PER_AREA * 16;
                file.write_all_at(&old.to_le_bytes(), entry).unwrap();
                file.write_all_at(&place(at).to_le_bytes(), entry + 8)
                    .unwrap();
                file.write_all_at(&[*byte; CHUNK as usize], place(at) * CHUNK)
                    .unwrap();
            }
            path
        }
    }

    fn fixture() -> Fixture {
        Fixture(tempfile::tempdir().unwrap())
    }

    fn size() -> DiskSize {
        DiskSize::mib(16).unwrap()
    }

    fn byte_of(path: &Path, chunk: u64) -> Option<u8> {
        let store = Exceptions::read(path).unwrap();
        let mut bytes = [0; CHUNK as usize];
        let at = store.chunks.get(&chunk)? * CHUNK;
        store.file.read_exact_at(&mut bytes, at).unwrap();
        assert!(bytes.iter().all(|byte| *byte == bytes[0]));
        Some(bytes[0])
    }

    #[test]
    fn what_is_written_higher_wins_whatever_the_number_of_areas() {
        for count in [0, 1, 255, 256, 257, 600] {
            let fixture = fixture();
            let low: Vec<_> = (0..count).map(|chunk| (chunk * 3, 1)).collect();
            let high = [(0, 2), (7, 2)];
            let (low, high) = (fixture.store("low", &low), fixture.store("high", &high));
            let merged = fixture.path("merged");
            merge(&[&low, &high], &merged, size()).unwrap();
            for chunk in 0..count * 3 + 8 {
                let expected = byte_of(&high, chunk).or(byte_of(&low, chunk));
                assert_eq!(
                    byte_of(&merged, chunk),
                    expected,
                    "chunk {chunk} of {count}"
                );
            }
            assert!(
                merge(&[&low], &merged, size()).is_err(),
                "nothing is overwritten"
            );
        }
    }

    #[test]
    fn a_flat_disk_is_the_image_with_what_was_written_and_its_zeros_are_holes() {
        let fixture = fixture();
        let image = fixture.path("image");
        let mut bytes = vec![0; 8 << 20];
        bytes[..CHUNK as usize].fill(9);
        bytes[4 << 20..5 << 20].fill(8);
        std::fs::write(&image, &bytes).unwrap();
        // Of the image a chunk is overwritten with zeros, another with data; one lies beyond its end.
        let low = fixture.store("low", &[(0, 0), (1025, 3), (4095, 4)]);
        let high = fixture.store("high", &[(1025, 0), (1026, 5)]);
        let flat = fixture.path("flat");
        flatten(&image, &[&low, &high], &flat, size()).unwrap();
        bytes[..CHUNK as usize].fill(0);
        bytes.resize(16 << 20, 0);
        for (chunk, byte) in [(1025, 0), (1026, 5), (4095, 4)] {
            bytes[chunk * CHUNK as usize..][..CHUNK as usize].fill(byte);
        }
        assert!(std::fs::read(&flat).unwrap() == bytes);
        let used = std::fs::metadata(&flat).unwrap().blocks() * 512;
        assert!(used <= (1 << 20) + 16 * CHUNK, "{used} bytes");
        let small = DiskSize::mib(4).unwrap();
        assert!(flatten(&image, &[], &fixture.path("x"), small).is_err());
    }

    #[test]
    fn what_is_no_store_is_refused_and_an_unused_one_is_empty() {
        let fixture = fixture();
        assert!(is_empty(&fixture.store("empty", &[])).unwrap());
        let unused = fixture.path("unused");
        drop(create(&unused, 1 << 20).unwrap());
        assert!(is_empty(&unused).unwrap());
        let good = std::fs::read(fixture.store("good", &[(5, 1), (6, 2)])).unwrap();
        let check = |at: usize, bytes: &[u8], expected: &str| {
            let mut changed = good.clone();
            changed[at..][..bytes.len()].copy_from_slice(bytes);
            let path = fixture.path("changed");
            std::fs::write(&path, changed).unwrap();
            let refused = is_empty(&path).unwrap_err().to_string();
            assert!(refused.contains(expected), "{refused}");
        };
        check(0, b"x", "no CoW file");
        check(4, &[0], "invalid");
        check(8, &[2], "another version");
        check(12, &[16], "chunk size");
        let first = CHUNK as usize;
        check(first + 8, &u64::MAX.to_le_bytes(), "leads nowhere");
        check(first + 8, &1_u64.to_le_bytes(), "leads nowhere");
        check(first, &u64::MAX.to_le_bytes(), "leads nowhere");
        check(first, &6_u64.to_le_bytes(), "two exceptions");
    }
}
