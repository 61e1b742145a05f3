//! Frames on a socket: parsing, writing, closing, and text that arrives in pieces.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use wrenn_api::{
    Encoding,
    stream::{ClientFrame, ServerFrame},
};

/// A peer from which nothing comes for this long is gone.
pub(super) const SILENCE: Duration = Duration::from_secs(120);

/// How long a client has to take leave.
const FAREWELL: Duration = Duration::from_secs(5);

/// A socket with both directions together.
pub(in crate::http) struct Socket {
    pub(super) sender: Sender,
    pub(super) receiver: Receiver,
}

impl Socket {
    pub(super) fn new(socket: WebSocket) -> Self {
        let (sink, stream) = socket.split();
        Self {
            sender: Sender(sink),
            receiver: Receiver(stream),
        }
    }
}

/// The socket is closed or broken.
#[derive(Debug)]
pub(super) struct Closed;

/// Server → client.
pub(super) struct Sender(SplitSink<WebSocket, Message>);

impl Sender {
    /// Sends a frame; waits while the client does not read.
    pub(super) async fn send(&mut self, frame: &ServerFrame) -> Result<(), Closed> {
        let text = serde_json::to_string(frame).map_err(|_| Closed)?;
        self.0.send(Message::text(text)).await.map_err(|_| Closed)
    }

    /// Asks for a sign of life.
    pub(super) async fn ping(&mut self) -> Result<(), Closed> {
        self.0
            .send(Message::Ping(Vec::new().into()))
            .await
            .map_err(|_| Closed)
    }

    /// Closes the socket.
    pub(super) async fn close(&mut self, code: u16) {
        let frame = CloseFrame {
            code,
            reason: "".into(),
        };
        let farewell = async {
            let _ = self.0.send(Message::Close(Some(frame))).await;
            let _ = self.0.close().await;
        };
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
    }

    /// Sends a fatal error and closes the socket.
    pub(super) async fn fail(&mut self, text: &str, code: u16) {
        let frame = ServerFrame::Error {
            data: text.to_owned(),
            fatal: true,
        };
        let _ = tokio::time::timeout(FAREWELL, self.send(&frame)).await;
        self.close(code).await;
    }
}

/// What came from the client.
pub(super) enum Incoming {
    Frame(ClientFrame),
    /// Not one of the frames of the contract.
    Malformed(String),
    /// The client is gone.
    Gone,
    /// Nothing came for [`SILENCE`].
    Silent,
}

/// Client → server.
pub(super) struct Receiver(SplitStream<WebSocket>);

impl Receiver {
    /// Reads what the client had sent before it saw the close. Without that the system resets the connection
    /// (RFC 2525, 2.17), and a client that was writing may never read its program's end.
    pub(super) async fn drain(&mut self) {
        let rest = async { while let Some(Ok(_)) = self.0.next().await {} };
        let _ = tokio::time::timeout(FAREWELL, rest).await;
    }

    /// The next frame. Protocol pings and pongs count as signs of life and are not handed out.
    pub(super) async fn next(&mut self) -> Incoming {
        loop {
            let Ok(message) = tokio::time::timeout(SILENCE, self.0.next()).await else {
                return Incoming::Silent;
            };
            match message {
                Some(Ok(Message::Text(text))) => {
                    return match serde_json::from_str(&text) {
                        Ok(ClientFrame::Pong) => continue,
                        Ok(frame) => Incoming::Frame(frame),
                        Err(error) => Incoming::Malformed(format!("not a frame: {error}")),
                    };
                }
                Some(Ok(Message::Binary(_))) => {
                    return Incoming::Malformed(
                        "binary frames are not part of this protocol".to_owned(),
                    );
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Incoming::Gone,
            }
        }
    }
}

/// Bytes of one stream as text frames: a sequence that is split between pieces is held back.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    held: Vec<u8>,
}

impl Pieces {
    /// The text of what is complete so far.
    pub(super) fn push(&mut self, bytes: &[u8], encoding: Encoding) -> String {
        if encoding == Encoding::Base64 {
            return STANDARD.encode(bytes);
        }
        self.held.extend_from_slice(bytes);
        let keep = incomplete_tail(&self.held);
        let rest = self.held.split_off(self.held.len() - keep);
        let text = String::from_utf8_lossy(&self.held).into_owned();
        self.held = rest;
        text
    }

    /// What is left at the end of the stream.
    pub(super) fn finish(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.held).into_owned();
        self.held.clear();
        text
    }
}

/// Bytes at the end that may still become a character.
fn incomplete_tail(bytes: &[u8]) -> usize {
    let last = bytes.len().min(3);
    for back in 1..=last {
        let lead = bytes[bytes.len() - back];
        let needs = match lead {
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            0x80..=0xBF => continue,
            _ => return 0,
        };
        return if needs > back { back } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pieces: &[&[u8]], expected: &[&str], rest: &str) {
        let mut decoder = Pieces::default();
        let texts: Vec<_> = pieces
            .iter()
            .map(|piece| decoder.push(piece, Encoding::Utf8))
            .collect();
        assert_eq!(texts, expected);
        assert_eq!(decoder.finish(), rest);
    }

    #[test]
    fn a_split_character_is_held_back_until_complete() {
        check(&[b"a\xc3", b"\xa9b"], &["a", "éb"], "");
        check(&[b"\xf0\x9f", b"\x98", b"\x80"], &["", "", "😀"], "");
        check(&[b"\xe2\x82"], &[""], "\u{fffd}");
    }

    #[test]
    fn invalid_bytes_become_replacement_characters_at_once() {
        check(&[b"a\xffb"], &["a\u{fffd}b"], "");
        check(
            &[b"\x80\x80\x80\x80"],
            &["\u{fffd}\u{fffd}\u{fffd}\u{fffd}"],
            "",
        );
    }

    #[test]
    fn base64_is_byte_exact() {
        assert_eq!(Pieces::default().push(b"\xc3", Encoding::Base64), "ww==");
    }
}
