//! Starts the page server of a VM: a process of its own in the VM's cgroup, that lives and dies with the VM and
//! not with the agent.

use std::{
    io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use rustix::fs::inotify;
use tokio::{io::unix::AsyncFd, process::Command, time::timeout};

use wrenn_firecracker::ProcessIdentity;

use super::{
    Host,
    working_set::{self, Watch},
};

/// Name of its socket in the jail.
pub(crate) const SOCKET: &str = "pages.sock";
/// Longest wait for it to listen, before stretching.
const READY: Duration = Duration::from_secs(10);

/// A page server that does not serve.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// It could not be started or watched.
    #[error("{action}")]
    Start {
        /// What was attempted.
        action: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It ended instead of listening; its own words are in the log.
    #[error("the page server ended with {0}")]
    Ended(std::process::ExitStatus),
    /// It has ended.
    #[error("the page server has ended")]
    Gone,
    /// It did not listen in time.
    #[error("the page server did not listen within {0:?}")]
    Late(Duration),
}

/// What one page server serves.
#[derive(Debug)]
pub(crate) struct PageServer<'a> {
    /// The generation's directory.
    pub(crate) snapshot: &'a Path,
    /// The sandbox's directory, for hints.
    pub(crate) directory: &'a Path,
    /// The directory of the snapshot template that it is being created from.
    pub(crate) template: Option<PathBuf>,
    /// The jail's root: where the socket appears.
    pub(crate) jail: &'a Path,
    /// The VM's uid and gid.
    pub(crate) owner: u32,
    /// The VM's cgroup.
    pub(crate) cgroup: PathBuf,
}

impl PageServer<'_> {
    /// Starts it and waits until it listens.
    ///
    /// # Errors
    /// When it does not; it is dead then.
    pub(crate) async fn start(&self, host: &Host) -> Result<ProcessIdentity, Error> {
        let arrival = watch(self.jail).map_err(failed("watch the jail"))?;
        let socket = self.jail.join(SOCKET);
        let (program, arguments) = &host.config.page_server;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .arg("--snapshot")
            .arg(self.snapshot)
            .arg("--socket")
            .arg(&socket)
            .arg("--owner")
            .arg(format!("{0}:{0}", self.owner))
            .args(working_set::arguments(self.directory, host.config.prefetch))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .process_group(0);
        let mut child = command.spawn().map_err(failed("start the page server"))?;
        // It was not waited for yet, so its pid is its own.
        let pid = child
            .id()
            .and_then(|pid| i32::try_from(pid).ok())
            .ok_or(Error::Gone)?;
        let moved = tokio::fs::write(self.cgroup.join("cgroup.procs"), pid.to_string()).await;
        let limit = host.pace.stretch(READY);
        let listening = async {
            moved.map_err(failed("put the page server into the VM's cgroup"))?;
            tokio::select! {
                ready = appeared(&arrival, &socket) => ready.map_err(failed("wait for the page server")),
                ended = child.wait() => Err(match ended {
                    Ok(status) => Error::Ended(status),
                    Err(source) => failed("wait for the page server")(source),
                }),
            }
        };
        let ready = timeout(limit, listening)
            .await
            .unwrap_or(Err(Error::Late(limit)));
        if ready.is_err() {
            let _ = child.start_kill();
        }
        let identity = ProcessIdentity::of(pid).map_err(failed("look at the page server"));
        let watch = Watch::new(self.directory, self.template.clone());
        let reap = async move {
            if let Ok(status) = watch.until(child.wait()).await
                && !status.success()
            {
                tracing::warn!(%status, "a page server ended");
            }
        };
        host.tasks.spawn(host.until_stopped(reap));
        ready?;
        identity?.ok_or(Error::Gone)
    }
}

/// Sees whatever is made in `directory` from now on.
#[expect(
    deprecated,
    reason = "its successor is unsafe because a type's `as_raw_fd` may lie; an `OwnedFd` cannot"
)]
fn watch(directory: &Path) -> io::Result<AsyncFd<std::os::fd::OwnedFd>> {
    let flags = inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC;
    let events = inotify::init(flags)?;
    let made = inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
    inotify::add_watch(&events, directory, made)?;
    AsyncFd::new(events)
}

/// Returns once `path` is there.
async fn appeared(events: &AsyncFd<std::os::fd::OwnedFd>, path: &Path) -> io::Result<()> {
    loop {
        if tokio::fs::try_exists(path).await? {
            return Ok(());
        }
        let mut ready = events.readable().await?;
        let mut records = [0; 4096];
        match rustix::io::read(events.get_ref(), &mut records) {
            Ok(_) => {} // which name it was, the next look tells
            Err(rustix::io::Errno::AGAIN) => ready.clear_ready(),
            Err(error) => return Err(error.into()),
        }
    }
}

fn failed(action: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| Error::Start { action, source }
}
