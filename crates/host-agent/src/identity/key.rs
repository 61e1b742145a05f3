//! The host's private key: ECDSA P-256, made here, never sent.

use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};

use super::Token;

/// A new key and the request for a certificate that goes with it.
#[derive(Debug)]
pub struct HostKey {
    pair: KeyPair,
}

impl HostKey {
    /// Makes a key.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn new() -> Result<Self, rcgen::Error> {
        Ok(Self {
            pair: KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?,
        })
    }

    /// A certificate request; the control plane takes the public key from it and nothing else.
    ///
    /// # Errors
    /// When signing fails.
    pub fn csr_pem(&self) -> Result<String, rcgen::Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.serialize_request(&self.pair)?.pem()
    }

    /// The key, for the credentials file.
    #[must_use]
    pub fn pem(&self) -> Token {
        Token::new(self.pair.serialize_pem())
    }
}
