//! What a path in a request means: home, default directory, dots.
//!
//! Dots are removed from the text and not by following links, as the protocol says; whoever opens the
//! result follows links with envd's own rights.

use std::io;

use rustix::io::Errno;
use thiserror::Error;

use crate::server::gate::short;

const MAX_PATH: usize = 4096;

/// A path that names nothing.
#[derive(Debug, Error, PartialEq)]
pub(crate) enum PathError {
    #[error("the path is longer than {MAX_PATH} bytes")]
    TooLong,
    #[error("the path has a NUL byte")]
    Nul,
    #[error("'{0}': only the own home directory can be named by '~'")]
    OtherHome(String),
}

/// Why looking a path up failed: below a file there is nothing, whatever the kernel calls that.
pub(crate) fn looked_up(fault: io::Error) -> io::Error {
    match fault.kind() {
        io::ErrorKind::NotADirectory => Errno::NOENT.into(),
        _ => fault,
    }
}

/// The absolute path that `path` means to a user with this home and this default directory.
pub(crate) fn expand(path: &str, home: &str, workdir: Option<&str>) -> Result<String, PathError> {
    if path.len() > MAX_PATH {
        return Err(PathError::TooLong);
    }
    if path.contains('\0') {
        return Err(PathError::Nul);
    }
    let whole = match (path, path.strip_prefix('~')) {
        ("", _) => match workdir {
            Some(directory) if directory.starts_with('/') => directory.to_owned(),
            Some(directory) => format!("{home}/{directory}"),
            None => home.to_owned(),
        },
        (_, Some("")) => home.to_owned(),
        (_, Some(rest)) if rest.starts_with('/') => format!("{home}{rest}"),
        (_, Some(_)) => return Err(PathError::OtherHome(short(path))),
        _ if path.starts_with('/') => path.to_owned(),
        _ => format!("{home}/{path}"),
    };
    Ok(clean(&whole))
}

/// A path means an absolute one without dots, or nothing; and a meaning means itself.
#[cfg(feature = "fuzzing")]
pub(crate) fn fuzz(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.splitn(2, '\n');
    let (path, workdir) = (lines.next().unwrap_or_default(), lines.next());
    if let Ok(whole) = expand(path, "/home/u", workdir) {
        assert!(whole.starts_with('/'));
        assert!(
            !whole
                .split('/')
                .skip(1)
                .any(|part| matches!(part, "." | ".."))
        );
        assert!(whole == "/" || !whole.contains("//"));
        if whole.len() <= MAX_PATH && !whole.contains('\0') {
            assert_eq!(expand(&whole, "/", None).as_deref(), Ok(whole.as_str()));
        }
    }
}

fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, expected: Result<&str, PathError>) {
        assert_eq!(
            expand(path, "/home/u", Some("/work")),
            expected.map(String::from),
            "{path}"
        );
    }

    #[test]
    fn paths_are_taken_from_home_and_cleaned() {
        check("", Ok("/work"));
        check("~", Ok("/home/u"));
        check("~/a", Ok("/home/u/a"));
        check("a/b", Ok("/home/u/a/b"));
        check("./a/../b", Ok("/home/u/b"));
        check("/a//b/./c/", Ok("/a/b/c"));
        check("/../../etc", Ok("/etc"));
        check("/", Ok("/"));
        check("../../..", Ok("/"));
        assert_eq!(expand("", "/home/u", None), Ok("/home/u".into()));
        assert_eq!(expand("", "/home/u", Some("sub")), Ok("/home/u/sub".into()));
    }

    #[test]
    fn paths_that_name_nothing_are_refused() {
        check("~other", Err(PathError::OtherHome("~other".into())));
        check("~other/x", Err(PathError::OtherHome("~other/x".into())));
        check("a\0", Err(PathError::Nul));
        check(&"a".repeat(4097), Err(PathError::TooLong));
    }
}
