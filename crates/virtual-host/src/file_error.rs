//! A file that the system refused, said the same way wherever it happens.

use std::io;
use std::path::{Path, PathBuf};

/// What was being done to which file when the system refused.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {}", path.display())]
pub struct FileError {
    doing: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl FileError {
    /// Makes the error from what was being done to `path`.
    pub(crate) fn at(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self {
            doing,
            path: path.clone(),
            source,
        }
    }
}
