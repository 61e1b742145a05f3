//! The one grammar of device names, and our mark.

use std::fmt;

use crate::{Error, Result};

/// Prefix of every dm device that is ours.
const MARK: &str = "wrenn-";
/// What ends the name of the lower of a disk's two snapshots.
const BELOW: &str = "-below";
/// What follows the mark in the names of grown origins; no disk may be named so.
const ORIGIN: &str = "base-";

/// Name of a dm device of ours, with the mark: `wrenn-<name>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceName(String);

impl DeviceName {
    /// Takes the name without the mark: 1–100 characters of `a-z`, `0-9`, `-`, not beginning with `base-` and
    /// not ending with `-below`.
    pub fn new(name: &str) -> Result<Self> {
        if name.starts_with(ORIGIN) || name.ends_with(BELOW) {
            return Err(Error::BadName(name.to_owned()));
        }
        Self::any(name)
    }

    /// The name of the shared device that maps a file to so many sectors.
    pub(crate) fn origin(device: u64, inode: u64, sectors: u64) -> Self {
        Self(format!("{MARK}{ORIGIN}{device:x}-{inode:x}-{sectors}"))
    }

    /// Device and inode of the file and the sectors, of such a name.
    pub(crate) fn parse_origin(&self) -> Option<(u64, u64, u64)> {
        let mut parts = self.0.strip_prefix(MARK)?.strip_prefix(ORIGIN)?.split('-');
        let hex = |part: Option<&str>| u64::from_str_radix(part?, 16).ok();
        let (device, inode) = (hex(parts.next())?, hex(parts.next())?);
        let sectors = parts.next()?.parse().ok()?;
        parts.next().is_none().then_some((device, inode, sectors))
    }

    /// The name of the snapshot under the one of this name.
    pub(crate) fn below(&self) -> Self {
        Self(format!("{self}{BELOW}"))
    }

    fn any(name: &str) -> Result<Self> {
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > 100 || !name.chars().all(legal) {
            return Err(Error::BadName(name.to_owned()));
        }
        Ok(Self(format!("{MARK}{name}")))
    }

    /// Takes a name as device-mapper lists it; `None` if it is not ours.
    pub(crate) fn from_marked(listed: &str) -> Option<Self> {
        Self::any(listed.strip_prefix(MARK)?).ok()
    }

    /// The name with its mark, as `dmsetup ls` shows it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &str, expected: Option<&str>) {
        assert_eq!(
            DeviceName::new(input).ok().as_ref().map(DeviceName::as_str),
            expected,
            "{input:?}"
        );
    }

    #[test]
    fn names_carry_the_mark_and_nothing_that_a_path_could_use() {
        check("sbx-1", Some("wrenn-sbx-1"));
        check("", None);
        check("a/b", None);
        check("..", None);
        check("A", None);
        check("a\0", None);
        check("base-1", None);
        check("sbx-1-below", None);
        check(
            &"a".repeat(100),
            Some(&format!("wrenn-{}", "a".repeat(100))),
        );
        check(&"a".repeat(101), None);
    }

    #[test]
    fn only_marked_names_are_ours() {
        assert!(DeviceName::from_marked("wrenn-x").is_some());
        assert!(
            DeviceName::from_marked(DeviceName::origin(1, 0x1f, 3).as_str())
                .is_some_and(|name| name.parse_origin() == Some((1, 0x1f, 3)))
        );
        let disk = DeviceName::new("sbx-1");
        assert!(disk.is_ok_and(|name| name.parse_origin().is_none()));
        assert!(DeviceName::from_marked("vg-root").is_none());
        assert!(DeviceName::from_marked("wrenn-").is_none());
        assert!(DeviceName::from_marked("wrenn-UPPER").is_none());
    }
}
