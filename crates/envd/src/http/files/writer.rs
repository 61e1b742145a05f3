//! Writes one uploaded file: parents, owner, content in large pieces, metadata.
//!
//! There is no temporary file: the file is what has arrived, and a broken upload leaves its part.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write as _},
    os::{
        fd::AsFd as _,
        unix::fs::{OpenOptionsExt as _, chown, fchown},
    },
    sync::Arc,
};

use tokio::task::JoinHandle;

use super::{blocking, io_error, metadata};
use crate::{filesystem::tree, http::HttpError, reason::Reason, server::gate::short, users::User};

/// Written at once when nothing is being written: each piece costs two changes of thread.
const PIECE: usize = 64 << 10;
/// Kept while something is being written.
const BUFFER: usize = 256 << 10;

/// Whose an existing file is after the upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Uploader,
    Kept,
}

/// A file being written. One buffer is filled while the other is written.
#[derive(Debug)]
pub(super) struct Writer {
    path: String,
    file: Arc<File>,
    buffer: Vec<u8>,
    written: Option<JoinHandle<(io::Result<()>, Vec<u8>)>>,
}

impl Writer {
    /// Opens `path` for `user`, with its parents; what was in it is gone then.
    pub(super) async fn open(path: String, user: User, owner: Owner) -> Result<Self, HttpError> {
        let opened = path.clone();
        let file = blocking(move || open(&opened, &user, owner)).await?;
        Ok(Self {
            path,
            file: Arc::new(file),
            buffer: Vec::with_capacity(PIECE),
            written: None,
        })
    }

    /// Adds bytes; they reach the file in pieces of 64 to 256 KiB, the slower it is the larger.
    pub(super) async fn push(&mut self, mut bytes: &[u8]) -> Result<(), HttpError> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BUFFER - self.buffer.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            let idle = self.written.as_ref().is_none_or(JoinHandle::is_finished);
            if self.buffer.len() == BUFFER || idle && self.buffer.len() >= PIECE {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// Writes what is left and the metadata.
    pub(super) async fn finish(
        mut self,
        wanted: BTreeMap<String, String>,
    ) -> Result<(), HttpError> {
        self.flush().await?;
        self.settle().await?;
        let (file, path) = (self.file, self.path);
        blocking(move || {
            metadata::apply(&file, &wanted).map_err(|fault| io_error("describe", &path, &fault))
        })
        .await
    }

    /// Hands the buffer over to be written, when the one before it is.
    async fn flush(&mut self) -> Result<(), HttpError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let empty = self.settle().await?;
        let full = std::mem::replace(&mut self.buffer, empty);
        let file = Arc::clone(&self.file);
        self.written = Some(tokio::task::spawn_blocking(move || {
            let written = (&*file).write_all(&full);
            (written, full)
        }));
        Ok(())
    }

    /// Waits for what is being written; an empty buffer.
    async fn settle(&mut self) -> Result<Vec<u8>, HttpError> {
        let Some(writing) = self.written.take() else {
            return Ok(Vec::with_capacity(PIECE));
        };
        let (written, mut buffer) = writing
            .await
            .map_err(|_| HttpError::fixed(500, "the operation panicked"))?;
        written.map_err(|fault| io_error("write", &self.path, &fault))?;
        buffer.clear();
        Ok(buffer)
    }
}

fn open(path: &str, user: &User, owner: Owner) -> Result<File, HttpError> {
    let failed = |fault: io::Error| io_error("write", path, &fault);
    let parent = path.rsplit_once('/').map_or("/", |(parent, _)| parent);
    tree::make_all(parent, user).map_err(|fault| failed(fault.into()))?;
    let existing = match fs::metadata(path) {
        Ok(existing) if existing.is_dir() => {
            return Err(
                HttpError::new(400, format!("'{}' is a directory", short(path)))
                    .because(Reason::IsADirectory),
            );
        }
        Ok(existing) if !existing.is_file() => {
            return Err(HttpError::new(
                400,
                format!("'{}' is not a regular file", short(path)),
            ));
        }
        Ok(_) => true,
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => false,
        Err(fault) => return Err(failed(fault)),
    };
    if existing && owner == Owner::Uploader {
        chown(path, Some(user.uid), Some(user.gid)).map_err(failed)?;
    }
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o666)
        .open(path)
        .map_err(failed)?;
    if !existing {
        fchown(file.as_fd(), Some(user.uid), Some(user.gid)).map_err(failed)?;
    }
    Ok(file)
}
