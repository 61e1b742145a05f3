//! Watchers: each is read by a task of its own as soon as the kernel has something, so that new directories
//! are watched at once, and keeps what it read until its caller takes it.
//!
//! A watcher tells everything or says that it lost something: the buffer and the kernel's queue are bounded,
//! and overflowing either is its last word. Dropping a watcher ends its task.

mod tree;

use std::{
    collections::{HashMap, VecDeque},
    fs::File,
    io::{self, Read as _},
    os::fd::AsFd as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use thiserror::Error;
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    task::AbortHandle,
    time::{Instant, sleep_until},
};
use wrenn_rpc::filesystem::FilesystemEvent;

use self::tree::Tree;
#[cfg(feature = "fuzzing")]
pub(crate) use self::tree::fuzz;
pub(super) use self::tree::{Detail, Lost, Network, OpenError, Reach, Target};
use crate::{agent::Agent, process::watched, users::Users};

const MAX_WATCHERS: usize = 256;
const MAX_BUFFERED: usize = 16_384;
/// A polled watcher that nobody asks for this long is forgotten.
const UNREAD: Duration = Duration::from_secs(24 * 3600);

/// A watcher that cannot be made.
#[derive(Debug, Error)]
pub(super) enum WatchError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("{MAX_WATCHERS} watchers exist")]
    TooMany,
}

/// All watchers of this envd.
#[derive(Debug)]
pub(crate) struct Watchers {
    room: Arc<Semaphore>,
    polled: Mutex<HashMap<String, Arc<Watcher>>>,
    unread: Duration,
}

impl Default for Watchers {
    fn default() -> Self {
        Self {
            room: Arc::new(Semaphore::new(MAX_WATCHERS)),
            polled: Mutex::default(),
            unread: UNREAD,
        }
    }
}

impl Watchers {
    /// Puts a watch in place.
    pub(super) async fn open(
        &self,
        agent: &Arc<Agent>,
        target: Target,
    ) -> Result<Arc<Watcher>, WatchError> {
        let room = Arc::clone(&self.room).try_acquire_owned();
        let room = room.map_err(|_| WatchError::TooMany)?;
        let opened = tokio::task::spawn_blocking(move || -> Result<_, OpenError> {
            let tree = Tree::open(target)?;
            let readable = tree.as_fd().try_clone_to_owned()?;
            Ok((tree, readable))
        });
        let (tree, readable) = opened
            .await
            .unwrap_or_else(|_| Err(io::Error::other("the watch panicked").into()))?;
        let readable = watched(readable, Interest::READABLE).map_err(OpenError::Io)?;
        let inner = Arc::new(Inner {
            agent: Arc::clone(agent),
            tree: Mutex::new(tree),
            buffer: Mutex::default(),
            filled: Notify::new(),
        });
        let task = tokio::spawn(follow(Arc::downgrade(&inner), readable));
        Ok(Arc::new(Watcher {
            inner,
            asked: Mutex::new(Instant::now()),
            task: task.abort_handle(),
            _room: room,
        }))
    }

    /// Keeps a watcher under a name that nobody can guess, until it is removed or forgotten.
    pub(super) fn keep(&self, agent: &Arc<Agent>, watcher: Arc<Watcher>) -> io::Result<String> {
        let id = random_id()?;
        tokio::spawn(forget_unread(
            Arc::downgrade(agent),
            id.clone(),
            Arc::downgrade(&watcher),
        ));
        self.polled().insert(id.clone(), watcher);
        Ok(id)
    }

    pub(super) fn get(&self, id: &str) -> Option<Arc<Watcher>> {
        self.polled().get(id).cloned()
    }

    pub(super) fn remove(&self, id: &str) -> Option<Arc<Watcher>> {
        self.polled().remove(id)
    }

    fn polled(&self) -> MutexGuard<'_, HashMap<String, Arc<Watcher>>> {
        self.polled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn forget_unread(agent: Weak<Agent>, id: String, watcher: Weak<Watcher>) {
    while let Some(held) = watcher.upgrade() {
        let Some(agent) = agent.upgrade() else { return };
        let until = *held.asked() + agent.watchers.unread;
        if until <= Instant::now() {
            agent.watchers.remove(&id);
            return;
        }
        drop((held, agent));
        sleep_until(until).await;
    }
}

/// `w` and 20 random letters and digits.
fn random_id() -> io::Result<String> {
    const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut random = File::open("/dev/urandom")?;
    let mut id = String::from("w");
    while id.len() < 21 {
        let mut bytes = [0; 32];
        random.read_exact(&mut bytes)?;
        // Below the largest multiple of 36: above it some letters would be likelier.
        let letters = bytes.iter().filter(|byte| **byte < 252);
        let letters = letters.map(|byte| char::from(LETTERS[usize::from(*byte) % 36]));
        id.extend(letters.take(21 - id.len()));
    }
    Ok(id)
}

/// One watch and what it has seen.
#[derive(Debug)]
pub(super) struct Watcher {
    inner: Arc<Inner>,
    /// When a caller last asked.
    asked: Mutex<Instant>,
    task: AbortHandle,
    _room: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct Inner {
    agent: Arc<Agent>,
    tree: Mutex<Tree>,
    buffer: Mutex<Buffer>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Buffer {
    events: VecDeque<FilesystemEvent>,
    lost: Option<Lost>,
}

impl Watcher {
    /// Everything that has happened before the call and was not taken yet.
    pub(super) async fn take_all(&self) -> Result<Vec<FilesystemEvent>, Lost> {
        *self.asked() = Instant::now();
        self.inner.drain().await;
        let mut buffer = self.inner.buffer();
        match buffer.lost {
            Some(lost) => Err(lost),
            None => Ok(buffer.events.drain(..).collect()),
        }
    }

    /// The next event, waited for. Cancel-safe.
    pub(super) async fn next(&self) -> Result<FilesystemEvent, Lost> {
        loop {
            {
                let mut buffer = self.inner.buffer();
                if let Some(event) = buffer.events.pop_front() {
                    return Ok(event);
                }
                if let Some(lost) = buffer.lost {
                    return Err(lost);
                }
            }
            self.inner.filled.notified().await;
        }
    }

    fn asked(&self) -> MutexGuard<'_, Instant> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Inner {
    /// Moves what the kernel has into the buffer.
    async fn drain(self: &Arc<Self>) {
        let inner = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || inner.read(&inner.agent.users));
        if read.await.is_err() {
            self.buffer().lost.get_or_insert(Lost::Overflow);
        }
        self.filled.notify_one();
    }

    fn read(&self, users: &Users) {
        // Held across the read, so that the order of the kernel is that of the buffer.
        let mut tree = self.tree.lock().unwrap_or_else(PoisonError::into_inner);
        let room = {
            let buffer = self.buffer();
            if buffer.lost.is_some() {
                return;
            }
            MAX_BUFFERED - buffer.events.len()
        };
        let read = tree.read(users, room);
        let mut buffer = self.buffer();
        match read {
            Ok(events) => buffer.events.extend(events),
            Err(lost) => buffer.lost = Some(lost),
        }
    }

    fn buffer(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads whenever the kernel has something, until the watcher is dropped or has lost something.
async fn follow(inner: Weak<Inner>, readable: AsyncFd<std::os::fd::OwnedFd>) {
    loop {
        // Cleared before the read: what comes while it runs is the next turn's.
        match readable.readable().await {
            Ok(mut ready) => ready.clear_ready(),
            Err(_) => return,
        }
        let Some(inner) = inner.upgrade() else { return };
        inner.drain().await;
        if inner.buffer().lost.is_some() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::{Settings, Surroundings};

    #[tokio::test]
    async fn a_polled_watcher_is_kept_while_it_is_asked_and_forgotten_when_it_is_not() {
        let unread = Duration::from_secs(1);
        let settings = Settings {
            listen: Vec::new(),
            surroundings: Surroundings::Machine,
            cgroup_root: None,
            default_user: None,
            default_workdir: None,
            log_level: tracing::level_filters::LevelFilter::OFF,
        };
        let agent = Arc::new(Agent {
            watchers: Watchers {
                unread,
                ..Watchers::default()
            },
            ..Agent::new(&settings)
        });
        let directory = tempfile::tempdir().unwrap();
        let target = Target {
            path: directory.path().to_str().unwrap().to_owned(),
            reach: Reach::Directory,
            network: Network::Refused,
            detail: Detail::Name,
        };
        let watcher = agent.watchers.open(&agent, target).await.unwrap();
        let id = agent.watchers.keep(&agent, watcher).unwrap();
        let begun = Instant::now();
        while begun.elapsed() < unread * 2 {
            let watcher = agent.watchers.get(&id).expect("it is asked");
            watcher.take_all().await.unwrap();
            tokio::time::sleep(unread / 20).await;
        }
        let asked = Instant::now();
        while agent.watchers.get(&id).is_some() {
            assert!(asked.elapsed() < unread * 20, "it is never forgotten");
            tokio::time::sleep(unread / 20).await;
        }
        assert!(asked.elapsed() >= unread / 2);
        assert_eq!(agent.watchers.room.available_permits(), MAX_WATCHERS);
    }

    #[test]
    fn ids_are_of_the_agreed_shape_and_differ() {
        let (one, other) = (random_id().unwrap(), random_id().unwrap());
        assert_ne!(one, other);
        let rest = one.strip_prefix('w').unwrap();
        assert_eq!(rest.len(), 20);
        assert!(
            rest.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        );
    }
}
