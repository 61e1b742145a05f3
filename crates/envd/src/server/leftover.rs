//! What a request's body still has when nobody wants it any more.
//!
//! A client that is still sending does not read its answer, and a connection with something unread cannot
//! carry the next request. So the rest is read and thrown away, within bounds; beyond them the connection
//! is closed.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::pace::UnderWay;

const MAX_BYTES: usize = 256 << 20;
const MAX_TIME: Duration = Duration::from_secs(10);

/// A body that is read to its end, by a handler or after it.
#[derive(Debug)]
pub(super) struct ReadWhole {
    /// Absent at its end.
    body: Option<Incoming>,
    under_way: Option<UnderWay>,
}

impl ReadWhole {
    pub(super) fn new(body: Incoming, under_way: UnderWay) -> Self {
        Self {
            body: Some(body),
            under_way: Some(under_way),
        }
    }
}

impl Body for ReadWhole {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(body).poll_frame(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for ReadWhole {
    fn drop(&mut self) {
        let under_way = self.under_way.take();
        if let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) {
            tokio::spawn(async move {
                // Whether it came to its end or not, nothing more is done about it.
                let _ = tokio::time::timeout(MAX_TIME, discard(body)).await;
                drop(under_way);
            });
        }
    }
}

async fn discard(mut body: Incoming) {
    let mut left = MAX_BYTES;
    while let Some(Ok(frame)) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await
    {
        let length = frame.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(length) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}
