//! Files of a sandbox.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::grammar::{self, Invalid};

closed_set! {
    /// What a directory entry is; sockets, devices and FIFOs count as files.
    pub enum FileType {
        /// Anything else.
        File = "file",
        /// A directory.
        Directory = "directory",
        /// A symbolic link.
        Symlink = "symlink",
    }
}

/// A directory entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FileEntry {
    /// Last component of the path.
    pub name: String,
    /// Absolute path.
    pub path: String,
    /// What it is.
    pub r#type: FileType,
    /// Bytes.
    pub size: u64,
    /// Permission bits as a number.
    pub mode: u32,
    /// Like `-rw-r--r--`.
    pub permissions: String,
    /// Name, or number as text.
    pub owner: String,
    /// Name, or number as text.
    pub group: String,
    /// Unix seconds.
    pub modified_at: i64,
    /// Where a symbolic link points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub symlink_target: Option<String>,
}

/// Request that names one path of the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FilePath {
    /// 1–4096 bytes; relative paths start at the home of the guest user.
    pub path: String,
}

impl FilePath {
    /// Checks the path by its grammar.
    ///
    /// # Errors
    /// The path is at fault.
    pub fn validate(&self) -> Result<(), Invalid> {
        grammar::guest_path("path", &self.path)
    }
}

/// Multipart form of an upload: part `path`, then part `file`.
#[derive(Debug, ToSchema)]
pub struct Upload {
    /// Where the file goes; must be the first part.
    pub path: String,
    /// Its bytes.
    #[schema(value_type = String, format = Binary)]
    pub file: (),
}
