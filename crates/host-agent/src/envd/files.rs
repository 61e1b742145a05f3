//! Reading and writing files of the guest as streams, with constant memory and back-pressure.

use std::{fmt::Write as _, time::Duration};

use bytes::Bytes;
use futures::StreamExt as _;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::TaskTracker;
use wrenn_rpc::connectrpc::{
    ConnectError,
    client::{ClientBody, full_body},
};

use super::{Envd, Error, Reason};

/// Longest piece handed on.
pub const PIECE: usize = 64 * 1024;
/// Longest time without a byte of progress, before stretching.
const STALL: Duration = Duration::from_secs(60);
/// Pieces of an upload waiting for the guest.
const QUEUE: usize = 4;

/// The content of a file, as it comes.
#[derive(Debug)]
pub struct FileContent {
    /// Length at open, in bytes, if the guest told it.
    pub size: Option<u64>,
    body: Incoming,
    rest: Bytes,
    stall: Duration,
}

impl FileContent {
    /// The next piece, at most [`PIECE`] long and not empty; `None` at the end.
    ///
    /// # Errors
    /// When the guest breaks off or stalls.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        while self.rest.is_empty() {
            match timeout(self.stall, self.body.frame()).await {
                Err(_) => return Err(Error::Deadline(self.stall)),
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => return Err(Error::Unreachable(error.into())),
                Ok(Some(Ok(frame))) => self.rest = frame.into_data().unwrap_or_default(),
            }
        }
        Ok(Some(self.rest.split_to(self.rest.len().min(PIECE))))
    }
}

/// A file being written. Dropped before [`Upload::finish`], it leaves what had arrived.
#[derive(Debug)]
pub struct Upload {
    pieces: mpsc::Sender<Result<Bytes, ConnectError>>,
    answer: JoinHandle<Result<(), Error>>,
    stall: Duration,
}

impl Upload {
    /// Sends a piece; waits until the guest has taken earlier ones.
    ///
    /// # Errors
    /// When the guest stalls. When it refused, the reason comes from [`Upload::finish`].
    pub async fn send(&mut self, piece: Bytes) -> Result<(), Error> {
        match timeout(self.stall, self.pieces.send(Ok(piece))).await {
            Ok(Ok(()) | Err(_)) => Ok(()),
            Err(_) => Err(Error::Deadline(self.stall)),
        }
    }

    /// Whether the guest has answered already: sending more is pointless.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.answer.is_finished()
    }

    /// Ends the content and waits for the guest's answer.
    ///
    /// # Errors
    /// When the guest refused or does not answer.
    pub async fn finish(self) -> Result<(), Error> {
        drop(self.pieces);
        match timeout(self.stall, self.answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Error::Protocol("nothing, its task ended")),
            Err(_) => Err(Error::Deadline(self.stall)),
        }
    }

    /// Breaks the upload off, so that the guest does not take what came for the whole.
    pub async fn abort(self) {
        let cut = ConnectError::canceled("upload was cut");
        let _ = timeout(self.stall, self.pieces.send(Err(cut))).await;
        let _ = timeout(self.stall, self.answer).await;
    }
}

impl Envd {
    /// Opens a file for reading.
    ///
    /// # Errors
    /// When there is no such file, it is a directory, or the guest does not answer.
    pub async fn read_file(&self, path: &str) -> Result<FileContent, Error> {
        let request = Request::get(self.uri(&file_query(path)))
            .header(header::AUTHORIZATION, self.basic(None)?)
            .body(full_body(Bytes::new()))
            .map_err(|_| Error::BadHeader)?;
        let answer = timeout(self.deadline(), self.send(request))
            .await
            .map_err(|_| Error::Deadline(self.deadline()))??;
        if answer.status() != StatusCode::OK {
            return Err(Error::Refused(Reason::of_status(
                answer.status(),
                answer.headers(),
            )));
        }
        let size = answer
            .headers()
            .get(header::CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse().ok());
        let stall = self.inner.pace.stretch(STALL);
        Ok(FileContent {
            size,
            body: answer.into_body(),
            rest: Bytes::new(),
            stall,
        })
    }

    /// Begins to write a file; missing parents are made, an existing file keeps owner and mode.
    ///
    /// # Errors
    /// When the request cannot be made; the guest's refusal comes from [`Upload::finish`].
    pub fn write_file(&self, path: &str, tasks: &TaskTracker) -> Result<Upload, Error> {
        let (pieces, content) = mpsc::channel(QUEUE);
        let content = ReceiverStream::new(content);
        let content = content.map(|piece: Result<Bytes, ConnectError>| piece.map(Frame::data));
        let body: ClientBody = BodyExt::boxed(StreamBody::new(content));
        let request = Request::post(self.uri(&file_query(path)))
            .header(header::AUTHORIZATION, self.basic(None)?)
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .header("x-wrenn-keep-owner", "1")
            .body(body)
            .map_err(|_| Error::BadHeader)?;
        let envd = self.clone();
        let answer = tasks.spawn(async move {
            let answer = envd.send(request).await?;
            if answer.status() == StatusCode::OK {
                return Ok(());
            }
            Err(Error::Refused(Reason::of_status(
                answer.status(),
                answer.headers(),
            )))
        });
        Ok(Upload {
            pieces,
            answer,
            stall: self.inner.pace.stretch(STALL),
        })
    }
}

fn file_query(path: &str) -> String {
    let mut query = String::from("/files?path=");
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            query.push(char::from(byte));
        } else {
            let _ = write!(query, "%{byte:02X}");
        }
    }
    query
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, expected: &str) {
        assert_eq!(file_query(path), expected);
    }

    #[test]
    fn a_path_cannot_leave_its_place_in_the_query() {
        check("/root/a.txt", "/files?path=/root/a.txt");
        check(
            "/a b&username=x#y?z",
            "/files?path=/a%20b%26username%3Dx%23y%3Fz",
        );
        check("/ä\r\n", "/files?path=/%C3%A4%0D%0A");
    }
}
