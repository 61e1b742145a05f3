//! Signed file URLs: a query that proves its maker knew the access token.
//!
//! `signature` = `v1_` + base64 without padding of SHA-256 over `path:operation:username:token`, with
//! `:expiration` (unix seconds) appended when the query has one.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use http::Method;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::HttpError;
use crate::secret::{Secret, equal};

/// The query of `/files`, decoded. Of a name given twice the first counts.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct FileQuery<'a> {
    pub(crate) path: Option<Cow<'a, str>>,
    pub(crate) username: Option<Cow<'a, str>>,
    pub(crate) signature: Option<Cow<'a, str>>,
    pub(crate) expiration: Option<Cow<'a, str>>,
}

impl<'a> FileQuery<'a> {
    /// Reads a query string; what is not UTF-8 after decoding is refused.
    pub(crate) fn parse(query: &'a str) -> Result<Self, HttpError> {
        let mut seen = Self::default();
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let slot = match name {
                "path" => &mut seen.path,
                "username" => &mut seen.username,
                "signature" => &mut seen.signature,
                "signature_expiration" => &mut seen.expiration,
                _ => continue,
            };
            if slot.is_none() {
                *slot = Some(
                    decode(value).ok_or_else(|| HttpError::fixed(400, "cannot read the query"))?,
                );
            }
        }
        Ok(seen)
    }
}

/// Undoes form encoding.
fn decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains(['%', '+']) {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let high = char::from(rest.next()?).to_digit(16)?;
                let low = char::from(rest.next()?).to_digit(16)?;
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

/// Admits a request whose query is signed with `token` and not expired at `now`.
pub(crate) fn check(
    method: &Method,
    query: &str,
    token: &Secret,
    now: Timestamp,
) -> Result<(), HttpError> {
    let query = FileQuery::parse(query)?;
    let Some(offered) = &query.signature else {
        return Err(HttpError::fixed(401, "missing signature query parameter"));
    };
    let operation = if method == Method::GET {
        "read"
    } else {
        "write"
    };
    let expected = sign(&query, operation, token);
    if !equal(expected.as_bytes(), offered.as_bytes()) {
        return Err(HttpError::fixed(401, "invalid signature"));
    }
    let expired = match &query.expiration {
        None => false,
        Some(text) => match text.parse::<i64>() {
            Ok(second) => second < now.as_second(),
            Err(_) => return Err(HttpError::fixed(401, "invalid signature")),
        },
    };
    if expired {
        return Err(HttpError::fixed(401, "signature is already expired"));
    }
    Ok(())
}

/// Any text is a query or refused, and none is admitted without the token.
#[cfg(feature = "fuzzing")]
pub(crate) fn fuzz(data: &[u8]) {
    let query = String::from_utf8_lossy(data);
    let token = Secret::new("a token that no input knows".into());
    assert!(check(&Method::GET, &query, &token, Timestamp::UNIX_EPOCH).is_err());
}

fn sign(query: &FileQuery<'_>, operation: &str, token: &Secret) -> String {
    let text = |value: &Option<Cow<'_, str>>| value.as_deref().unwrap_or_default().to_owned();
    let mut hash = Sha256::new();
    hash.update(text(&query.path));
    hash.update(format!(":{operation}:"));
    hash.update(text(&query.username));
    hash.update(":");
    hash.update(token.expose());
    if let Some(expiration) = &query.expiration {
        hash.update(":");
        hash.update(expiration.as_bytes());
    }
    format!("v1_{}", STANDARD_NO_PAD.encode(hash.finalize()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn signed(query: &str, operation: &str) -> String {
        let token = Secret::new("token".into());
        let signature = sign(&FileQuery::parse(query).unwrap(), operation, &token);
        format!("{query}&signature={}", signature.replace('+', "%2B"))
    }

    fn check_query(query: &str, expected: Result<(), &str>) {
        let seen = check(&Method::GET, query, &Secret::new("token".into()), NOW);
        let seen = seen.map_err(|fault| (fault.status.as_u16(), fault.message.into_owned()));
        assert_eq!(
            seen,
            expected.map_err(|message| (401, message.to_owned())),
            "{query}"
        );
    }

    #[test]
    fn a_good_signature_admits() {
        check_query(&signed("path=/a%20b&username=root", "read"), Ok(()));
        check_query(&signed("path=~", "read"), Ok(()));
        check_query(&signed("path=x&signature_expiration=1", "read"), Ok(()));
    }

    #[test]
    fn the_exact_bytes_are_those_of_the_published_scheme() {
        // SHA-256 of "/a:read:user:token", computed apart.
        let query = FileQuery::parse("path=/a&username=user").unwrap();
        let expected = STANDARD_NO_PAD.encode(Sha256::digest(b"/a:read:user:token"));
        assert_eq!(
            sign(&query, "read", &Secret::new("token".into())),
            format!("v1_{expected}")
        );
    }

    #[test]
    fn everything_else_is_refused_in_the_agreed_words() {
        check_query("path=x", Err("missing signature query parameter"));
        check_query("path=x&signature=v1_zzz", Err("invalid signature"));
        check_query(&signed("path=x", "write"), Err("invalid signature"));
        check_query(
            &signed("path=x&signature_expiration=-1", "read"),
            Err("signature is already expired"),
        );
        check_query(
            &signed("path=x&signature_expiration=soon", "read"),
            Err("invalid signature"),
        );
    }

    proptest! {
        #[test]
        fn what_is_signed_is_admitted_and_nothing_else(
            path in "\\PC{0,40}",
            username in prop::option::of("[a-z:]{0,8}"),
            expiration in prop::option::of(0_i64..2_000_000_000),
            other in "\\PC{1,8}",
        ) {
            let encode = |text: &str| -> String {
                text.bytes().map(|byte| format!("%{byte:02x}")).collect()
            };
            let query = |path: &str| {
                let user = username.as_ref().map(|name| format!("&username={}", encode(name)));
                let end = expiration.map(|end| format!("&signature_expiration={end}"));
                format!("path={}{}{}", encode(path), user.unwrap_or_default(), end.unwrap_or_default())
            };
            let token = Secret::new("token".into());
            let signature = sign(&FileQuery::parse(&query(&path)).unwrap(), "read", &token);
            let admitted = |query: String, method: Method, token: &Secret| {
                let query = format!("{query}&signature={}", encode(&signature));
                check(&method, &query, token, NOW).is_ok()
            };
            prop_assert!(admitted(query(&path), Method::GET, &token));
            prop_assert!(!admitted(query(&path), Method::POST, &token));
            let longer = format!("{path}{other}");
            prop_assert!(!admitted(query(&longer), Method::GET, &token));
            prop_assert!(!admitted(query(&path), Method::GET, &Secret::new(other)));
        }
    }

    #[test]
    fn queries_of_any_shape_are_read_or_refused() {
        for query in [
            "", "&&", "=", "path", "path=%", "path=%4", "path=%zz", "path=%ff", "a=%ff",
        ] {
            let bad = query.starts_with("path=%");
            assert_eq!(FileQuery::parse(query).is_err(), bad, "{query}");
        }
    }
}
