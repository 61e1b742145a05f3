//! Standard input of a process: one writer at a time, in the order of their arrival.

use std::{io, os::fd::OwnedFd, time::Duration};

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
    /// Absent: there was none, or it was closed.
    pipe: Mutex<Option<pipe::Sender>>,
}

impl Stdin {
    pub(super) fn new(pipe: Option<OwnedFd>) -> io::Result<Self> {
        let pipe = pipe.map(pipe::Sender::from_owned_fd).transpose()?;
        Ok(Self {
            pipe: Mutex::new(pipe),
        })
    }

    /// Writes all of `bytes`, after what earlier callers write.
    pub(super) async fn write(&self, bytes: &[u8]) -> Result<(), InputError> {
        let write = async {
            let mut pipe = self.pipe.lock().await;
            let pipe = pipe.as_mut().ok_or(InputError::Closed)?;
            pipe.write_all(bytes).await.map_err(|_| InputError::Closed)
        };
        timeout(WRITE_TIME, write)
            .await
            .map_err(|_| InputError::Late)?
    }

    /// Closes the pipe, after what earlier callers write; closing again is fine.
    pub(super) async fn close(&self) -> Result<(), InputError> {
        let close = async { drop(self.pipe.lock().await.take()) };
        timeout(WRITE_TIME, close)
            .await
            .map_err(|_| InputError::Late)
    }
}
