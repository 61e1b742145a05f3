//! `X-Metadata-<key>` headers, kept as extended attributes `user.e2b.<key>`.

use std::{collections::BTreeMap, fs::File, io};

use http::HeaderMap;
use rustix::{
    fs::{XattrFlags, fgetxattr, flistxattr, fremovexattr, fsetxattr},
    io::Errno,
};

use crate::{filesystem::entry::METADATA_PREFIX, http::HttpError};

const HEADER_PREFIX: &str = "x-metadata-";
const MAX_KEY: usize = 246;
const MAX_TOTAL: usize = 4096;
const MAX_LIST: usize = 64 << 10;

/// What a request wants to keep with its file; header names come in lower case.
pub(super) fn wanted(headers: &HeaderMap) -> Result<BTreeMap<String, String>, HttpError> {
    let bad = |message| HttpError::fixed(400, message);
    let mut all = BTreeMap::new();
    let mut total = 0;
    for name in headers.keys() {
        let Some(key) = name.as_str().strip_prefix(HEADER_PREFIX) else {
            continue;
        };
        if !(1..=MAX_KEY).contains(&key.len()) {
            return Err(bad("a metadata key is not 1 to 246 bytes long"));
        }
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        let value = value.filter(|value| !value.contains('\t'));
        let value = value.ok_or_else(|| bad("a metadata value is not printable ASCII"))?;
        total += METADATA_PREFIX.len() + key.len() + value.len();
        all.insert(key.to_owned(), value.to_owned());
    }
    if total > MAX_TOTAL {
        return Err(bad("the metadata is longer than 4096 bytes"));
    }
    Ok(all)
}

/// Makes the attributes of `file` those of `wanted`, changing only what differs. A file system without
/// attributes keeps none, which is told and no failure.
pub(super) fn apply(file: &File, wanted: &BTreeMap<String, String>) -> io::Result<()> {
    match change(file, wanted) {
        Err(Errno::OPNOTSUPP) => {
            if !wanted.is_empty() {
                tracing::warn!("the file system keeps no metadata");
            }
            Ok(())
        }
        changed => Ok(changed?),
    }
}

fn change(file: &File, wanted: &BTreeMap<String, String>) -> Result<(), Errno> {
    let mut names = vec![0; MAX_LIST];
    let length = flistxattr(file, &mut names[..])?;
    for name in names[..length].split(|byte| *byte == 0) {
        let key = std::str::from_utf8(name)
            .ok()
            .and_then(|name| name.strip_prefix(METADATA_PREFIX));
        if key.is_some_and(|key| !wanted.contains_key(key)) {
            fremovexattr(file, name)?;
        }
    }
    for (key, value) in wanted {
        let name = format!("{METADATA_PREFIX}{key}");
        let mut held = vec![0; MAX_TOTAL];
        let same = fgetxattr(file, &name, &mut held[..])
            .is_ok_and(|length| &held[..length] == value.as_bytes());
        if !same {
            fsetxattr(file, &name, value.as_bytes(), XattrFlags::empty())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn check(pairs: &[(&str, &str)], expected: Result<usize, u16>) {
        let headers = pairs.iter().map(|(name, value)| {
            (
                name.parse::<HeaderName>().unwrap(),
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            )
        });
        let seen = wanted(&headers.collect());
        assert_eq!(
            seen.map(|all| all.len())
                .map_err(|fault| fault.status.as_u16()),
            expected,
            "{pairs:?}"
        );
    }

    #[test]
    fn metadata_is_printable_and_bounded() {
        check(
            &[("x-metadata-a", "1"), ("X-Metadata-B", "2"), ("other", "3")],
            Ok(2),
        );
        check(&[("x-metadata-", "1")], Err(400));
        check(&[("x-metadata-a", "ä")], Err(400));
        check(&[("x-metadata-a", "a\tb")], Err(400));
        check(&[("x-metadata-a", &"v".repeat(4086))], Ok(1));
        check(&[("x-metadata-a", &"v".repeat(4087))], Err(400));
        check(&[(&format!("x-metadata-{}", "a".repeat(246)), "1")], Ok(1));
        check(
            &[(&format!("x-metadata-{}", "a".repeat(247)), "1")],
            Err(400),
        );
    }
}
