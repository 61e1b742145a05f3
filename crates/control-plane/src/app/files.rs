//! Files of a sandbox, as streams with back-pressure.
//!
//! Nothing is collected: at most [`QUEUED`] pieces of 64 KiB are in memory for an upload, and a download
//! asks for the next message only when the caller has taken the last.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use tokio::sync::mpsc;
use wrenn_api::{ErrorCode, file::FilePath, grammar};
use wrenn_database::SandboxRow;
use wrenn_rpc::hostagent::{
    __buffa::oneof::write_file_stream_request::Part,
    ReadFileStreamRequest, WriteFileStreamRequest,
    write_file_stream_request::{End, Head},
};

use super::{Error, Result, wake};
use crate::{
    hosts::{
        Client,
        error::{Call, from_rpc},
    },
    state::App,
};

/// Largest piece of a file on the way to an agent.
const PIECE: usize = 64 << 10;
/// Pieces of an upload in memory.
const QUEUED: usize = 8;
/// A transfer that moves nothing for this long is ended.
pub(crate) const NO_PROGRESS: Duration = Duration::from_secs(60);

/// The bytes of a file; an error in the middle ends them.
pub(crate) type Download = futures::stream::BoxStream<'static, Result<Bytes>>;

fn stalled() -> Error {
    Error::new(
        ErrorCode::DeadlineExceeded,
        "the transfer made no progress for 60 s",
    )
}

/// Opens a file. Nothing has been answered when this fails, so that a missing file is a real 404.
///
/// # Errors
/// Missing, a directory, not running, or host or guest fail.
pub(crate) async fn read(app: &Arc<App>, row: &SandboxRow, request: FilePath) -> Result<Download> {
    request.validate()?;
    let call = ReadFileStreamRequest {
        sandbox_id: row.id().to_string(),
        path: request.path,
        ..ReadFileStreamRequest::default()
    };
    let opened = wake::call(app, row, wake::FOR_A_FILE, |client: Client| {
        let call = call.clone();
        async move {
            let mut stream = client.read_file_stream(call).await?;
            let first = stream
                .message()
                .await?
                .map(|message| message.to_owned_message());
            Ok((stream, first))
        }
    });
    let (stream, first) = tokio::time::timeout(NO_PROGRESS, opened)
        .await
        .map_err(|_| stalled())??
        .map_err(|error| from_rpc(error, Call::ReadFile))?;
    let Some(first) = first else {
        return Err(Error::new(
            ErrorCode::AgentError,
            "the sandbox's host sent no file",
        ));
    };
    let rest = stream::try_unfold(stream, |mut stream| async move {
        let next = tokio::time::timeout(NO_PROGRESS, stream.message()).await;
        let next = next.map_err(|_| stalled())?;
        let next = next.map_err(|error| from_rpc(error, Call::ReadFile))?;
        Ok(next.map(|message| (Bytes::from(message.to_owned_message().data), stream)))
    });
    Ok(stream::iter([Ok(Bytes::from(first.data))])
        .chain(rest)
        .boxed())
}

/// Writes a file from a stream of bytes. When `body` fails, what had arrived stays.
///
/// # Errors
/// What `body` failed with, too large, a directory, a full disk, not running, or host or guest fail.
pub(crate) async fn write(
    app: &Arc<App>,
    row: &SandboxRow,
    path: String,
    limit: u64,
    body: impl Stream<Item = Result<Bytes>>,
) -> Result<()> {
    grammar::guest_path("path", &path)?;
    let client = wake::awake(app, row, wake::FOR_A_FILE).await?;
    let (parts, queue) = mpsc::channel(QUEUED);
    let queue = stream::unfold(queue, |mut queue| async move {
        queue.recv().await.map(|part: Part| {
            let request = WriteFileStreamRequest {
                part: Some(part),
                ..WriteFileStreamRequest::default()
            };
            (request, queue)
        })
    });
    let head = Head {
        sandbox_id: row.id().to_string(),
        path,
        ..Head::default()
    };
    let call = client.write_file_stream(queue);
    let feed = feed(parts, head, limit, body);
    // The call may end first (no such sandbox, disk full), and then the rest of the body is not read.
    tokio::pin!(call, feed);
    let answer = tokio::select! {
        answer = &mut call => answer,
        fed = &mut feed => match fed {
            Ok(()) => tokio::time::timeout(NO_PROGRESS, call).await.map_err(|_| stalled())?,
            Err(error) => return Err(error),
        },
    };
    answer.map_err(|error| from_rpc(error, Call::WriteFile))?;
    Ok(())
}

/// Hands the parts to the call; without an `End` the agent knows that the upload was cut.
async fn feed(
    parts: mpsc::Sender<Part>,
    head: Head,
    limit: u64,
    body: impl Stream<Item = Result<Bytes>>,
) -> Result<()> {
    // A closed queue means that the call has ended; its own answer says why.
    let send = async |part: Part| -> Result<bool> {
        match tokio::time::timeout(NO_PROGRESS, parts.send(part)).await {
            Ok(sent) => Ok(sent.is_ok()),
            Err(_) => Err(stalled()),
        }
    };
    if !send(Part::from(head)).await? {
        return Ok(());
    }
    let mut written = 0u64;
    tokio::pin!(body);
    loop {
        let next = tokio::time::timeout(NO_PROGRESS, body.next())
            .await
            .map_err(|_| stalled())?;
        let Some(bytes) = next else { break };
        let mut bytes = bytes?;
        written += bytes.len() as u64;
        if written > limit {
            let text = format!("the file is larger than {} MiB", limit >> 20);
            return Err(Error::new(ErrorCode::TooLarge, text));
        }
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(PIECE));
            if !send(Part::Data(piece.to_vec())).await? {
                return Ok(());
            }
        }
    }
    send(Part::from(End::default())).await?;
    Ok(())
}
