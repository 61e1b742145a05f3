//! Passwords: argon2id on a blocking thread, a bounded number at a time.

use argon2::{Argon2, password_hash::PasswordHasher};

/// Hashing failed.
#[derive(Debug, thiserror::Error)]
#[error("the password cannot be hashed")]
pub struct HashError(#[source] Option<argon2::password_hash::Error>);

/// Hashes a password; takes tens of milliseconds and MiB on a blocking thread.
pub(crate) async fn hash(password: String) -> Result<String, HashError> {
    tokio::task::spawn_blocking(move || {
        Argon2::default()
            .hash_password(password.as_bytes())
            .map(|hash| hash.to_string())
            .map_err(|error| HashError(Some(error)))
    })
    .await
    .unwrap_or(Err(HashError(None)))
}
