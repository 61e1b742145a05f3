//! What can fail in this crate, each said once.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use rustix::io::Errno;

use crate::Slot;

/// Result of an operation on the network.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An operation on a slot or on the host's network that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("{action} {}", path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("network namespace: {action}")]
    Namespace {
        action: &'static str,
        #[source]
        source: Errno,
    },
    #[error("{action} {link}")]
    Link {
        action: &'static str,
        link: String,
        #[source]
        source: Box<rtnetlink::Error>,
    },
    #[error("{action} TAP device")]
    Tap {
        action: &'static str,
        #[source]
        source: Errno,
    },
    /// `nft` refused, in these words.
    #[error("nftables: {action}: {said}")]
    Nft { action: &'static str, said: String },
    #[error("nftables: {action}: run nft")]
    NftStart {
        action: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("nftables: {action}: its JSON")]
    NftJson {
        action: &'static str,
        #[source]
        source: serde_json::Error,
    },
    #[error("netfilter: {action}")]
    Netfilter {
        action: &'static str,
        #[source]
        source: Errno,
    },
    /// The kernel's reply does not have the documented form.
    #[error("netfilter: reply to {action} is malformed")]
    MalformedReply { action: &'static str },
    #[error("start a {purpose}")]
    Runtime {
        purpose: &'static str,
        #[source]
        source: io::Error,
    },
    /// No slot became ready in time.
    #[error("no network slot became ready within {} ms", after.as_millis())]
    Exhausted { after: Duration },
    /// The slot does not exist or is in use already.
    #[error("slot {slot} cannot be adopted: {detail}")]
    NotAdoptable { slot: Slot, detail: &'static str },
    /// Several steps of a removal failed; the others were done.
    #[error("{}", listed(.0))]
    Several(Vec<Error>),
    /// A thread of ours ended without a result.
    #[error("the thread for {purpose} ended early")]
    ThreadEnded { purpose: &'static str },
}

impl Error {
    /// One error for many; `None` for none.
    pub(crate) fn of(mut errors: Vec<Self>) -> Option<Self> {
        match errors.len() {
            0 | 1 => errors.pop(),
            _ => Some(Self::Several(errors)),
        }
    }
}

fn listed(errors: &[Error]) -> String {
    let one = |error: &Error| match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    errors.iter().map(one).collect::<Vec<_>>().join("; ")
}
