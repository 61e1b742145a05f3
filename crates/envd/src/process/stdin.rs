//! Standard input of a process: one writer at a time, in the order of their arrival.

use std::{io, mem, os::fd::OwnedFd, time::Duration};

use thiserror::Error;
use tokio::{io::AsyncWriteExt as _, net::unix::pipe, sync::Mutex, time::timeout};

/// How long a write may wait for the process to read.
pub(super) const WRITE_TIME: Duration = Duration::from_secs(60);

/// Input that did not arrive.
#[derive(Debug, Error, PartialEq)]
pub(super) enum InputError {
    #[error("closed")]
    Closed,
    #[error("it has a terminal")]
    Terminal,
    #[error("it has no terminal")]
    NoTerminal,
    #[error("the process did not read its input in time")]
    Late,
}

#[derive(Debug)]
pub(super) struct Stdin {
    pipe: Mutex<Pipe>,
}

#[derive(Debug)]
enum Pipe {
    /// Nothing was written yet, and for most processes nothing ever is.
    Fresh(OwnedFd),
    Written(pipe::Sender),
    /// There was none, or it was closed.
    Closed,
}

impl Pipe {
    fn sender(&mut self) -> io::Result<&mut pipe::Sender> {
        if let Self::Fresh(_) = self
            && let Self::Fresh(pipe) = mem::replace(self, Self::Closed)
        {
            *self = Self::Written(pipe::Sender::from_owned_fd_unchecked(pipe)?);
        }
        match self {
            Self::Written(pipe) => Ok(pipe),
            Self::Fresh(_) | Self::Closed => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

impl Stdin {
    /// Of a pipe whose writes do not block.
    pub(super) fn new(pipe: Option<OwnedFd>) -> Self {
        Self {
            pipe: Mutex::new(pipe.map_or(Pipe::Closed, Pipe::Fresh)),
        }
    }

    /// Writes all of `bytes`, after what earlier callers write.
    pub(super) async fn write(&self, bytes: &[u8]) -> Result<(), InputError> {
        let write = async {
            let mut pipe = self.pipe.lock().await;
            let pipe = pipe.sender().map_err(|_| InputError::Closed)?;
            pipe.write_all(bytes).await.map_err(|_| InputError::Closed)
        };
        timeout(WRITE_TIME, write)
            .await
            .map_err(|_| InputError::Late)?
    }

    /// Closes the pipe, after what earlier callers write; closing again is fine.
    pub(super) async fn close(&self) -> Result<(), InputError> {
        let close = async { *self.pipe.lock().await = Pipe::Closed };
        timeout(WRITE_TIME, close)
            .await
            .map_err(|_| InputError::Late)
    }
}
