//! Lists a directory to a depth, in byte order, without following links below the root.

use std::{fs, io, os::unix::ffi::OsStrExt as _, path::PathBuf};

use thiserror::Error;
use wrenn_rpc::filesystem::EntryInfo;

use super::entry;
use crate::users::Users;

const MAX_ENTRIES: usize = 100_000;

/// A directory that cannot be listed.
#[derive(Debug, Error)]
pub(super) enum ListError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("more than {MAX_ENTRIES} entries")]
    TooMany,
}

/// One directory that is being walked.
struct Level {
    /// Next last, so that they can be popped.
    names: Vec<PathBuf>,
    shown: String,
}

/// The entries under `root`, depth first, reported under the path that was asked for.
pub(super) fn list(root: &str, depth: u32, users: &Users) -> Result<Vec<EntryInfo>, ListError> {
    let mut entries = Vec::new();
    let mut levels = vec![open(root.into(), root.trim_end_matches('/').to_owned(), 0)?];
    while let Some(level) = levels.last_mut() {
        let Some(path) = level.names.pop() else {
            levels.pop();
            continue;
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let shown = format!("{}/{name}", level.shown);
        // It may have vanished since its directory was read.
        let Ok(entry) = entry::describe(&path, &shown, users) else {
            continue;
        };
        if entries.len() == MAX_ENTRIES {
            return Err(ListError::TooMany);
        }
        let descend = entry.symlink_target.is_none()
            && entry.permissions.starts_with('d')
            && u32::try_from(levels.len()).is_ok_and(|level| level < depth.max(1));
        entries.push(entry);
        if descend && let Ok(next) = open(path, shown, entries.len()) {
            levels.push(next);
        }
    }
    Ok(entries)
}

fn open(path: PathBuf, shown: String, listed: usize) -> Result<Level, ListError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        if names.len() + listed > MAX_ENTRIES {
            return Err(ListError::TooMany);
        }
        names.push(entry?.path());
    }
    names.sort_by(|left, right| {
        right
            .as_os_str()
            .as_bytes()
            .cmp(left.as_os_str().as_bytes())
    });
    Ok(Level { names, shown })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn check(root: &str, depth: u32, expected: &[&str]) {
        let entries = list(root, depth, &Users::system()).unwrap();
        let seen: Vec<_> = entries
            .iter()
            .map(|entry| entry.path.strip_prefix(root).unwrap())
            .collect();
        assert_eq!(seen, expected, "depth {depth}");
    }

    #[test]
    fn entries_come_depth_first_in_byte_order() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir_all(at("b/inner")).unwrap();
        for name in ["a", "b/x", "b/inner/deep", "c", "B"] {
            fs::write(at(name), "").unwrap();
        }
        symlink(at("b"), at("link")).unwrap();
        let root = directory.path().to_str().unwrap();
        check(root, 0, &["/B", "/a", "/b", "/c", "/link"]);
        check(root, 1, &["/B", "/a", "/b", "/c", "/link"]);
        check(
            root,
            2,
            &["/B", "/a", "/b", "/b/inner", "/b/x", "/c", "/link"],
        );
        check(
            root,
            9,
            &[
                "/B",
                "/a",
                "/b",
                "/b/inner",
                "/b/inner/deep",
                "/b/x",
                "/c",
                "/link",
            ],
        );
        check(&format!("{root}/link"), 1, &["/inner", "/x"]);
        assert!(list(&format!("{root}/a"), 1, &Users::system()).is_err());
        assert!(list(&format!("{root}/missing"), 1, &Users::system()).is_err());
    }
}
