//! What is told of one file.

use std::{
    ffi::CStr,
    fs, io,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::{getxattr, lgetxattr, listxattr, llistxattr};
use wrenn_rpc::{
    buffa_types::google::protobuf::Timestamp,
    filesystem::{EntryInfo, FileType},
};

use crate::users::Users;

/// Extended attributes with this prefix are the metadata of a file.
pub(crate) const METADATA_PREFIX: &str = "user.e2b.";

const MAX_LIST: usize = 64 << 10;
const MAX_VALUE: usize = 64 << 10;
const MODE_BITS: u32 = 0o777;

/// Describes `path`, reported as `shown`. Links are described by their target where they have one.
pub(crate) fn describe(path: &Path, shown: &str, users: &Users) -> io::Result<EntryInfo> {
    let own = fs::symlink_metadata(path)?;
    let is_link = own.file_type().is_symlink();
    let target = is_link
        .then(|| fs::canonicalize(path).and_then(|target| Ok((fs::metadata(&target)?, target))));
    let (kind, mode, symlink_target) = match &target {
        None => (kind(own.file_type()), own.mode(), None),
        Some(Ok((metadata, target))) => (
            kind(metadata.file_type()),
            metadata.mode(),
            Some(target.to_string_lossy().into_owned()),
        ),
        Some(Err(_)) => (FileType::Symlink, own.mode(), Some(link_text(path)?)),
    };
    Ok(EntryInfo {
        name: shown.rsplit('/').next().unwrap_or_default().to_owned(),
        r#type: kind.into(),
        path: shown.to_owned(),
        size: i64::try_from(own.size()).unwrap_or(i64::MAX),
        mode: mode & MODE_BITS,
        permissions: permissions(&own.file_type(), mode),
        owner: users.user_name(own.uid()),
        group: users.group_name(own.gid()),
        modified_time: Timestamp {
            seconds: own.mtime(),
            nanos: i32::try_from(own.mtime_nsec()).unwrap_or(0),
            ..Timestamp::default()
        }
        .into(),
        symlink_target,
        metadata: metadata(path, is_link).into_iter().collect(),
        ..EntryInfo::default()
    })
}

fn kind(kind: fs::FileType) -> FileType {
    if kind.is_dir() {
        FileType::Directory
    } else if kind.is_file() {
        FileType::File
    } else if kind.is_symlink() {
        FileType::Symlink
    } else {
        FileType::Unspecified
    }
}

/// The text of a link that leads nowhere, made absolute.
fn link_text(path: &Path) -> io::Result<String> {
    let text = fs::read_link(path)?;
    let whole: PathBuf = path.parent().unwrap_or(Path::new("/")).join(text);
    Ok(whole.to_string_lossy().into_owned())
}

/// Ten characters as `ls` writes them, with `L` for a link.
fn permissions(kind: &fs::FileType, mode: u32) -> String {
    let first = match () {
        () if kind.is_symlink() => 'L',
        () if kind.is_dir() => 'd',
        () if kind.is_fifo() => 'p',
        () if kind.is_socket() => 'S',
        () if kind.is_char_device() => 'c',
        () if kind.is_block_device() => 'b',
        () => '-',
    };
    let bits = (0..9).rev().zip("rwxrwxrwx".chars());
    let rest = bits.map(|(bit, letter)| if mode >> bit & 1 == 1 { letter } else { '-' });
    std::iter::once(first).chain(rest).collect()
}

fn metadata(path: &Path, is_link: bool) -> Vec<(String, String)> {
    let mut names = vec![0; MAX_LIST];
    let listed = if is_link {
        llistxattr(path, &mut names[..])
    } else {
        listxattr(path, &mut names[..])
    };
    // A file system without attributes, or a file that is gone: no metadata.
    let Ok(length) = listed else {
        return Vec::new();
    };
    let names = names[..length].split_inclusive(|byte| *byte == 0);
    names
        .filter_map(|name| {
            let name = CStr::from_bytes_with_nul(name).ok()?;
            let key = name.to_str().ok()?.strip_prefix(METADATA_PREFIX)?;
            let mut value = vec![0; MAX_VALUE];
            let length = if is_link {
                lgetxattr(path, name, &mut value[..])
            } else {
                getxattr(path, name, &mut value[..])
            };
            value.truncate(length.ok()?);
            Some((key.to_owned(), String::from_utf8(value).ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn check(path: &Path, kind: FileType, permissions: &str, target: Option<&Path>) {
        let entry = describe(path, &path.to_string_lossy(), &Users::system()).unwrap();
        assert_eq!(entry.r#type, kind, "{}", path.display());
        assert_eq!(entry.permissions, permissions);
        assert_eq!(entry.symlink_target.as_deref().map(Path::new), target);
        assert_eq!(entry.owner, "root");
    }

    #[test]
    fn files_links_and_what_links_to_nothing_are_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("file"), "12345").unwrap();
        fs::set_permissions(at("file"), fs::Permissions::from_mode(0o640)).unwrap();
        symlink("file", at("link")).unwrap();
        symlink("nowhere", at("dangling")).unwrap();
        symlink("loop", at("loop")).unwrap();
        check(&at("file"), FileType::File, "-rw-r-----", None);
        let target = fs::canonicalize(at("file")).unwrap();
        check(&at("link"), FileType::File, "Lrw-r-----", Some(&target));
        check(
            &at("dangling"),
            FileType::Symlink,
            "Lrwxrwxrwx",
            Some(&at("nowhere")),
        );
        check(
            &at("loop"),
            FileType::Symlink,
            "Lrwxrwxrwx",
            Some(&at("loop")),
        );
        assert_eq!(
            describe(&at("file"), "/x/y", &Users::system())
                .unwrap()
                .name,
            "y"
        );
        assert!(describe(&at("missing"), "", &Users::system()).is_err());
    }
}
