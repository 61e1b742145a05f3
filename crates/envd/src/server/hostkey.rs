//! Proof that a caller is the host: it knows the key whose hash is in the metadata service.
//!
//! The key itself is never in the guest; what the guest's programs can read is its hash.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    guest::mmds::{self, Metadata, MmdsError},
    secret::{equal, sha256_hex},
};

const FRESH: Duration = Duration::from_secs(1);

/// The metadata as last read, for at most a second.
#[derive(Debug, Default)]
pub(crate) struct HostKey {
    known: Mutex<Option<(Instant, Metadata)>>,
}

impl HostKey {
    /// The metadata that tells `offered`, the header's value, to be the host's key now; `anew` asks the service
    /// for it.
    pub(crate) async fn admits(
        &self,
        offered: &[u8],
        anew: bool,
    ) -> Result<Option<Metadata>, MmdsError> {
        let metadata = if anew {
            self.read().await?
        } else {
            self.metadata().await?
        };
        let hash = metadata.host_key_hash.as_bytes();
        let admitted = !hash.is_empty() && equal(sha256_hex(offered).as_bytes(), hash);
        Ok(admitted.then_some(metadata))
    }

    /// The metadata; its hash is empty where the host has no key.
    pub(crate) async fn metadata(&self) -> Result<Metadata, MmdsError> {
        let known = self.known().clone();
        if let Some((read, metadata)) = known
            && read.elapsed() < FRESH
        {
            return Ok(metadata);
        }
        self.read().await
    }

    /// The same as it is now, whatever it was within the last second.
    pub(crate) async fn read(&self) -> Result<Metadata, MmdsError> {
        let metadata = mmds::fetch().await?;
        *self.known() = Some((Instant::now(), metadata.clone()));
        Ok(metadata)
    }

    /// Forgets it: the next caller may be of another life of this VM.
    pub(crate) fn forget(&self) {
        *self.known() = None;
    }

    fn known(&self) -> MutexGuard<'_, Option<(Instant, Metadata)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
