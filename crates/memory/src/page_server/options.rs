//! What a page server is started with.

use std::path::PathBuf;

/// What a page server serves, and to whom.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Directory of the snapshot's memory: the header and the layers.
    pub snapshot: PathBuf,
    /// Where the socket is to be. It is there when a VM may connect, and gone when one has; who waits for it removes
    /// what an earlier server left there before this one is started.
    pub socket: PathBuf,
    /// User and group that the socket is given; else it is the caller's. Nobody else may connect.
    pub owner: Option<(u32, u32)>,
    /// A recorded working set, to be brought ahead of the guest. Without one, or with a damaged one, pages come
    /// as they are asked for.
    pub prefetch: Option<PathBuf>,
    /// Where the working set is recorded. Emptied at the start and written in place when the VM is first idle, so
    /// it is this server's own: who publishes it renames it once [`Stats::recorded_pages`](super::Stats) is not 0.
    pub record: Option<PathBuf>,
    /// Where [`Stats`](super::Stats) are kept.
    pub stats: Option<PathBuf>,
}
