//! One program in a sandbox over the WebSocket `…/exec/stream`: bytes through unchanged, both ways.
//!
//! Back-pressure is the sockets' own: the next frame is read when stdout took the last one. Stopping is the
//! caller's: the first [`Stop::Command`] ends the program's process group, [`Stop::Now`] leaves at once.

use std::{io::IsTerminal, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use futures::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
};
use tokio_tungstenite::tungstenite::{self, Message, client::IntoClientRequest};
use wrenn_api::{
    Encoding,
    stream::{ClientFrame, ServerFrame, Start},
};
use wrenn_ids::SandboxId;

use super::{Client, error, no_connection};
use crate::error::{CliError, Exit, chain};

/// Piece in which stdin is forwarded.
const PIECE: usize = 64 * 1024;
/// What a server that hung up may have said is read for so long.
const FAREWELL: Duration = Duration::from_secs(5);
/// Our sign of life while stdout takes nothing; the server gives up a peer that is silent for 120 s.
const SIGN_OF_LIFE: Duration = Duration::from_secs(30);

/// What the caller wants stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The program: TERM, then KILL.
    Command,
    /// The whole call.
    Now,
}

/// Where the program's standard input comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stdin {
    /// `/dev/null`.
    Empty,
    /// Ours.
    Forward,
}

impl Stdin {
    /// Ours when it is piped or `interactive`.
    pub(crate) fn choose(interactive: bool) -> Self {
        if interactive || !std::io::stdin().is_terminal() {
            Self::Forward
        } else {
            Self::Empty
        }
    }
}

/// How the call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The program ended with this code.
    Exited(i32),
    /// [`Stop::Now`] was asked for.
    Left,
    /// Nobody reads our stdout any more; the program was told to stop.
    Closed,
}

type Socket =
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

impl Client {
    /// Runs `start` in the sandbox with our standard streams until it ends or `stops` says so.
    pub(crate) async fn exec(
        &self,
        id: SandboxId,
        mut start: Start,
        stdin: Stdin,
        stops: &mut mpsc::Receiver<Stop>,
    ) -> Result<Ended, CliError> {
        start.encoding = Some(Encoding::Base64);
        start.stdin = Some(stdin == Stdin::Forward);
        let (mut sink, mut frames) = self.open_exec(id).await?.split();
        let (send, mut to_send) = mpsc::channel::<ClientFrame>(4);

        let writer = async {
            write_frame(&mut sink, &ClientFrame::Start(start)).await?;
            let mut alive = tokio::time::interval(SIGN_OF_LIFE);
            loop {
                tokio::select! {
                    Some(frame) = to_send.recv() => write_frame(&mut sink, &frame).await?,
                    _ = alive.tick() => sink.send(Message::Pong(tungstenite::Bytes::new())).await?,
                }
            }
        };
        let feeder = async {
            if stdin == Stdin::Forward {
                forward_stdin(&send).await;
            }
            std::future::pending::<()>().await;
        };
        let stopper = async {
            while let Some(stop) = stops.recv().await {
                if stop == Stop::Now {
                    return;
                }
                let _ = send.send(ClientFrame::Stop).await;
            }
            std::future::pending::<()>().await;
        };
        let reader = async {
            let (mut stdout, mut stderr) = (tokio::io::stdout(), tokio::io::stderr());
            loop {
                match next_frame(&mut frames).await? {
                    ServerFrame::Start { .. } => {}
                    ServerFrame::Stdout { data } => {
                        if write_out(&mut stdout, &decode(&data)?).await.is_err() {
                            let _ = send.send(ClientFrame::Stop).await;
                            while !matches!(
                                next_frame(&mut frames).await?,
                                ServerFrame::Exit { .. }
                            ) {}
                            return Ok(Ended::Closed);
                        }
                    }
                    // A closed stderr loses text; the program and its stdout go on.
                    ServerFrame::Stderr { data } => {
                        drop(write_out(&mut stderr, &decode(&data)?).await)
                    }
                    ServerFrame::Exit { exit_code } => return Ok(Ended::Exited(exit_code)),
                    ServerFrame::Error { data, .. } => return Err(failure(&data)),
                }
            }
        };
        tokio::pin!(reader);
        tokio::select! {
            ended = &mut reader => ended,
            result = writer => {
                let result: Result<std::convert::Infallible, tungstenite::Error> = result;
                let error = match result {
                    Ok(never) => match never {},
                    Err(error) => error,
                };
                // A server that takes nothing more may have told the end before.
                let told = tokio::time::timeout(FAREWELL, reader).await;
                told.ok().and_then(Result::ok).map_or_else(|| Err(lost(&error)), Ok)
            }
            () = feeder => Ok(Ended::Left),
            () = stopper => Ok(Ended::Left),
        }
    }

    async fn open_exec(&self, id: SandboxId) -> Result<Socket, CliError> {
        let rest = self.base_url().strip_prefix("http").unwrap_or_default();
        let url = format!("ws{rest}/v1/sandboxes/{id}/exec/stream");
        let mut request = url
            .as_str()
            .into_client_request()
            .map_err(|error| failure(&chain(&error)))?;
        let (name, value) = self.credential().await?;
        request.headers_mut().insert(name, value);
        let connect = tokio_tungstenite::connect_async_with_config(request, None, true);
        let connected = tokio::time::timeout(self.timeout, connect)
            .await
            .map_err(|_| {
                CliError::new(
                    Exit::Deadline,
                    "deadline",
                    format_args!("{} did not answer in time", self.base_url()),
                )
            })?;
        match connected {
            Ok((socket, _)) => Ok(socket),
            Err(tungstenite::Error::Http(answer)) => {
                let request_id = answer
                    .headers()
                    .get("x-request-id")
                    .and_then(|id| id.to_str().ok())
                    .map(str::to_owned);
                let status = answer.status().as_u16();
                Err(error::from_answer(
                    status,
                    answer.body().as_deref().unwrap_or_default(),
                    request_id,
                ))
            }
            Err(error) => Err(no_connection(self.base_url(), &chain(&error))),
        }
    }
}

async fn write_frame<S>(sink: &mut S, frame: &ClientFrame) -> Result<(), tungstenite::Error>
where
    S: futures::Sink<Message, Error = tungstenite::Error> + Unpin,
{
    let text =
        serde_json::to_string(frame).map_err(|error| tungstenite::Error::Io(error.into()))?;
    sink.send(Message::text(text)).await
}

async fn next_frame<S>(frames: &mut S) -> Result<ServerFrame, CliError>
where
    S: futures::Stream<Item = Result<Message, tungstenite::Error>> + Unpin,
{
    loop {
        match frames.next().await {
            Some(Ok(Message::Text(text))) => {
                return serde_json::from_str(&text).map_err(|error| {
                    failure(&format!("the server sent a frame that is none: {error}"))
                });
            }
            Some(Ok(Message::Close(Some(close)))) if !close.reason.is_empty() => {
                return Err(failure(&close.reason));
            }
            Some(Ok(Message::Close(_))) | None => {
                return Err(failure(
                    "the server closed the connection before the command ended",
                ));
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(lost(&error)),
        }
    }
}

async fn forward_stdin(send: &mpsc::Sender<ClientFrame>) {
    let mut stdin = tokio::io::stdin();
    let mut piece = vec![0; PIECE];
    loop {
        match stdin.read(&mut piece).await {
            Ok(read @ 1..) => {
                let data = STANDARD.encode(&piece[..read]);
                if send.send(ClientFrame::Stdin { data }).await.is_err() {
                    return;
                }
            }
            // An unreadable stdin is an empty one.
            Ok(0) | Err(_) => {
                let _ = send.send(ClientFrame::StdinClose).await;
                return;
            }
        }
    }
}

async fn write_out<W: tokio::io::AsyncWrite + Unpin>(
    to: &mut W,
    bytes: &[u8],
) -> std::io::Result<()> {
    to.write_all(bytes).await?;
    to.flush().await
}

fn decode(data: &str) -> Result<Vec<u8>, CliError> {
    STANDARD.decode(data).map_err(|error| {
        failure(&format!(
            "the server sent output that is no base64: {error}"
        ))
    })
}

fn lost(error: &tungstenite::Error) -> CliError {
    failure(&format!("the connection was lost: {}", chain(error)))
}

fn failure(message: &str) -> CliError {
    CliError::new(Exit::Code(125), "exec_failed", message)
        .hint("see", "wrenn status")
        .hint("logs", "wrenn logs --tail 50")
}
