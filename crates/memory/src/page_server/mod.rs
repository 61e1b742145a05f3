//! The page server: a process that fills the memory of one VM, page by page as the guest asks for it.
//!
//! ```text
//! open and check all ─▶ socket appears ─▶ VM connects, socket goes ─▶ handshake ─▶ filter ─▶ serve ─▶ VM ends
//! ```
//!
//! It has one thread, lives as long as its VM, and asks nobody: who started it may die. From the handshake on it
//! can make a few system calls only. It never reads guest memory, neither a layer's nor the VM's: the kernel copies
//! from the mapped layers to the faulting process.
//! What it keeps is 12 bytes a run and 2 bits a page: 1 MiB for 2¹⁶ runs of a guest of 4 GiB.

mod bitmap;
mod handshake;
mod layers;
mod options;
mod prefetch;
mod regions;
mod runs;
mod seccomp;
mod serve;
mod socket;
mod stats;
mod uffd;
mod working_set;

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::fs::OFlags;

pub use self::{
    handshake::HandshakeError,
    options::Options,
    regions::RegionsError,
    seccomp::SeccompError,
    serve::ServeError,
    stats::{State, Stats},
};
use self::{
    layers::Layers, serve::Server, socket::Socket, stats::StatsFile, working_set::WorkingSet,
};
use crate::SnapshotError;

/// How long a VM may take to connect and to name its memory.
const HANDSHAKE: Duration = Duration::from_secs(60);

/// Why a page server ended before its VM did.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PageServerError {
    /// The snapshot is not whole.
    #[error("cannot open the memory of the snapshot")]
    Snapshot(#[from] SnapshotError),
    /// A file to be written cannot be made.
    #[error("cannot make {path}")]
    Create {
        /// Of the file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The socket cannot be made.
    #[error("cannot listen at {path}")]
    Listen {
        /// Of the socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No VM came within a minute.
    #[error("no VM has connected")]
    Accept(#[source] io::Error),
    /// What connected is not a VM of this snapshot.
    #[error("the VM that connected is refused")]
    Handshake(#[from] HandshakeError),
    /// The system calls cannot be taken away.
    #[error("cannot confine the page server")]
    Seccomp(#[from] SeccompError),
    /// The VM waits for pages that do not come.
    #[error("cannot serve the VM any further")]
    Serve(#[from] ServeError),
}

/// Serves one VM until its process ends. Leaves this process with next to no system calls, so it is the last thing
/// that a process of one thread does.
///
/// # Errors
/// When there is nothing to serve or nobody to serve it to. After [`PageServerError::Serve`] the VM hangs and is to
/// be ended by who watches this process.
pub fn run(options: &Options) -> Result<(), PageServerError> {
    let mut stats = StatsFile::new(options.stats.as_deref().map(create).transpose()?);
    let served = serve(options, &mut stats);
    stats.now.state = match served {
        Ok(()) => State::Ended,
        Err(_) => State::Failed,
    };
    stats.show();
    served
}

fn serve(options: &Options, stats: &mut StatsFile) -> Result<(), PageServerError> {
    let layers = Layers::open(&options.snapshot)?;
    let prefetch = options.prefetch.as_deref();
    let prefetch = prefetch.and_then(|path| working_set(path, layers.pages()));
    let record = options.record.as_deref().map(create).transpose()?;
    let socket = Socket::publish(&options.socket, options.owner).map_err(|source| {
        PageServerError::Listen {
            path: options.socket.clone(),
            source,
        }
    })?;
    for pages in prefetch.iter().flat_map(WorkingSet::ranges) {
        layers.read_ahead(pages);
    }
    let deadline = Instant::now() + HANDSHAKE;
    let connection = socket.accept(deadline).map_err(PageServerError::Accept)?;
    drop(socket);
    let vm = handshake::receive(&connection, layers.pages(), deadline)?;
    seccomp::confine()?;
    Ok(Server::new(&layers, vm, stats, prefetch, record).serve()?)
}

/// The recorded working set, if there is a good one.
fn working_set(path: &Path, pages: u64) -> Option<WorkingSet> {
    match WorkingSet::read(path, pages) {
        Ok(set) => Some(set),
        Err(error) => {
            tracing::warn!(
                path = %path.display(),
                error = &error as &dyn std::error::Error,
                "no pages are prefetched"
            );
            None
        }
    }
}

/// An empty file that only its owner reads.
fn create(path: &Path) -> Result<File, PageServerError> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
        .map_err(|source| PageServerError::Create {
            path: path.to_owned(),
            source,
        })
}
