//! What a guard still owes, and where it goes when the guard is dropped.

use std::collections::VecDeque;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::base::BaseShare;
use crate::loop_device::{self, LoopId};
use crate::retry::while_busy;
use crate::store::Attached;
use crate::{DeviceName, Error, Result, dm};

/// Takes what a guard could not release. It is called from `Drop`, so it must not block; the queue behind
/// it is the caller's: bounded, retrying [`Leftover::clean`], counted.
pub type Reaper = Arc<dyn Fn(Leftover) + Send + Sync>;

/// Things to remove, in an order that matters: a device before what lies under it.
#[derive(Debug, Default)]
pub struct Leftover {
    pieces: VecDeque<Piece>,
}

#[derive(Debug)]
pub(crate) enum Piece {
    Snapshot {
        name: DeviceName,
        attached: Attached,
    },
    Loop(LoopId),
    Base(BaseShare),
    File(PathBuf),
}

impl Leftover {
    pub(crate) fn of(pieces: impl IntoIterator<Item = Piece>) -> Self {
        Self {
            pieces: pieces.into_iter().collect(),
        }
    }

    /// Removes what it can from the top down and stops at the first failure; call again to go on from there.
    /// Nothing left to remove is success.
    pub async fn clean(&mut self) -> Result<()> {
        while let Some(piece) = self.pieces.front() {
            piece.remove().await?;
            self.pieces.pop_front();
        }
        Ok(())
    }
}

impl Piece {
    async fn remove(&self) -> Result<()> {
        match self {
            Self::Snapshot { name, attached } => {
                let device = name.clone();
                while_busy(move || dm::remove(&device)).await?;
                attached.forget(name);
                Ok(())
            }
            Self::Loop(id) => {
                let id = *id;
                while_busy(move || loop_device::detach(id)).await
            }
            Self::Base(share) => share.put_back().await,
            Self::File(path) => match tokio::fs::remove_file(path).await {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(Error::File {
                    action: "delete",
                    path: path.clone(),
                    source,
                }),
                _ => Ok(()),
            },
        }
    }
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, piece) in self.pieces.iter().enumerate() {
            let separator = if i == 0 { "" } else { ", " };
            match piece {
                Piece::Snapshot { name, .. } => write!(f, "{separator}dm device {name}")?,
                Piece::Loop(id) => write!(f, "{separator}loop device {}", id.number)?,
                Piece::Base(share) => write!(f, "{separator}{share}")?,
                Piece::File(path) => write!(f, "{separator}file {}", path.display())?,
            }
        }
        Ok(())
    }
}

/// The inside of every guard: a [`Leftover`] that is cleaned on release and reaped on drop.
pub(crate) struct Held {
    leftover: Leftover,
    reaper: Reaper,
}

impl Held {
    pub(crate) fn new(leftover: Leftover, reaper: Reaper) -> Self {
        Self { leftover, reaper }
    }

    /// Adds what was just put on top.
    pub(crate) fn push(&mut self, piece: Piece) {
        self.leftover.pieces.push_front(piece);
    }

    /// On an error, or when the future is dropped half-way, the rest goes to the reaper.
    pub(crate) async fn release(mut self) -> Result<()> {
        self.leftover.clean().await
    }

    /// Leaves everything standing.
    pub(crate) fn forget(mut self) {
        self.leftover.pieces.clear();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.leftover.pieces.is_empty() {
            (self.reaper)(std::mem::take(&mut self.leftover));
        }
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Held").field(&self.leftover).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn reaper() -> (Reaper, Arc<Mutex<Vec<String>>>) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        (
            Arc::new(move |leftover| log.lock().unwrap().push(leftover.to_string())),
            seen,
        )
    }

    #[tokio::test]
    async fn a_dropped_guard_reaches_the_reaper_and_a_released_or_forgotten_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("cow");
        let hold =
            |reaper: &Reaper| Held::new(Leftover::of([Piece::File(file.clone())]), reaper.clone());
        let (reaper, seen) = reaper();

        drop(hold(&reaper));
        assert_eq!(
            seen.lock().unwrap().as_slice(),
            [format!("file {}", file.display())]
        );

        std::fs::write(&file, "x").unwrap();
        hold(&reaper).forget();
        assert!(file.exists());
        hold(&reaper).release().await.unwrap();
        assert!(!file.exists());
        hold(&reaper).release().await.unwrap(); // already gone is success
        assert_eq!(seen.lock().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_release_that_fails_returns_the_error_and_leaves_the_rest_to_the_reaper() {
        let dir = tempfile::tempdir().unwrap();
        let (reaper, seen) = reaper();
        let pieces = [
            Piece::File(dir.path().into()),
            Piece::File("/nonexistent/second".into()),
        ];
        assert!(
            Held::new(Leftover::of(pieces), reaper)
                .release()
                .await
                .is_err()
        );
        let expected = format!("file {}, file /nonexistent/second", dir.path().display());
        assert_eq!(seen.lock().unwrap().as_slice(), [expected]);
    }
}
