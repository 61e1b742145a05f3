//! Proof that a caller is the host: it knows the key whose hash is in the metadata service.
//!
//! The key itself is never in the guest; what the guest's programs can read is its hash.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    guest::mmds,
    secret::{equal, sha256_hex},
};

const FRESH: Duration = Duration::from_secs(1);

/// The hash as last read, for at most a second.
#[derive(Debug, Default)]
pub(crate) struct HostKey {
    known: Mutex<Option<(Instant, String)>>,
}

impl HostKey {
    /// Whether `offered`, the header's value, is the host's key now.
    pub(crate) async fn admits(&self, offered: &[u8]) -> bool {
        let known = self
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let hash = match known {
            Some((read, hash)) if read.elapsed() < FRESH => hash,
            _ => match mmds::fetch().await {
                Ok(metadata) => {
                    let entry = Some((Instant::now(), metadata.host_key_hash.clone()));
                    *self.known.lock().unwrap_or_else(PoisonError::into_inner) = entry;
                    metadata.host_key_hash
                }
                Err(fault) => {
                    let fault: &dyn std::error::Error = &fault;
                    tracing::warn!(fault, "cannot tell the host from others");
                    return false;
                }
            },
        };
        !hash.is_empty() && equal(sha256_hex(offered).as_bytes(), hash.as_bytes())
    }

    /// Forgets the hash: the next caller may be of another life of this VM.
    pub(crate) fn forget(&self) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
