//! The content of a file as the body of an answer.
//!
//! What the kernel has in memory is read at once, on the thread of the connections; only what must come
//! from the disk costs the way to a thread that may block, and back.

use std::{
    fs::File,
    io::{self, IoSliceMut, Read as _},
    sync::Arc,
};

use bytes::{Bytes, BytesMut};
use futures::stream::{self, Stream};
use rustix::io::{ReadWriteFlags, preadv2};

const BUFFER: u64 = 64 << 10;
/// preadv2(2): read where the file stands, and move on.
const WHERE_IT_STANDS: u64 = u64::MAX;

/// At most `length` bytes from where `file` stands. The next piece is read when the last was taken.
pub(super) fn pieces(
    file: Arc<File>,
    length: u64,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    stream::try_unfold((file, length), async |(file, left)| {
        let piece = piece(&file, left).await?;
        let left = left - piece.len() as u64;
        Ok((!piece.is_empty()).then_some((piece, (file, left))))
    })
}

/// The next bytes of `file`, at most `length`; none at its end.
pub(super) async fn piece(file: &Arc<File>, length: u64) -> io::Result<Bytes> {
    if length == 0 {
        return Ok(Bytes::new());
    }
    // No more than a buffer's.
    let mut buffer = BytesMut::zeroed(length.min(BUFFER) as usize);
    let slices = &mut [IoSliceMut::new(&mut buffer)];
    let mut read = preadv2(file, slices, WHERE_IT_STANDS, ReadWriteFlags::NOWAIT).unwrap_or(0);
    // Not in memory; or of a file system that cannot tell; or nothing, which some kernels say of both.
    if read == 0 {
        let file = Arc::clone(file);
        let step = move || {
            let read = (&*file).read(&mut buffer)?;
            Ok((buffer, read))
        };
        (buffer, read) = tokio::task::spawn_blocking(step)
            .await
            .unwrap_or_else(|_| Err(io::Error::other("reading panicked")))?;
    }
    buffer.truncate(read);
    Ok(buffer.freeze())
}
