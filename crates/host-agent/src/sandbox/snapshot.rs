//! A sandbox's snapshot on disk: `gen-<n>/` beside its manifest.
//!
//! ```text
//! gen-<n>/vmstate         the devices, in Firecracker's format
//! gen-<n>/memory          the header: which page lies in which layer
//! gen-<n>/<id>.layer      the layers, hard links: a generation holds all that it needs. The first of a line has
//!                         each page at its own place, the others have theirs side by side
//! ```
//!
//! The files never change once the manifest names them; the manifest has a checksum of each. Everything here
//! blocks. What Firecracker wrote is taken as hostile: its jail may hold anything under these names.

use std::{
    fs::{self, File},
    io::{self, BufWriter},
    os::unix::fs::{
        DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
    },
    path::{Path, PathBuf},
    time::SystemTime,
};

use serde::{Deserialize, Serialize};
use wrenn_memory::{
    Checksum, Contents, HEADER_FILE, LayerId, MAX_LAYERS, Mapping, MappingError, PAGE_BYTES,
    Reader, SnapshotError, Written, contents, data_extents, header, layer_file,
};

use super::{verified::Verified, view::PauseReason};
use crate::failpoint;

/// The devices in the directory of a generation; the memory has its own names.
pub(crate) const VMSTATE: &str = "vmstate";
/// Differences on top of a whole memory; then comes a whole one again.
pub(crate) const MAX_DIFFERENCES: usize = 10;
const _: () = assert!(MAX_DIFFERENCES < MAX_LAYERS);
/// Bytes of a difference written at once.
const PACKED_AT_ONCE: usize = 1 << 20;
/// Zero pages between two others that are worth a hole.
const WORTH_A_HOLE: u64 = 16;

/// The record of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Of the generation: the `n` of its directory.
    pub number: u64,
    /// When it was taken, in ms since the Unix epoch.
    pub at_ms: i64,
    /// Why the sandbox was paused.
    pub reason: PauseReason,
    /// Version of the VMM that wrote it and alone reads it.
    pub firecracker_version: String,
    /// Version of envd inside.
    pub envd_version: String,
    /// Its files.
    pub files: Vec<FileRecord>,
}

/// One file of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// In the directory.
    pub name: String,
    /// Length in bytes.
    pub bytes: u64,
    /// See [`Checksum`].
    pub checksum: u32,
}

/// What a snapshot's memory holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All of it.
    Full,
    /// What differs from the generation before.
    Difference,
}

/// A snapshot that cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused.
    #[error("{action} {}", path.display())]
    File {
        /// What was attempted.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file is not what was written.
    #[error("{} is {how}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        how: &'static str,
    },
    /// The memory of the generation below is not whole.
    #[error("read the snapshot's memory")]
    Memory(#[from] SnapshotError),
    /// The pages have no mapping.
    #[error("map the snapshot's memory")]
    Mapping(#[from] MappingError),
    /// No random name for a layer.
    #[error("name a layer")]
    Random(#[source] getrandom::Error),
}

impl Error {
    /// Whether a file is not there.
    pub(crate) fn is_absence(&self) -> bool {
        matches!(self, Self::File { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Whether the snapshot itself is at fault, and not the host.
    pub(crate) fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Damaged { .. } | Self::Memory(_) | Self::Mapping(_)
        )
    }
}

/// The directory of generation `number`.
pub(crate) fn directory(sandbox: &Path, number: u64) -> PathBuf {
    sandbox.join(format!("gen-{number}"))
}

/// Where a generation whose memory is one layer has it.
pub(crate) fn flat_layer(generation: &Path, mapping: &Mapping) -> Option<PathBuf> {
    Some(generation.join(layer_file(mapping.flat()?)))
}

/// What Firecracker has written, and what it belongs to.
#[derive(Debug)]
pub(crate) struct Taken<'a> {
    /// The sandbox's directory.
    pub(crate) sandbox: &'a Path,
    /// Of the new generation.
    pub(crate) number: u64,
    /// Pages of the guest.
    pub(crate) pages: u64,
    pub(crate) vmstate: &'a Path,
    pub(crate) memory: &'a Path,
    /// The generation that a difference lies on.
    pub(crate) below: Option<&'a Snapshot>,
}

impl Taken<'_> {
    /// Makes a generation of it, durable but for the manifest that will name it.
    ///
    /// # Errors
    /// When something is not as Firecracker writes it, or the file system refuses.
    pub(crate) fn publish(&self, verified: &Verified) -> Result<Vec<FileRecord>, Error> {
        let generation = directory(self.sandbox, self.number);
        remove(&generation)?;
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&generation)
            .map_err(failed("create", &generation))?;
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(Error::Random)?;
        let layer = LayerId::from_bytes(random);

        let vmstate = take(self.vmstate, &generation.join(VMSTATE))?;
        let memory_path = generation.join(layer_file(layer));
        let (mapping, memory) = match self.below {
            None => {
                let (memory, bytes) = take(self.memory, &memory_path)?;
                self.has_all(&memory_path, bytes)?;
                let (mapping, found) = whole(&memory, &memory_path, layer, self.pages)?;
                (mapping, Some((memory, found.checksum)))
            }
            Some(below) => {
                let below = Reader::open(&directory(self.sandbox, below.number))?;
                // Where it is: it goes with its jail, or once the VM goes on.
                let (dump, bytes) = open(self.memory)?;
                self.has_all(self.memory, bytes)?;
                difference(&dump, self.memory, &memory_path, layer, &below)?
            }
        };
        let (mut files, mut written) = (Vec::new(), Vec::new());
        let mut seal = |file: File, path: PathBuf, known: Option<Checksum>| {
            let checksum = match known {
                Some(checksum) => checksum,
                None => contents(&file).map_err(failed("read", &path))?.checksum,
            };
            // A time long ago: whatever writes to it later, within the same tick of the clock too, changes it.
            file.set_modified(SystemTime::UNIX_EPOCH)
                .map_err(failed("date", &path))?;
            verified.remember(&file, checksum);
            let record = record(&path, &file, checksum);
            written.push((file, path));
            record
        };
        files.push(seal(vmstate.0, generation.join(VMSTATE), None)?);
        if let Some((memory, checksum)) = memory {
            files.push(seal(memory, memory_path, Some(checksum))?);
        }
        let path = generation.join(HEADER_FILE);
        let mut file = File::create_new(&path).map_err(failed("create", &path))?;
        failpoint::write_all(&mut file, &path, &header::encode(&mapping))
            .map_err(failed("write", &path))?;
        let file = File::open(&path).map_err(failed("open", &path))?;
        files.push(seal(file, path, None)?);
        if let Some(below) = self.below {
            let old = directory(self.sandbox, below.number);
            for kept in mapping.layers().iter().filter(|kept| **kept != layer) {
                files.push(share(&old, &generation, below, *kept)?);
            }
        }
        for directory in [&*generation, self.sandbox] {
            let opened = File::open(directory).map_err(failed("open", directory))?;
            written.push((opened, directory.to_owned()));
        }
        sync(&written)?;
        Ok(files)
    }

    /// Whether a memory file of so many bytes is the guest's.
    fn has_all(&self, path: &Path, bytes: u64) -> Result<(), Error> {
        if bytes == self.pages * PAGE_BYTES {
            return Ok(());
        }
        let how = "not as long as the guest's memory";
        let path = path.to_owned();
        Err(Error::Damaged { path, how })
    }
}

/// Makes files durable, all at once: what one of them waits for, the file system does for the others too.
fn sync(files: &[(File, PathBuf)]) -> Result<(), Error> {
    std::thread::scope(|scope| {
        let syncs: Vec<_> = files
            .iter()
            .map(|(file, path)| {
                scope.spawn(move || failpoint::sync(file, path).map_err(failed("sync", path)))
            })
            .collect();
        let join = |sync: std::thread::ScopedJoinHandle<'_, _>| {
            sync.join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        syncs.into_iter().map(join).fold(Ok(()), Result::and)
    })
}

/// A layer of the generation below, in the new one too.
fn share(old: &Path, new: &Path, below: &Snapshot, layer: LayerId) -> Result<FileRecord, Error> {
    let name = layer_file(layer);
    let path = new.join(&name);
    failpoint::at_file("link", &path)
        .and_then(|()| fs::hard_link(old.join(&name), &path))
        .map_err(failed("link", &path))?;
    let known = below.files.iter().find(|file| file.name == name);
    known.cloned().ok_or(Error::Damaged {
        path,
        how: "a layer that the record does not name",
    })
}

/// Moves a file out of a jail and makes it ours and read-only.
fn take(from: &Path, to: &Path) -> Result<(File, u64), Error> {
    failpoint::at_file("take", to)
        .and_then(|()| fs::rename(from, to))
        .map_err(failed("take", from))?;
    let (file, bytes) = open(to)?;
    std::os::unix::fs::fchown(&file, Some(0), Some(0)).map_err(failed("own", to))?;
    protect(&file, to)?;
    Ok((file, bytes))
}

/// Opens a file out of a jail, which must be a plain one; gives its length too.
fn open(path: &Path) -> Result<(File, u64), Error> {
    let mut options = File::options();
    options.read(true).write(true);
    options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32);
    let file = failpoint::at_file("open", path)
        .and_then(|()| options.open(path))
        .map_err(failed("open", path))?;
    let stat = file.metadata().map_err(failed("measure", path))?;
    if !stat.is_file() || stat.nlink() != 1 {
        let (path, how) = (path.to_owned(), "not a plain file");
        return Err(Error::Damaged { path, how });
    }
    Ok((file, stat.len()))
}

/// Nobody writes to it any more. Readable by all, because a jail's uid is one of many; nobody but root gets as far
/// as its directory.
fn protect(file: &File, path: &Path) -> Result<(), Error> {
    file.set_permissions(fs::Permissions::from_mode(0o444))
        .map_err(failed("protect", path))
}

/// The mapping of a whole memory; longer runs of zeros become holes.
fn whole(
    file: &File,
    path: &Path,
    layer: LayerId,
    pages: u64,
) -> Result<(Mapping, Contents), Error> {
    let found = contents(file).map_err(failed("read", path))?;
    let mut written: Vec<Written> = Vec::new();
    let mut end = 0;
    for run in &found.pages {
        match written.last_mut() {
            Some(Written::Data { pages, .. }) if run.start - end < WORTH_A_HOLE => {
                pages.end = run.end;
            }
            _ => {
                punch(file, end..run.start).map_err(failed("make a hole in", path))?;
                written.push(Written::Data {
                    pages: run.clone(),
                    at: run.start,
                });
            }
        }
        end = run.end;
    }
    punch(file, end..pages).map_err(failed("make a hole in", path))?;
    if written.is_empty() {
        // A guest of nothing but zeros; a layer has to be seen somewhere.
        written.push(Written::Data { pages: 0..1, at: 0 });
    }
    Ok((Mapping::zero(pages)?.overlaid(layer, &written)?, found))
}

fn punch(file: &File, pages: std::ops::Range<u64>) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    if pages.is_empty() {
        return Ok(());
    }
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    let (at, length) = (
        pages.start * PAGE_BYTES,
        (pages.end - pages.start) * PAGE_BYTES,
    );
    Ok(fallocate(file, flags, at, length)?)
}

/// Packs what changed into the new file of `layer`: what is no hole in `dump`, zeros included, and not what it was
/// `below`; no file when nothing did. Firecracker writes more than what changed: to KVM every page is dirty that a
/// page server brought and the guest only read, because it is mapped for writing (Linux, `make_spte`).
fn difference(
    dump: &File,
    dump_path: &Path,
    path: &Path,
    layer: LayerId,
    below: &Reader,
) -> Result<(Mapping, Option<(File, Checksum)>), Error> {
    let written = data_extents(dump, below.mapping().pages()).map_err(failed("read", dump_path))?;
    let mut options = File::options();
    options.read(true).write(true).create_new(true);
    let file = options.open(path).map_err(failed("create", path))?;
    let packed = failpoint::at_file("write", path)
        .and_then(|()| {
            below.pack(
                dump,
                &written,
                BufWriter::with_capacity(PACKED_AT_ONCE, &file),
            )
        })
        .map_err(failed("write", path))?;
    if packed.changed.is_empty() {
        fs::remove_file(path).map_err(failed("delete", path))?;
        return Ok((below.mapping().clone(), None));
    }
    protect(&file, path)?;
    let mapping = below.mapping().overlaid(layer, &packed.changed)?;
    Ok((mapping, Some((file, packed.checksum))))
}

/// Removes a generation; one that is gone already is success.
pub(crate) fn remove(generation: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(generation) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("delete", generation)(error))
        }
        _ => Ok(()),
    }
}

/// Removes every generation of a sandbox but `kept`.
pub(crate) fn remove_others(sandbox: &Path, kept: Option<u64>) -> Result<(), Error> {
    let kept = kept.map(|number| directory(sandbox, number));
    for entry in fs::read_dir(sandbox).map_err(failed("list", sandbox))? {
        let path = entry.map_err(failed("list", sandbox))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("gen-") && Some(&path) != kept.as_ref() {
            remove(&path)?;
        }
    }
    Ok(())
}

impl Snapshot {
    /// Allocated bytes of its files.
    pub(crate) fn allocated(&self, sandbox: &Path) -> u64 {
        allocated(&directory(sandbox, self.number), &self.files)
    }

    /// Checks every file against its record.
    ///
    /// # Errors
    /// With the first that is missing or is not what was written.
    pub(crate) fn check(&self, sandbox: &Path, verified: &Verified) -> Result<(), Error> {
        check(&directory(sandbox, self.number), &self.files, verified)
    }
}

/// Allocated bytes of the files in `directory`.
pub(crate) fn allocated(directory: &Path, files: &[FileRecord]) -> u64 {
    let blocks = |file: &FileRecord| fs::metadata(directory.join(&file.name)).ok();
    let found = files.iter().filter_map(blocks);
    found.map(|stat| stat.blocks() * 512).sum()
}

/// Checks every file in `directory` against its record.
///
/// # Errors
/// With the first that is missing or is not what was written.
pub(crate) fn check(
    directory: &Path,
    files: &[FileRecord],
    verified: &Verified,
) -> Result<(), Error> {
    for known in files {
        let path = directory.join(&known.name);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let how = "missing";
                return Err(Error::Damaged { path, how });
            }
            opened => opened.map_err(failed("open", &path))?,
        };
        let checksum = verified.checksum(&file).map_err(failed("read", &path))?;
        if record(&path, &file, checksum)? != *known {
            let how = "not what was written";
            return Err(Error::Damaged { path, how });
        }
    }
    Ok(())
}

/// The record of a file that has this checksum.
pub(crate) fn record(path: &Path, file: &File, checksum: Checksum) -> Result<FileRecord, Error> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(FileRecord {
        name: name.into_owned(),
        bytes: file.metadata().map_err(failed("measure", path))?.len(),
        checksum: checksum.0,
    })
}

/// Makes the names in a directory durable.
pub(crate) fn sync_directory(path: &Path) -> Result<(), Error> {
    let synced = File::open(path).and_then(|directory| directory.sync_all());
    synced.map_err(failed("sync directory", path))
}

/// What a refusal of the file system is.
pub(crate) fn failed(action: &'static str, path: &Path) -> impl Fn(io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::File {
        action,
        path: path.clone(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use wrenn_memory::read_mapping;

    use super::*;

    const PAGES: u64 = 64;

    struct Fixture {
        dir: tempfile::TempDir,
        verified: Verified,
    }

    impl Fixture {
        fn new() -> Self {
            Self {
                dir: tempfile::tempdir().unwrap(),
                verified: Verified::default(),
            }
        }

        /// A memory file of so many pages with these pages written, as Firecracker leaves it.
        fn written(&self, pages: &[(u64, u8)]) -> (PathBuf, PathBuf) {
            let path = |name: &str| self.dir.path().join(name);
            fs::write(path("vmstate.new"), "devices").unwrap();
            let file = File::create(path("memory.new")).unwrap();
            file.set_len(PAGES * PAGE_BYTES).unwrap();
            for (page, byte) in pages {
                let bytes = vec![*byte; PAGE_BYTES as usize];
                file.write_all_at(&bytes, page * PAGE_BYTES).unwrap();
            }
            (path("vmstate.new"), path("memory.new"))
        }

        fn publish(&self, number: u64, pages: &[(u64, u8)], below: Option<&Snapshot>) -> Snapshot {
            let (vmstate, memory) = self.written(pages);
            let taken = Taken {
                sandbox: self.dir.path(),
                number,
                pages: PAGES,
                vmstate: &vmstate,
                memory: &memory,
                below,
            };
            Snapshot {
                number,
                at_ms: 0,
                reason: PauseReason::User,
                firecracker_version: "1".into(),
                envd_version: "1".into(),
                files: taken.publish(&self.verified).unwrap(),
            }
        }

        /// The guest's page, read through the mapping.
        fn page(&self, snapshot: &Snapshot, page: u64) -> u8 {
            let generation = directory(self.dir.path(), snapshot.number);
            let mapping = read_mapping(&generation).unwrap();
            match mapping.at(page).unwrap().source {
                wrenn_memory::Source::Zero => 0,
                wrenn_memory::Source::Layer { index, page } => {
                    let layer = mapping.layers()[index as usize];
                    let file = File::open(generation.join(layer_file(layer))).unwrap();
                    let mut byte = [0];
                    file.read_exact_at(&mut byte, page * PAGE_BYTES).unwrap();
                    byte[0]
                }
            }
        }
    }

    #[test]
    fn a_difference_lies_on_what_was_and_keeps_it_when_the_old_generation_goes() {
        let fixture = Fixture::new();
        let first = fixture.publish(1, &[(0, 1), (1, 1), (40, 1)], None);
        let generation = directory(fixture.dir.path(), 1);
        assert!(flat_layer(&generation, &read_mapping(&generation).unwrap()).is_some());
        // Page 1 is zero now, and that is data; page 40 is as it was, and that is not.
        let second = fixture.publish(2, &[(1, 0), (2, 2), (40, 1)], Some(&first));
        remove_others(fixture.dir.path(), Some(2)).unwrap();
        assert!(!generation.exists());
        second
            .check(fixture.dir.path(), &Verified::default())
            .unwrap();
        for (page, expected) in [(0, 1), (1, 0), (2, 2), (3, 0), (40, 1), (63, 0)] {
            assert_eq!(fixture.page(&second, page), expected, "page {page}");
        }
        let generation = directory(fixture.dir.path(), 2);
        assert!(flat_layer(&generation, &read_mapping(&generation).unwrap()).is_none());
        assert_eq!(second.files.len(), 4);
        let bytes = |snapshot: &Snapshot| snapshot.files[1].bytes / PAGE_BYTES;
        assert_eq!((bytes(&first), bytes(&second)), (PAGES, 2));
        // Nothing is another layer.
        let third = fixture.publish(3, &[(2, 2)], Some(&second));
        let layers = |snapshot: &Snapshot| {
            let mut files = snapshot.files.clone();
            files.retain(|file| file.name.ends_with(".layer"));
            files.sort_by(|one, other| one.name.cmp(&other.name));
            files
        };
        assert_eq!(layers(&third), layers(&second));
        assert_eq!(fixture.page(&third, 2), 2);
    }

    #[test]
    fn a_flipped_bit_in_any_file_is_refused_also_when_it_was_verified_before() {
        let fixture = Fixture::new();
        let snapshot = fixture.publish(1, &[(0, 1), (40, 1)], None);
        let generation = directory(fixture.dir.path(), 1);
        for file in &snapshot.files {
            let path = generation.join(&file.name);
            let (mut bytes, sound) = (fs::read(&path).unwrap(), fs::read(&path).unwrap());
            snapshot
                .check(fixture.dir.path(), &fixture.verified)
                .unwrap();
            let last = bytes.len() - 1;
            bytes[last] ^= 0x10;
            for content in [&bytes, &bytes[..last].to_vec()] {
                fs::write(&path, content).unwrap();
                let error = snapshot.check(fixture.dir.path(), &fixture.verified);
                assert!(matches!(error, Err(Error::Damaged { .. })), "{}", file.name);
            }
            fs::write(&path, sound).unwrap();
        }
        fs::remove_file(generation.join(VMSTATE)).unwrap();
        let error = snapshot.check(fixture.dir.path(), &fixture.verified);
        assert!(matches!(error, Err(Error::Damaged { .. })));
    }

    #[test]
    fn what_a_jail_leaves_must_be_a_plain_file_of_the_right_length() {
        let fixture = Fixture::new();
        let check = |change: &dyn Fn(&Path, &Path)| {
            let (vmstate, memory) = fixture.written(&[]);
            change(&vmstate, &memory);
            let taken = Taken {
                sandbox: fixture.dir.path(),
                number: 1,
                pages: PAGES,
                vmstate: &vmstate,
                memory: &memory,
                below: None,
            };
            taken.publish(&fixture.verified).unwrap_err();
        };
        check(&|vmstate, _| {
            fs::remove_file(vmstate).unwrap();
            std::os::unix::fs::symlink("/etc/passwd", vmstate).unwrap();
        });
        check(&|_, memory| {
            fs::remove_file(memory).unwrap();
            fs::create_dir(memory).unwrap();
        });
        fs::remove_dir(fixture.dir.path().join("gen-1")).ok();
        fs::remove_dir_all(fixture.dir.path().join("memory.new")).ok();
        check(&|vmstate, _| {
            fs::hard_link(vmstate, vmstate.with_extension("link")).unwrap();
        });
        check(&|_, memory| {
            let file = File::options().write(true).open(memory).unwrap();
            file.set_len(PAGE_BYTES).unwrap();
        });
    }
}
