//! Proof that a caller is the host: it knows the key whose hash is in the metadata service.
//!
//! The key itself is never in the guest; what the guest's programs can read is its hash.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    guest::mmds::{self, MmdsError},
    secret::{equal, sha256_hex},
};

const FRESH: Duration = Duration::from_secs(1);

/// The hash as last read, for at most a second.
#[derive(Debug, Default)]
pub(crate) struct HostKey {
    known: Mutex<Option<(Instant, String)>>,
}

impl HostKey {
    /// Whether `offered`, the header's value, is the host's key now; `anew` asks the metadata service for it.
    pub(crate) async fn admits(&self, offered: &[u8], anew: bool) -> Result<bool, MmdsError> {
        let hash = if anew {
            self.read().await?
        } else {
            self.hash().await?
        };
        Ok(!hash.is_empty() && equal(sha256_hex(offered).as_bytes(), hash.as_bytes()))
    }

    /// The hash of the host's key; empty where the host has none.
    pub(crate) async fn hash(&self) -> Result<String, MmdsError> {
        let known = self.known().clone();
        if let Some((read, hash)) = known
            && read.elapsed() < FRESH
        {
            return Ok(hash);
        }
        self.read().await
    }

    /// The same as it is now, whatever it was within the last second.
    pub(crate) async fn read(&self) -> Result<String, MmdsError> {
        let hash = mmds::fetch().await?.host_key_hash;
        *self.known() = Some((Instant::now(), hash.clone()));
        Ok(hash)
    }

    /// Forgets the hash: the next caller may be of another life of this VM.
    pub(crate) fn forget(&self) {
        *self.known() = None;
    }

    fn known(&self) -> MutexGuard<'_, Option<(Instant, String)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
