//! Kernel objects that wake us: pidfds and inotify.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::unix::AsyncFd;

/// Registers a descriptor for readiness.
#[expect(
    deprecated,
    reason = "its successor is unsafe because a type's `as_raw_fd` may lie; an `OwnedFd` cannot, and this crate has no unsafe"
)]
pub(super) fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(fd)
}
