//! Passwords: argon2id on a blocking thread, a bounded number at a time.
//!
//! A hash takes tens of milliseconds of a processor and 19 MiB. At most half of the processors hash at
//! once, so that other requests stay fast whatever comes to the login route, and a bounded number waits.

use std::{
    sync::{Arc, LazyLock},
    thread,
    time::Duration,
};

use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier},
};
use tokio::sync::Semaphore;

/// Who waits for a processor at once; more are refused.
const WAITING: usize = 256;
/// Longest wait for one.
const PATIENCE: Duration = Duration::from_secs(15);
/// What the password of nobody is compared with: it costs the same and never fits.
const NOBODY: &str = concat!(
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA",
    "$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
);

static AT_ONCE: LazyLock<Arc<Semaphore>> = LazyLock::new(|| {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    Arc::new(Semaphore::new((processors / 2).max(1)))
});
static ROOM: Semaphore = Semaphore::const_new(WAITING);

/// Hashing failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HashError {
    /// Too many wait already.
    #[error("too many passwords wait to be hashed")]
    Busy,
    /// The hash or the password cannot be used.
    #[error("the password cannot be hashed")]
    Failed(#[source] Option<argon2::password_hash::Error>),
}

/// Hashes a password.
pub(crate) async fn hash(password: String) -> Result<String, HashError> {
    in_turn(move || {
        Argon2::default()
            .hash_password(password.as_bytes())
            .map(|hash| hash.to_string())
            .map_err(|error| HashError::Failed(Some(error)))
    })
    .await
}

/// Whether the password is the one behind the hash. Without a hash the answer is no, after the same time.
pub(crate) async fn verify(password: String, hash: Option<String>) -> Result<bool, HashError> {
    in_turn(move || {
        let known = hash.as_deref().unwrap_or(NOBODY);
        let fits = Argon2::default().verify_password(password.as_bytes(), known);
        Ok(fits.is_ok() && hash.is_some())
    })
    .await
}

async fn in_turn<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, HashError> + Send + 'static,
) -> Result<T, HashError> {
    let _room = ROOM.try_acquire().map_err(|_| HashError::Busy)?;
    let turn = tokio::time::timeout(PATIENCE, Arc::clone(&AT_ONCE).acquire_owned());
    let turn = turn
        .await
        .map_err(|_| HashError::Busy)?
        .map_err(|_| HashError::Busy)?;
    tokio::task::spawn_blocking(move || {
        let done = work();
        // Held by the thread, which goes on when nobody waits for it any more.
        drop(turn);
        done
    })
    .await
    .unwrap_or(Err(HashError::Failed(None)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_password_fits_its_hash() {
        let hashed = hash("correct horse".to_owned()).await.unwrap();
        let check = async |password: &str, hash: Option<&str>, expected: bool| {
            let fits = verify(password.to_owned(), hash.map(str::to_owned)).await;
            assert_eq!(fits.unwrap(), expected, "{password} {hash:?}");
        };
        check("correct horse", Some(&hashed), true).await;
        check("wrong horse", Some(&hashed), false).await;
        check("correct horse", None, false).await;
        check("", Some("no hash"), false).await;
        // Nobody's hash costs what anybody's does.
        assert_eq!(hashed[..31], NOBODY[..31]);
        assert_eq!(hashed.len(), NOBODY.len());
    }
}
