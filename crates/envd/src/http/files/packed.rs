//! The body of a packed download: a file, read and compressed a buffer at a time.

use std::{
    fs::File,
    io::{self, Read as _},
};

use axum::body::Body;
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use futures::stream;

const BUFFER: u64 = 64 << 10;

struct Packing {
    file: io::Take<File>,
    encoder: GzEncoder<Vec<u8>>,
}

/// At most `length` bytes of `file`, as gzip. The next buffer is read when the last was taken.
pub(super) fn body(file: File, length: u64) -> Body {
    let packing = Packing {
        file: file.take(length),
        encoder: GzEncoder::new(Vec::new(), Compression::fast()),
    };
    Body::from_stream(stream::try_unfold(Some(packing), |packing| async {
        let Some(packing) = packing else {
            return Ok(None);
        };
        tokio::task::spawn_blocking(|| step(packing))
            .await
            .unwrap_or_else(|_| Err(io::Error::other("packing panicked")))
            .map(Some)
    }))
}

/// The next packed bytes, and what goes on after them.
fn step(mut packing: Packing) -> io::Result<(Bytes, Option<Packing>)> {
    loop {
        let read = io::copy(&mut (&mut packing.file).take(BUFFER), &mut packing.encoder)?;
        if read == 0 {
            let last = packing.encoder.finish()?;
            return Ok((last.into(), None));
        }
        // A compressor keeps back what it may still find a shorter form for.
        let packed = std::mem::take(packing.encoder.get_mut());
        if !packed.is_empty() {
            return Ok((packed.into(), Some(packing)));
        }
    }
}
