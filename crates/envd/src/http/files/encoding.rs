//! Which encoding a download is sent in: what `Accept-Encoding` prefers.

use http::{HeaderMap, header::ACCEPT_ENCODING};

/// How the bytes of a file are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Identity,
    Gzip,
}

/// The encoding that the header prefers, identity where it does not care; nothing where it takes neither.
pub(super) fn preferred(headers: &HeaderMap) -> Option<Encoding> {
    let (mut gzip, mut identity, mut others) = (None, None, None);
    for value in headers.get_all(ACCEPT_ENCODING) {
        // What is not text, or no weight, says nothing.
        for item in value.to_str().unwrap_or_default().split(',') {
            let (name, weight) = item.split_once(';').unwrap_or((item, "q=1"));
            let Some(weight) = thousandths(weight) else {
                continue;
            };
            let slot = match name.trim().to_ascii_lowercase().as_str() {
                "gzip" | "x-gzip" => &mut gzip,
                "identity" => &mut identity,
                "*" => &mut others,
                _ => continue,
            };
            slot.get_or_insert(weight);
        }
    }
    let gzip = gzip.or(others).unwrap_or(0);
    match identity.or(others) {
        // Unmentioned, it may be sent but is not asked for.
        None if gzip == 0 => Some(Encoding::Identity),
        None => Some(Encoding::Gzip),
        Some(0) if gzip == 0 => None,
        Some(identity) if identity >= gzip => Some(Encoding::Identity),
        Some(_) => Some(Encoding::Gzip),
    }
}

/// `q=0.5` as 500; a weight is 0 to 1 with at most three decimals.
fn thousandths(text: &str) -> Option<u16> {
    let (name, value) = text.split_once('=')?;
    if !name.trim().eq_ignore_ascii_case("q") {
        return None;
    }
    let (whole, part) = value.trim().split_once('.').unwrap_or((value.trim(), ""));
    if part.len() > 3 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part: u16 = format!("{part:0<3}").parse().ok()?;
    match (whole, part) {
        ("0", part) => Some(part),
        ("1", 0) => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: &str, expected: Option<Encoding>) {
        let headers = [(ACCEPT_ENCODING, header.parse().unwrap())];
        assert_eq!(
            preferred(&headers.into_iter().collect()),
            expected,
            "{header:?}"
        );
    }

    #[test]
    fn gzip_is_sent_to_those_who_prefer_it() {
        assert_eq!(preferred(&HeaderMap::new()), Some(Encoding::Identity));
        for header in [
            "gzip",
            "x-gzip",
            "GZip, deflate, br",
            "gzip;q=0.1",
            "gzip; Q=1.000",
            "deflate, gzip;q=0.5, identity;q=0.4",
            "*, identity;q=0.5",
            "identity;q=0, *",
        ] {
            check(header, Some(Encoding::Gzip));
        }
    }

    #[test]
    fn identity_is_sent_to_everybody_else() {
        for header in [
            "",
            "identity",
            "*",
            "gzip, identity",
            "gzip;q=0.5, identity;q=0.5",
            "gzip;q=0.5, *",
            "gzip;q=0",
            "br, deflate",
            "gzip;q=2",
            "gzip;q=0.0001",
            "gzip;q=+1",
            "gzip;q",
            "gzip;level=9",
        ] {
            check(header, Some(Encoding::Identity));
        }
    }

    #[test]
    fn who_takes_neither_gets_nothing() {
        for header in ["identity;q=0", "*;q=0", "gzip;q=0, *;q=0.0", "br, *;q=0"] {
            check(header, None);
        }
    }
}
