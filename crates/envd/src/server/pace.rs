//! How long the peer of a connection may take over the head of a request, and over a reply that it does
//! not read.
//!
//! The HTTP library has one limit for both the wait between two requests and the reading of a head, and
//! none for writing. So the bytes are watched on their way (`Paced`), beside what the service tells of the
//! requests (`Pace`): a byte that arrives while no request is under way begins a head.
//!
//! On HTTP/2 this holds until the first request; then bytes may be anything, and the library's pings find
//! peers that are gone. A reply that is read at its reader's leisure, like the output of a process, may
//! wait for ever: it stalls what it comes from and nothing else.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Version};
use hyper::body::{Body, Frame, SizeHint};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep, sleep},
};

/// What a peer is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// From the first byte of a head to its last; for the first head from the beginning.
    pub(super) head: Duration,
    /// For any progress with a reply that is written as a whole.
    pub(super) reply: Duration,
}

/// What the service knows of a connection's requests.
#[derive(Debug, Default)]
pub(super) struct Pace {
    heard: AtomicU64,
    under_way: AtomicUsize,
    /// HTTP/2: requests are not one after another.
    multiplexed: AtomicBool,
    /// The replies are read at their reader's leisure.
    leisurely: AtomicBool,
}

impl Pace {
    /// Notes a request, which is under way until both its body and its reply are dropped.
    pub(super) fn hear<B>(self: &Arc<Self>, request: &Request<B>) -> UnderWay {
        let leisurely = is_leisurely(request.method(), request.uri().path());
        if request.version() == Version::HTTP_2 {
            self.multiplexed.store(true, Ordering::Relaxed);
            self.leisurely.fetch_or(leisurely, Ordering::Relaxed);
        } else {
            self.leisurely.store(leisurely, Ordering::Relaxed);
        }
        self.heard.fetch_add(1, Ordering::Relaxed);
        UnderWay::new(Arc::clone(self))
    }

    fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }

    fn is_between_requests(&self) -> bool {
        self.under_way.load(Ordering::Relaxed) == 0 && !self.multiplexed.load(Ordering::Relaxed)
    }
}

fn is_leisurely(method: &Method, path: &str) -> bool {
    match path {
        "/process.Process/Start"
        | "/process.Process/Connect"
        | "/filesystem.Filesystem/WatchDir" => true,
        "/files" => method == Method::GET,
        _ => false,
    }
}

/// A request, or a part of it.
#[derive(Debug)]
pub(super) struct UnderWay {
    pace: Arc<Pace>,
}

impl UnderWay {
    fn new(pace: Arc<Pace>) -> Self {
        pace.under_way.fetch_add(1, Ordering::Relaxed);
        Self { pace }
    }
}

impl Clone for UnderWay {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.pace))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.pace.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of a reply, under way until it is dropped.
#[derive(Debug)]
pub(super) struct Reply<B> {
    body: B,
    _under_way: UnderWay,
}

impl<B> Reply<B> {
    pub(super) fn new(body: B, under_way: UnderWay) -> Self {
        Self {
            body,
            _under_way: under_way,
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Reply<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A connection that ends with an error when its peer takes too long.
#[derive(Debug)]
pub(super) struct Paced {
    stream: TcpStream,
    pace: Arc<Pace>,
    patience: Patience,
    /// Requests heard when the head began that is being read now.
    head: Option<u64>,
    head_due: Pin<Box<Sleep>>,
    reply: Reading,
    reply_due: Pin<Box<Sleep>>,
}

/// Whether the peer takes what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    Going,
    Stalled,
}

impl Paced {
    pub(super) fn new(stream: TcpStream, pace: Arc<Pace>, patience: Patience) -> Self {
        Self {
            stream,
            pace,
            patience,
            head: Some(0),
            head_due: Box::pin(sleep(patience.head)),
            reply: Reading::Going,
            reply_due: Box::pin(sleep(patience.reply)),
        }
    }

    /// What becomes of a write.
    fn wrote(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.reply = Reading::Going;
            return written;
        }
        if self.pace.leisurely.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        if self.reply == Reading::Going {
            self.reply = Reading::Stalled;
            let due = Instant::now() + self.patience.reply;
            self.reply_due.as_mut().reset(due);
        }
        ready!(self.reply_due.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Paced {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let heard = this.pace.heard();
        this.head = this.head.filter(|begun| *begun == heard);
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        if read.is_ready() {
            let more = buffer.filled().len() > before;
            if more && this.head.is_none() && this.pace.is_between_requests() {
                this.head = Some(heard);
                let due = Instant::now() + this.patience.head;
                this.head_due.as_mut().reset(due);
            }
            return read;
        }
        if this.head.is_none() {
            return Poll::Pending;
        }
        ready!(this.head_due.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for Paced {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.wrote(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
