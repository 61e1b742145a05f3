//! Threads of their own for work in a namespace.
//!
//! A namespace is a property of a thread. A thread that has entered one must never go back to a pool that
//! runs other work, so each such work gets a fresh thread that ends with it.

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use crate::{Error, Result};

/// Runs `work` on a thread of its own. Work whose caller has gone away still runs to its end.
pub(crate) async fn run<T: Send + 'static>(
    purpose: &'static str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (send, receive) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name(format!("wrenn-{purpose}"))
        .spawn(move || drop(send.send(work())))
        .map_err(|source| Error::Runtime {
            purpose: "thread",
            source,
        })?;
    receive.await.map_err(|_| Error::ThreadEnded { purpose })?
}

/// Runs `future` to its end on this thread.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::Runtime {
            purpose: "runtime for netlink",
            source,
        })?
        .block_on(future)
}

/// The network namespace that this thread is in.
pub(crate) fn current() -> Result<File> {
    open(Path::new("/proc/thread-self/ns/net"))
}

/// Opens a namespace by its file.
pub(crate) fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|source| Error::File {
        action: "open the network namespace",
        path: path.into(),
        source,
    })
}

/// Moves this thread into a namespace. Only on threads made by [`run`].
pub(crate) fn enter(namespace: impl AsFd) -> Result<()> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).map_err(
        |source| Error::Namespace {
            action: "enter",
            source,
        },
    )
}

/// Moves this thread into a new namespace. Only on threads made by [`run`].
pub(crate) fn leave_for_new() -> Result<()> {
    // SAFETY: only the network namespace is unshared; the file descriptor table stays shared.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.map_err(|source| Error::Namespace {
        action: "make a new one",
        source,
    })
}
