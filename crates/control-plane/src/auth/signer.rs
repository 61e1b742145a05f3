//! HMAC-SHA256 under a key of one kind: what we gave out and must know again.

use hmac::{Hmac, KeyInit, Mac};
use secrecy::SecretString;
use sha2::Sha256;

use super::{KeyLabel, derive};

/// Signs with the current secret, knows the signatures of the one before too.
pub(crate) struct Signer(Vec<[u8; 32]>);

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Signer").finish_non_exhaustive()
    }
}

impl Signer {
    pub(crate) fn new(
        current: &SecretString,
        previous: Option<&SecretString>,
        label: KeyLabel,
    ) -> Self {
        Self(
            [Some(current), previous]
                .into_iter()
                .flatten()
                .map(|secret| derive(secret, label))
                .collect(),
        )
    }

    fn mac(key: &[u8; 32], data: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of every length");
        mac.update(data);
        mac
    }

    /// Signatures of `data`, that of the current secret first.
    pub(crate) fn all(&self, data: &[u8]) -> impl Iterator<Item = [u8; 32]> {
        self.0
            .iter()
            .map(move |key| Self::mac(key, data).finalize().into_bytes().into())
    }

    /// The signature of `data`.
    pub(crate) fn sign(&self, data: &[u8]) -> [u8; 32] {
        Self::mac(&self.0[0], data).finalize().into_bytes().into()
    }

    /// Whether `signature` is one of ours; takes the same time either way.
    pub(crate) fn knows(&self, data: &[u8], signature: &[u8]) -> bool {
        self.0
            .iter()
            .any(|key| Self::mac(key, data).verify_slice(signature).is_ok())
    }
}
