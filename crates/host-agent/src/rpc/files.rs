//! Files of a guest as streams of pieces.

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use tokio_util::task::TaskTracker;
use wrenn_ids::SandboxId;
use wrenn_rpc::{
    connectrpc::InboundStream,
    hostagent::{
        ReadFileStreamResponse, WriteFileStreamRequest, WriteFileStreamResponse,
        write_file_stream_request::{Head, Part},
    },
};

use super::{error::CallError, parse};
use crate::{
    envd::{FileContent, PIECE, Upload},
    sandbox::{InUse, Refused},
};

/// Pieces of a file; an empty file yields one empty piece. The first carries the size.
pub(super) fn pieces(
    content: FileContent,
    in_use: InUse,
) -> impl Stream<Item = Result<ReadFileStreamResponse, CallError>> + Send {
    let size = content.size;
    stream::unfold(
        (Some(content), in_use, size, true),
        |(content, in_use, size, first)| async move {
            let mut content = content?;
            in_use.touch();
            let data = match content.next().await {
                Err(error) => return Some((Err(error.into()), (None, in_use, None, false))),
                Ok(None) if !first => return None,
                Ok(piece) => piece.unwrap_or_default().to_vec(),
            };
            let piece = ReadFileStreamResponse {
                data,
                size: size.filter(|_| first),
                ..ReadFileStreamResponse::default()
            };
            Some((Ok(piece), (Some(content), in_use, size, false)))
        },
    )
}

/// Writes a file as its pieces come; a stream without its end mark breaks the upload off.
pub(super) async fn write(
    mut parts: InboundStream<WriteFileStreamRequest>,
    find: impl FnOnce(SandboxId) -> Result<InUse, Refused>,
    tasks: &TaskTracker,
) -> Result<WriteFileStreamResponse, CallError> {
    let head = match next(&mut parts).await? {
        Some(Part::Head(head)) => head,
        _ => return Err(CallError::invalid("the first message must be the head")),
    };
    let Head {
        sandbox_id, path, ..
    } = *head;
    let sandbox_id = parse::id("sandbox_id", &sandbox_id)?;
    parse::path("path", &path)?;
    let in_use = find(sandbox_id)?;
    let mut upload = in_use.envd.write_file(&path, tasks)?;
    match feed(&mut parts, &mut upload, &in_use).await {
        Ok(size) => {
            upload.finish().await?;
            Ok(WriteFileStreamResponse {
                size,
                ..WriteFileStreamResponse::default()
            })
        }
        Err(error) => {
            upload.abort().await;
            Err(error)
        }
    }
}

async fn feed(
    parts: &mut InboundStream<WriteFileStreamRequest>,
    upload: &mut Upload,
    in_use: &InUse,
) -> Result<u64, CallError> {
    let mut size = 0;
    loop {
        match next(parts).await? {
            Some(Part::Data(data)) if data.len() <= PIECE => {
                size += data.len() as u64;
                in_use.touch();
                upload.send(Bytes::from(data)).await?;
                if upload.is_answered() {
                    return Ok(size);
                }
            }
            Some(Part::Data(_)) => {
                return Err(CallError::invalid(format!(
                    "a piece must have at most {PIECE} bytes"
                )));
            }
            Some(Part::End(_)) => return Ok(size),
            Some(Part::Head(_)) => return Err(CallError::invalid("a second head")),
            None => return Err(CallError::invalid("the stream ended before its end mark")),
        }
    }
}

async fn next(
    parts: &mut InboundStream<WriteFileStreamRequest>,
) -> Result<Option<Part>, CallError> {
    match parts.next().await {
        None => Ok(None),
        Some(Ok(message)) => match message.to_owned_message().part {
            Some(part) => Ok(Some(part)),
            None => Err(CallError::invalid("an empty message")),
        },
        Some(Err(error)) => {
            tracing::debug!(%error, "an upload broke off");
            Err(CallError::invalid("the stream broke off"))
        }
    }
}
