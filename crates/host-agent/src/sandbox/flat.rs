//! Flat copies: the memory of a paused sandbox in one file, so that its next resumption maps it and needs no page
//! server.
//!
//! ```text
//! pause ─▶ wish ─▶ a moment ─▶ flat/<sandbox>-<n> ─▶ a resumption links it into its jail ─▶ removed
//!                                       └── removed too: destroyed, or the oldest above the limit
//! ```
//!
//! A copy is made in the background, one at a time, only of a memory of several layers, and belongs to the task of
//! its sandbox while that is paused. It is a hint: the layers are the snapshot, and are checked all the same. What
//! it was made from is known to the agent that made it only, so the next agent begins without any.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, SystemTime},
};

use tokio::{
    sync::mpsc::{self, Receiver, Sender},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use wrenn_memory::{Reader, SnapshotError};

use super::{
    Host,
    verified::{Stamp, stamp},
};
use crate::{chain, facts};

/// Copies that wait to be made; more are not made.
const WISHES: usize = 256;
/// Who resumes a sandbox sooner than this after its pause does not compete with a copy, before stretching.
const MOMENT: Duration = Duration::from_millis(500);
/// What a copy leaves free on the disk, in multiples of its size.
const SPARE: u64 = 2;

/// The flat copies of one host.
#[derive(Debug)]
pub(crate) struct FlatCopies {
    directory: PathBuf,
    max_bytes: u64,
    wishes: Sender<Wish>,
    /// Until the builder takes it.
    inbox: Mutex<Option<Receiver<Wish>>>,
    /// Those that were made, oldest first.
    made: Mutex<VecDeque<Weak<Inner>>>,
}

/// The copy of one paused sandbox, made or not. Dropped, it is removed.
#[derive(Debug)]
pub(crate) struct FlatCopy(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    unwanted: CancellationToken,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It is not there, or only a part of it.
    Absent,
    /// It is there: so long, and as it was made when its file has this stamp.
    Made(u64, Stamp),
    /// A resumption uses it.
    InUse,
}

#[derive(Debug)]
struct Wish {
    generation: PathBuf,
    copy: Arc<Inner>,
    not_before: Instant,
}

/// Why a copy was not made; its text is for the log.
#[derive(Debug, thiserror::Error)]
enum MakeError {
    #[error("read the layers")]
    Snapshot(#[from] SnapshotError),
    #[error("write the copy")]
    Write(#[from] io::Error),
}

impl FlatCopies {
    /// Copies below `directory`, which is emptied, of so many bytes in all.
    pub(crate) fn open(directory: PathBuf, max_bytes: u64) -> io::Result<Self> {
        if let Err(error) = fs::remove_dir_all(&directory)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        fs::create_dir_all(&directory)?;
        let (wishes, inbox) = mpsc::channel(WISHES);
        Ok(Self {
            directory,
            max_bytes,
            wishes,
            inbox: Mutex::new(Some(inbox)),
            made: Mutex::default(),
        })
    }

    /// Asks for a copy, under this name, of the memory in the directory of a generation.
    pub(crate) fn wish(&self, name: &str, generation: PathBuf, after: Duration) -> FlatCopy {
        let copy = Arc::new(Inner {
            path: self.directory.join(name),
            unwanted: CancellationToken::new(),
            state: Mutex::new(State::Absent),
        });
        if self.max_bytes > 0 {
            let wish = Wish {
                generation,
                copy: Arc::clone(&copy),
                not_before: Instant::now() + after,
            };
            if self.wishes.try_send(wish).is_err() {
                tracing::debug!("too many flat copies are wished for");
            }
        }
        FlatCopy(copy)
    }

    fn make(&self, wish: &Wish) -> Result<(), MakeError> {
        let Wish {
            generation, copy, ..
        } = wish;
        let reader = Reader::open(generation)?;
        let bytes = reader.stored_bytes();
        let free = facts::disk(&self.directory).free_mib << 20;
        if reader.mapping().layers().len() < 2 || free / SPARE < bytes || !self.has_room(bytes) {
            return Ok(());
        }
        let mut options = File::options();
        let file = options
            .write(true)
            .create_new(true)
            .mode(0o444)
            .open(&copy.path)?;
        let whole = reader.flatten(&file, || !copy.unwanted.is_cancelled());
        if let Ok(true) = whole {
            // A time long ago: whatever writes to it later changes it.
            file.set_modified(SystemTime::UNIX_EPOCH)?;
            *copy.state() = State::Made(bytes, stamp(&file.metadata()?));
            metrics::counter!("wrenn_agent_flat_copies_total").increment(1);
            self.made().push_back(Arc::downgrade(copy));
        }
        if copy.unwanted.is_cancelled() || !matches!(whole, Ok(true)) {
            copy.remove();
        }
        Ok(whole.map(drop)?)
    }

    /// Gives up the oldest copies until there is room for one of so many bytes; whether there is.
    fn has_room(&self, bytes: u64) -> bool {
        let mut made = self.made();
        let copies: Vec<_> = made.iter().filter_map(Weak::upgrade).collect();
        let mut taken: u64 = copies.iter().map(|copy| copy.bytes()).sum();
        for copy in copies {
            if taken + bytes <= self.max_bytes {
                break;
            }
            taken -= copy.bytes();
            copy.give_up();
        }
        made.retain(|copy| copy.upgrade().is_some_and(|copy| copy.bytes() > 0));
        taken + bytes <= self.max_bytes
    }

    fn made(&self) -> MutexGuard<'_, VecDeque<Weak<Inner>>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FlatCopy {
    /// Whether it is there.
    pub(crate) fn is_made(&self) -> bool {
        matches!(*self.0.state(), State::Made(..))
    }

    /// The copy, if it is whole and as it was made; from now on it is not given up.
    pub(crate) fn file(&self) -> Option<&Path> {
        let mut state = self.0.state();
        let State::Made(_, made) = *state else {
            return None;
        };
        let found = fs::symlink_metadata(&self.0.path).ok()?;
        if !found.is_file() || stamp(&found) != made {
            tracing::error!(path = %self.0.path.display(), "a flat copy is not as it was made");
            return None;
        }
        *state = State::InUse;
        metrics::counter!("wrenn_agent_flat_copies_used_total").increment(1);
        Some(&self.0.path)
    }
}

impl Drop for FlatCopy {
    fn drop(&mut self) {
        // Whoever makes it looks at this once more when it is whole.
        self.0.unwanted.cancel();
        self.0.remove();
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bytes(&self) -> u64 {
        match *self.state() {
            State::Made(bytes, _) => bytes,
            State::Absent | State::InUse => 0,
        }
    }

    fn give_up(&self) {
        let mut state = self.state();
        if matches!(*state, State::Made(..)) {
            *state = State::Absent;
            metrics::counter!("wrenn_agent_flat_copies_evicted_total").increment(1);
            self.remove();
        }
    }

    fn remove(&self) {
        if let Err(error) = fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.path.display(), %error, "a flat copy stays");
        }
    }
}

/// Makes what is wished for, one at a time, until the agent stops.
pub(crate) async fn build_wanted(host: Arc<Host>) {
    let inbox = host.flat.inbox.lock();
    let Some(mut inbox) = inbox.unwrap_or_else(PoisonError::into_inner).take() else {
        return;
    };
    loop {
        let wish = tokio::select! {
            () = host.stopping.cancelled() => return,
            Some(wish) = inbox.recv() => wish,
        };
        tokio::select! {
            () = wish.copy.unwanted.cancelled() => continue,
            () = sleep_until(wish.not_before) => {}
        }
        if host.failpoints.reached("flat.make").is_some() {
            continue;
        }
        let owner = Arc::clone(&host);
        let made = tokio::task::spawn_blocking(move || owner.flat.make(&wish));
        if let Ok(Err(error)) = made.await {
            tracing::warn!(error = %chain(&error), "no flat copy was made");
        }
    }
}

/// After a pause, before a copy is begun.
pub(crate) fn moment(host: &Host) -> Duration {
    host.pace.stretch(MOMENT)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use wrenn_memory::{HEADER_FILE, LayerId, Mapping, PAGE_BYTES, Written, header, layer_file};

    use super::*;

    const PAGES: u64 = 64;
    const BYTES: u64 = 2 * PAGE_BYTES;

    struct Fixture {
        directory: tempfile::TempDir,
        copies: FlatCopies,
    }

    impl Fixture {
        fn new(max_bytes: u64) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let copies = FlatCopies::open(directory.path().join("flat"), max_bytes).unwrap();
            Self { directory, copies }
        }

        /// A memory of so many layers, each with one page of its own.
        fn generation(&self, layers: u8) -> PathBuf {
            let path = self.directory.path().join(format!("gen-{layers}"));
            fs::create_dir_all(&path).unwrap();
            let mut mapping = Mapping::zero(PAGES).unwrap();
            for number in 1..=layers {
                let layer = LayerId::from_bytes([number; 16]);
                fs::write(path.join(layer_file(layer)), [number; PAGE_BYTES as usize]).unwrap();
                let at = u64::from(number);
                let written = [Written::Data {
                    pages: at..at + 1,
                    at: 0,
                }];
                mapping = mapping.overlaid(layer, &written).unwrap();
            }
            fs::write(path.join(HEADER_FILE), header::encode(&mapping)).unwrap();
            path
        }

        fn ask(&self, name: &str, layers: u8) -> (FlatCopy, Wish) {
            let generation = self.generation(layers);
            let copy = self.copies.wish(name, generation.clone(), Duration::ZERO);
            let wish = Wish {
                generation,
                copy: Arc::clone(&copy.0),
                not_before: Instant::now(),
            };
            (copy, wish)
        }

        fn make(&self, name: &str, layers: u8) -> FlatCopy {
            let (copy, wish) = self.ask(name, layers);
            self.copies.make(&wish).unwrap();
            copy
        }

        fn files(&self) -> usize {
            fs::read_dir(self.directory.path().join("flat"))
                .unwrap()
                .count()
        }
    }

    #[test]
    fn a_copy_is_there_while_it_is_held_and_only_of_several_layers() {
        let fixture = Fixture::new(10 * BYTES);
        let copy = fixture.make("two", 2);
        let file = File::open(copy.file().unwrap()).unwrap();
        assert_eq!(file.metadata().unwrap().len(), PAGES * PAGE_BYTES);
        for (page, expected) in [(0, 0), (1, 1), (2, 2), (3, 0), (63, 0)] {
            let mut byte = [9];
            file.read_exact_at(&mut byte, page * PAGE_BYTES).unwrap();
            assert_eq!(byte[0], expected, "page {page}");
        }
        drop(copy);
        assert_eq!(fixture.files(), 0);
        assert!(fixture.make("one", 1).file().is_none());
        assert!(Fixture::new(0).make("none", 2).file().is_none());
    }

    #[test]
    fn one_that_was_changed_or_is_gone_is_not_used() {
        let fixture = Fixture::new(10 * BYTES);
        let path = fixture.directory.path().join("flat/two");
        let copy = fixture.make("two", 2);
        let mut permissions = fs::metadata(&path).unwrap().permissions();
        #[expect(
            clippy::permissions_set_readonly_false,
            reason = "it is removed right after"
        )]
        permissions.set_readonly(false);
        fs::set_permissions(&path, permissions).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(&[1], 0).unwrap();
        assert!(copy.file().is_none());
        drop(copy);
        let copy = fixture.make("two", 2);
        fs::remove_file(&path).unwrap();
        assert!(copy.file().is_none());
    }

    #[test]
    fn one_that_nobody_wants_any_more_leaves_nothing() {
        let fixture = Fixture::new(10 * BYTES);
        let (copy, wish) = fixture.ask("two", 2);
        drop(copy);
        fixture.copies.make(&wish).unwrap();
        assert_eq!(fixture.files(), 0);
    }

    #[test]
    fn above_the_limit_the_oldest_goes_but_none_that_is_in_use() {
        let fixture = Fixture::new(2 * BYTES);
        let first = fixture.make("first", 2);
        let second = fixture.make("second", 2);
        assert!(second.file().is_some());
        let third = fixture.make("third", 2);
        let fourth = fixture.make("fourth", 2);
        assert!(first.file().is_none());
        assert!(third.file().is_some() && fourth.file().is_some());
        assert!(fs::exists(fixture.directory.path().join("flat/second")).unwrap());
        assert!(fixture.make("too large", 5).file().is_none());
        assert_eq!(fixture.files(), 3);
    }
}
