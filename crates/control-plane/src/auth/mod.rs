//! Credentials: API keys, tokens of users and hosts, one-time tokens.
//!
//! Secrets are compared as SHA-256 by the database's index, never as texts here. Each kind of signed
//! token has its own key, derived from the master secret by a label, so that a token of one kind is
//! nothing to the verifier of another.

pub(crate) mod api_key;
pub(crate) mod host_token;
pub(crate) mod one_time;
pub(crate) mod password;
pub(crate) mod signer;
pub(crate) mod user_token;

use hkdf::Hkdf;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

/// Kinds of keys that derive from the master secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyLabel {
    /// Host JWTs.
    HostJwt,
    /// User JWTs.
    UserJwt,
    /// The browser's part of a sign-in at a provider.
    OauthState,
    /// Successors of refresh tokens.
    RefreshToken,
}

impl KeyLabel {
    const fn as_str(self) -> &'static str {
        match self {
            Self::HostJwt => "host-jwt",
            Self::UserJwt => "user-jwt",
            Self::OauthState => "oauth-state",
            Self::RefreshToken => "refresh-token",
        }
    }
}

/// The key of one kind.
pub(crate) fn derive(master: &SecretString, label: KeyLabel) -> [u8; 32] {
    let mut key = [0u8; 32];
    Hkdf::<Sha256>::new(None, master.expose_secret().as_bytes())
        .expand(label.as_str().as_bytes(), &mut key)
        .expect("32 bytes are within what HKDF-SHA256 yields");
    key
}

/// SHA-256, as tokens and keys are stored.
pub(crate) fn sha256(text: &[u8]) -> [u8; 32] {
    Sha256::digest(text).into()
}

/// The system has no randomness.
#[derive(Debug, thiserror::Error)]
#[error("no randomness for a secret")]
pub struct NoRandomness(#[source] getrandom::Error);

/// `bytes` random bytes in hex.
pub(crate) fn random_hex(bytes: usize) -> Result<String, NoRandomness> {
    let mut buffer = vec![0u8; bytes];
    getrandom::fill(&mut buffer).map_err(NoRandomness)?;
    Ok(hex::encode(buffer))
}
