//! Sealing of values that rest in the database: AES-256-GCM bound to the row they belong to.
//!
//! Form: `v1:<key id>:<nonce>:<ciphertext>`, binary parts in hex. The first key of the ring seals, all
//! open, so that a new key can be put in front while old values are still readable. The associated data
//! names the row and column: a ciphertext moved to another row does not open.

use std::fmt;

use aes_gcm::{
    Aes256Gcm, KeyInit,
    aead::{Aead, Payload},
};

/// Why sealing or opening failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The ring of keys is malformed.
    #[error("must be [id:]64 hex digits, more keys after commas")]
    Keys,
    /// The stored text is not a sealed value.
    #[error("the stored value is not a sealed one")]
    Shape,
    /// No key of the ring has the value's key id.
    #[error("the key that sealed the value is not configured")]
    UnknownKey,
    /// Wrong key, wrong row, or altered.
    #[error("the stored value does not open")]
    Refused,
    /// The system has no randomness.
    #[error("no randomness for a nonce")]
    Randomness,
}

/// Keys by id; the first one seals.
#[derive(Clone)]
pub struct SealingKeys(Vec<(String, Aes256Gcm)>);

impl fmt::Debug for SealingKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(id, _)| id))
            .finish()
    }
}

impl SealingKeys {
    /// Reads `[kid:]64 hex[,kid:64 hex…]`; a key without an id has the id `0`.
    ///
    /// # Errors
    /// [`SealError::Keys`].
    pub fn parse(text: &str) -> Result<Self, SealError> {
        let mut keys: Vec<(String, Aes256Gcm)> = Vec::new();
        for part in text.split(',').map(str::trim) {
            let (id, digits) = part.split_once(':').unwrap_or(("0", part));
            let shape = (1..=32).contains(&id.len())
                && id
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
            let key: [u8; 32] = hex::decode(digits)
                .ok()
                .and_then(|bytes| bytes.try_into().ok())
                .ok_or(SealError::Keys)?;
            if !shape || keys.iter().any(|(known, _)| known == id) {
                return Err(SealError::Keys);
            }
            keys.push((id.to_owned(), Aes256Gcm::new(&key.into())));
        }
        Ok(Self(keys))
    }

    /// What every value begins with that the first key sealed.
    pub(crate) fn prefix(&self) -> String {
        let first = self.0.first().map_or("", |(id, _)| id);
        format!("v1:{first}:")
    }

    /// Seals `plain` for the place that `row` names.
    ///
    /// # Errors
    /// No randomness.
    pub fn seal(&self, row: &str, plain: &[u8]) -> Result<String, SealError> {
        let (id, cipher) = self.0.first().ok_or(SealError::Keys)?;
        let mut nonce = [0u8; 12];
        getrandom::fill(&mut nonce).map_err(|_| SealError::Randomness)?;
        let sealed = cipher
            .encrypt(
                &nonce.into(),
                Payload {
                    msg: plain,
                    aad: row.as_bytes(),
                },
            )
            .map_err(|_| SealError::Refused)?;
        Ok(format!(
            "v1:{id}:{}:{}",
            hex::encode(nonce),
            hex::encode(sealed)
        ))
    }

    /// Opens what was sealed for the same place.
    ///
    /// # Errors
    /// The value is malformed, altered, of another row, or its key is gone.
    pub fn open(&self, row: &str, sealed: &str) -> Result<Vec<u8>, SealError> {
        let mut parts = sealed.split(':');
        let (Some("v1"), Some(id), Some(nonce), Some(text), None) = (
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
        ) else {
            return Err(SealError::Shape);
        };
        let nonce: [u8; 12] = hex::decode(nonce)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(SealError::Shape)?;
        let text = hex::decode(text).map_err(|_| SealError::Shape)?;
        let (_, cipher) = self
            .0
            .iter()
            .find(|(known, _)| known == id)
            .ok_or(SealError::UnknownKey)?;
        cipher
            .decrypt(
                &nonce.into(),
                Payload {
                    msg: &text,
                    aad: row.as_bytes(),
                },
            )
            .map_err(|_| SealError::Refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(text: &str) -> SealingKeys {
        SealingKeys::parse(text).unwrap()
    }

    fn key(digit: char) -> String {
        digit.to_string().repeat(64)
    }

    #[test]
    fn a_value_opens_in_its_own_row_only() {
        let keys = ring(&key('a'));
        let sealed = keys.seal("sandbox:1:envs", b"secret").unwrap();
        assert_eq!(keys.open("sandbox:1:envs", &sealed).unwrap(), b"secret");
        assert_eq!(
            keys.open("sandbox:2:envs", &sealed),
            Err(SealError::Refused)
        );
        assert!(!sealed.contains("secret"));
    }

    #[test]
    fn an_old_key_opens_after_rotation() {
        let sealed = ring(&format!("old:{}", key('a'))).seal("r", b"x").unwrap();
        let rotated = ring(&format!("new:{},old:{}", key('b'), key('a')));
        assert_eq!(rotated.open("r", &sealed).unwrap(), b"x");
        assert!(rotated.seal("r", b"x").unwrap().starts_with("v1:new:"));
        assert_eq!(
            ring(&key('a')).open("r", &sealed),
            Err(SealError::UnknownKey)
        );
    }

    #[test]
    fn malformed_rings_and_values_are_refused() {
        for bad in [
            "",
            "ab",
            &key('g'),
            &format!("{},{}", key('a'), key('b')),
            &format!(":{}", key('a')),
        ] {
            assert!(SealingKeys::parse(bad).is_err(), "{bad}");
        }
        for bad in ["", "v1", "v2:0:00:00", "v1:0:zz:00", "v1:0:00:00:00"] {
            assert!(ring(&key('a')).open("r", bad).is_err(), "{bad}");
        }
    }
}
