//! Finds and removes the mounts under a jail, whoever made them.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::mount::UnmountFlags;

use super::error::JailError;

/// Unmounts everything under `directory`, deepest first.
pub(super) fn remove_under(directory: &Path) -> Result<(), JailError> {
    let table = Path::new("/proc/self/mountinfo");
    let text = std::fs::read(table).map_err(|source| JailError::file("read", table, source))?;
    let mut points: Vec<_> = mount_points(&text)
        .filter(|point| point.starts_with(directory))
        .collect();
    points.sort_by_key(|point| std::cmp::Reverse(point.components().count()));
    for point in points {
        match rustix::mount::unmount(&point, UnmountFlags::DETACH) {
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {} // not a mount point any more
            Err(source) => return Err(JailError::file("unmount", &point, source.into())),
        }
    }
    Ok(())
}

/// The fifth field of each line (proc(5)), with its octal escapes undone.
fn mount_points(table: &[u8]) -> impl Iterator<Item = PathBuf> {
    table
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
        .map(|field| PathBuf::from(OsString::from_vec(unescape(field))))
}

fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        let octal = (byte == b'\\').then(|| tail.get(..3)).flatten();
        let code =
            octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        plain.push(code.unwrap_or(byte));
        rest = if code.is_some() { &tail[3..] } else { tail };
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read_with_their_escapes_undone() {
        let table = b"36 35 98:0 / /jail/a\\040b rw - ext4 /dev/x rw\n37 35 98:0 / /other rw - ext4 /dev/x rw\nshort\n";
        let points: Vec<_> = mount_points(table).collect();
        assert_eq!(points, [Path::new("/jail/a b"), Path::new("/other")]);
    }

    #[test]
    fn odd_escapes_stay_as_they_are() {
        let check = |field: &str, expected: &str| {
            assert_eq!(unescape(field.as_bytes()), expected.as_bytes())
        };
        check("a\\", "a\\");
        check("a\\04", "a\\04");
        check("a\\999", "a\\999");
        check("\\134", "\\");
    }
}
