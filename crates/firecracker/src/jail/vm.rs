//! A launched VM: its process, its API, and the jail around it.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::inotify;
use tokio::io::unix::AsyncFd;

use super::cgroup::Limits;
use super::error::JailError;
use super::leftover::Held;
use super::place;
use super::process::Process;
use super::spawn::Jailer;
use super::{EXECUTABLE, JailHost, JailSpec, SOCKET, VmId, blocking, console, events};
use crate::{ApiClient, ConsoleLog, ProcessIdentity};

/// Pause between two looks at a socket that exists but does not listen yet (bind and listen are two calls).
const LISTEN_PAUSE: Duration = Duration::from_millis(1);

/// A VM in its jail. Released, it is killed and its jail removed; [`JailedVm::detach`] lets it live on.
#[derive(Debug)]
pub struct JailedVm {
    host: Arc<JailHost>,
    id: VmId,
    process: Process,
    client: ApiClient,
    held: Held,
}

/// A process in a VM's cgroup: it ends with the VM, and can be seen to end before it.
#[derive(Debug)]
pub struct Companion {
    process: Process,
}

impl Companion {
    /// What to write down in order to find it later.
    pub fn identity(&self) -> ProcessIdentity {
        self.process.identity()
    }

    /// Resolves when it has ended; an event, not a poll.
    pub async fn ended(&self) {
        self.process.ended().await;
    }

    /// Whether it has ended by now.
    pub fn has_ended(&self) -> bool {
        self.process.has_ended()
    }
}

impl JailedVm {
    pub(super) fn new(
        host: Arc<JailHost>,
        id: VmId,
        process: Process,
        client: ApiClient,
        held: Held,
    ) -> Self {
        Self {
            host,
            id,
            process,
            client,
            held,
        }
    }

    /// Its name.
    pub fn id(&self) -> &VmId {
        &self.id
    }

    /// Its API. [`crate::Vm::fresh`] after a launch, [`crate::Observed::of`] after an adoption.
    pub fn client(&self) -> ApiClient {
        self.client.clone()
    }

    /// What to write down in order to adopt it later. The pid is Firecracker's own, in our PID namespace.
    pub fn identity(&self) -> ProcessIdentity {
        self.process.identity()
    }

    /// The chroot, as seen from outside.
    pub fn root(&self) -> PathBuf {
        self.host.directory(&self.id).join("root")
    }

    /// Makes the file `source` appear in the chroot as `/<name>`, by a hard link. Gives its path inside.
    pub async fn place_file(&self, source: &Path, name: &str) -> Result<PathBuf, JailError> {
        let (root, source, name) = (self.root(), source.to_owned(), name.to_owned());
        blocking(move || place::link(&root, &source, &name)).await
    }

    /// Makes a node of the block device in the chroot as `/<name>`, owned by the user and group `owner`. Gives
    /// its path inside.
    pub async fn place_block_device(
        &self,
        (major, minor): (u32, u32),
        name: &str,
        owner: u32,
    ) -> Result<PathBuf, JailError> {
        let (root, name) = (self.root(), name.to_owned());
        blocking(move || place::block_device(&root, major, minor, &name, (owner, owner))).await
    }

    /// Sets what its processes may use together.
    pub async fn limit(&self, limits: Limits) -> Result<(), JailError> {
        let cgroup = self.host.cgroup(&self.id);
        blocking(move || cgroup.limit(&limits)).await
    }

    /// The VM's cgroup, for processes that shall live and die with it.
    pub fn cgroup(&self) -> PathBuf {
        self.host.cgroup(&self.id).path()
    }

    /// The process `identity` beside the VMM, if it lives and is in the VM's cgroup.
    pub fn companion(&self, identity: ProcessIdentity) -> Result<Option<Companion>, JailError> {
        let process = Process::find(identity, &self.host.cgroup(&self.id))?;
        Ok(process.map(|process| Companion { process }))
    }

    /// Resolves when Firecracker has ended, however it came about; an event, not a poll.
    pub async fn ended(&self) {
        self.process.ended().await;
    }

    /// Resolves when Firecracker has ended, whatever becomes of this value.
    pub fn end(&self) -> Result<impl Future<Output = ()> + Send + use<>, JailError> {
        self.process.end()
    }

    /// Whether Firecracker has ended by now.
    pub fn has_ended(&self) -> bool {
        self.process.has_ended()
    }

    /// The console, to be copied to `path`; `limit` bounds the bytes kept. One reader at a time.
    pub fn console(&self, path: &Path, limit: u64) -> Result<ConsoleLog, JailError> {
        let pipe = console::reader(&self.host.directory(&self.id))?;
        Ok(ConsoleLog {
            pipe,
            path: path.to_owned(),
            limit,
        })
    }

    /// Kills the VMM and waits until it has ended.
    pub async fn kill(&self, deadline: Duration) -> Result<(), JailError> {
        self.process.kill()?;
        tokio::time::timeout(deadline, self.process.ended())
            .await
            .map_err(|_| JailError::Deadline {
                action: "kill Firecracker",
                after: deadline,
            })
    }

    /// Lets VM and jail live on; [`super::Jail::adopt`] finds them again.
    pub fn detach(self) {
        self.held.forget();
    }

    /// Kills everything in the VM's cgroup and removes cgroup and jail.
    pub async fn release(self) -> Result<(), JailError> {
        self.held.release().await
    }
}

/// Runs the jailer and waits for the API. Cancelled, it leaves processes only in the VM's cgroup, which the
/// jail's guard then kills.
pub(super) async fn launch(
    host: &Arc<JailHost>,
    spec: &JailSpec,
) -> Result<(Process, ApiClient), JailError> {
    let directory = host.directory(&spec.id);
    let root = directory.join("root");
    let console = console::writer(&directory)?;
    let arrival = SocketArrival::watch(&root)?;
    let client = host.client(&root)?;

    let (console, jailer) = blocking({
        let (host, spec) = (host.clone(), spec.clone());
        move || Jailer::start(&host, &spec, &console).map(|jailer| (console, jailer))
    })
    .await?;
    jailer.ended(&console).await?;

    let cgroup = host.cgroup(&spec.id);
    let pid = read_pid(&root)?;
    let failed = |source| JailError::Process {
        action: "look at",
        pid,
        source,
    };
    let died = || JailError::Died {
        console: console::pending(&console),
    };
    let identity = ProcessIdentity::of(pid).map_err(failed)?.ok_or_else(died)?;
    let process = Process::find(identity, &cgroup)?.ok_or(JailError::Impostor { pid })?;
    tokio::select! {
        ready = arrival.wait(&client) => ready?,
        () = process.ended() => return Err(died()),
    }
    Ok((process, client))
}

/// The jailer's pid file, which holds Firecracker's pid as we see it.
fn read_pid(root: &Path) -> Result<i32, JailError> {
    let path = root.join(format!("{EXECUTABLE}.pid"));
    let text =
        std::fs::read_to_string(&path).map_err(|source| JailError::file("read", &path, source))?;
    text.trim()
        .parse()
        .map_err(|_| JailError::file("read", &path, io::ErrorKind::InvalidData.into()))
}

/// Wakes when the socket is made.
struct SocketArrival {
    events: AsyncFd<OwnedFd>,
}

impl SocketArrival {
    /// Begins to watch; anything made from now on is seen.
    fn watch(root: &Path) -> Result<Self, JailError> {
        let failed = |source: io::Error| JailError::file("watch", root, source);
        let events = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)
            .map_err(|source| failed(source.into()))?;
        inotify::add_watch(&events, root, inotify::WatchFlags::CREATE)
            .map_err(|source| failed(source.into()))?;
        Ok(Self {
            events: events::watch(events).map_err(failed)?,
        })
    }

    /// Returns once the socket takes a connection.
    async fn wait(&self, client: &ApiClient) -> Result<(), JailError> {
        let failed = |source: io::Error| JailError::file("connect to", Path::new(SOCKET), source);
        loop {
            match client.connect().await {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    tokio::time::sleep(LISTEN_PAUSE).await;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.something_made().await.map_err(failed)?
                }
                Err(error) => return Err(failed(error)),
            }
        }
    }

    async fn something_made(&self) -> io::Result<()> {
        let mut guard = self.events.readable().await?;
        let mut events = [0; 4096];
        // What was made does not matter: the caller looks for itself.
        match rustix::io::read(self.events.get_ref(), &mut events) {
            Ok(_) => {}
            Err(rustix::io::Errno::AGAIN) => guard.clear_ready(),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}
