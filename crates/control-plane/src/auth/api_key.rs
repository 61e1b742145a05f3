//! API keys: `wrn_` + 32 hex, or `e2b_` + 40 hex.

use super::{NoRandomness, random_hex, sha256};

/// A key that was just made.
pub(crate) struct NewKey {
    /// The key itself; shown once.
    pub(crate) text: String,
    /// What is stored of it.
    pub(crate) hash: [u8; 32],
    /// What lists show of it.
    pub(crate) prefix: String,
}

/// Makes a key.
pub(crate) fn generate() -> Result<NewKey, NoRandomness> {
    Ok(new(format!("wrn_{}", random_hex(16)?)))
}

/// Makes a key of the shape that the SDKs of E2B demand.
pub(crate) fn generate_e2b() -> Result<NewKey, NoRandomness> {
    Ok(new(format!("e2b_{}", random_hex(20)?)))
}

fn new(text: String) -> NewKey {
    NewKey {
        hash: sha256(text.as_bytes()),
        prefix: text[..10].to_owned(),
        text,
    }
}

/// The hash of a text that has the shape of a key; anything else is no key and costs no query.
pub(crate) fn hash(text: &str) -> Option<[u8; 32]> {
    let digits = match text.split_at_checked(4)? {
        ("wrn_", digits) if digits.len() == 32 => digits,
        ("e2b_", digits) if digits.len() == 40 => digits,
        _ => return None,
    };
    let hex = digits
        .bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    hex.then(|| sha256(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_two_shapes_are_keys() {
        assert!(hash(&generate().unwrap().text).is_some());
        assert!(hash(&generate_e2b().unwrap().text).is_some());
        assert!(hash(&format!("e2b_{}", "0".repeat(40))).is_some());
        for bad in [
            "",
            "wrn_",
            "wrn",
            "abc_0",
            "wrn_é",
            &format!("wrn_{}", "G".repeat(32)),
            &format!("e2b_{}", "0".repeat(32)),
            &format!("wrn_{}", "0".repeat(33)),
        ] {
            assert!(hash(bad).is_none(), "{bad}");
        }
    }
}
