//! What can fail in making, running and removing a jail.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// An operation on a jail or its processes that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JailError {
    #[error("VM id {0:?} is not 1 to 64 letters, digits and '-'")]
    BadId(String),
    #[error("{name:?} is not a plain file name to place in a jail")]
    BadName { name: String },
    #[error("{action} {}", path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("start the jailer {}", jailer.display())]
    Spawn {
        jailer: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The jailer gave up; the console holds its reason.
    #[error("the jailer ended with {status}: {console}")]
    Jailer { status: String, console: String },
    /// Firecracker died before its API answered.
    #[error("Firecracker died while starting: {console}")]
    Died { console: String },
    #[error("{action} process {pid}")]
    Process {
        action: &'static str,
        pid: i32,
        #[source]
        source: io::Error,
    },
    #[error("process {pid} is not the VM it should be")]
    Impostor { pid: i32 },
    #[error("{action}: not done after {} ms", after.as_millis())]
    Deadline {
        action: &'static str,
        after: Duration,
    },
    #[error("the runtime is shutting down")]
    ShuttingDown,
}

impl JailError {
    pub(super) fn file(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::File {
            action,
            path: path.to_owned(),
            source,
        }
    }
}
