//! The body of an upload, unpacked where the client packed it.

use std::io::Write as _;

use axum::body::{Body, BodyDataStream};
use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use futures::{Stream, StreamExt as _, stream};
use http::{HeaderMap, header::CONTENT_ENCODING};

use crate::http::HttpError;

/// Packed bytes unpacked at once. Gzip makes at most a thousand of one, so that a bomb costs a quarter of a
/// megabyte and no more.
const STEP: usize = 256;

/// The bytes of `body`; a broken one ends with an error.
pub(super) fn unpacked(headers: &HeaderMap, body: Body) -> Result<Body, HttpError> {
    let encoding = headers
        .get(CONTENT_ENCODING)
        .map(|value| value.as_bytes().to_ascii_lowercase());
    match encoding.as_deref() {
        None | Some(b"identity") => Ok(body),
        Some(b"gzip") => Ok(Body::from_stream(gunzip(body.into_data_stream()))),
        Some(_) => Err(HttpError::fixed(
            400,
            "the content encoding is neither identity nor gzip",
        )),
    }
}

struct Gunzip {
    packed: BodyDataStream,
    rest: Bytes,
    decoder: MultiGzDecoder<Vec<u8>>,
    ended: bool,
}

fn gunzip(packed: BodyDataStream) -> impl Stream<Item = std::io::Result<Bytes>> + Send + 'static {
    let decoder = MultiGzDecoder::new(Vec::new());
    let state = Gunzip {
        packed,
        rest: Bytes::new(),
        decoder,
        ended: false,
    };
    stream::try_unfold(state, |mut state| async move {
        while !state.ended {
            if state.rest.is_empty() {
                match state.packed.next().await {
                    Some(bytes) => state.rest = bytes.map_err(std::io::Error::other)?,
                    None => {
                        state.decoder.try_finish()?;
                        state.ended = true;
                    }
                }
            }
            let step = state.rest.split_to(state.rest.len().min(STEP));
            state.decoder.write_all(&step)?;
            let out = std::mem::take(state.decoder.get_mut());
            if !out.is_empty() {
                return Ok(Some((Bytes::from(out), state)));
            }
        }
        Ok(None)
    })
}
