//! One program on one socket, from the first frame to the close.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use wrenn_api::{
    Encoding, ErrorCode, Signal,
    stream::{ClientFrame, ServerFrame, Start, close_code},
};
use wrenn_database::sandbox_get;
use wrenn_ids::SandboxId;
use wrenn_rpc::{connectrpc::ConnectError, hostagent::__buffa::oneof::exec_stream_response::Event};

use super::{
    super::{
        extract::{ActsFor, sandbox_of},
        governed::{Governed, Who, admit_late},
    },
    Opening, Proof,
    frames::{Incoming, Pieces, Receiver, Sender, Socket},
};
use crate::{
    app::{
        self, TeamActor,
        exec::{self, Close, Control, Running},
    },
    hosts::error::{Call, from_rpc},
    state::App,
    streams::{Ended, Open},
};

/// How long a client may take for its credential or its first frame.
const FIRST_FRAME: Duration = Duration::from_secs(5);
/// Bytes of input that wait for the program.
const INPUT_QUEUE: usize = 1 << 20;
/// How often the client is asked for a sign of life.
const PING: Duration = Duration::from_secs(30);
/// Time between the polite and the final signal.
const KILL_AFTER: Duration = Duration::from_secs(2);
/// Normal end, and a peer that went silent (RFC 6455).
const NORMAL: u16 = 1000;
const GOING_AWAY: u16 = 1001;
const POLICY: u16 = 1008;

/// Runs the session to its end.
pub(super) async fn run(app: &Arc<App>, opening: Opening, mut socket: Socket) {
    serve(app, opening, &mut socket).await;
    socket.receiver.drain().await;
}

async fn serve(app: &Arc<App>, opening: Opening, socket: &mut Socket) {
    let Socket { sender, receiver } = socket;
    let Opening { id, proof } = opening;
    let actor = match proof {
        Proof::Given(actor) => actor,
        Proof::Awaited(acts_for, governed) => {
            match authenticate(app, id, receiver, acts_for, governed).await {
                Ok(actor) => actor,
                Err(error) => {
                    let code = match error.code {
                        ErrorCode::Unauthorized | ErrorCode::Forbidden => close_code::UNAUTHORIZED,
                        _ => POLICY,
                    };
                    return sender.fail(&error.message, code).await;
                }
            }
        }
    };
    let start = match tokio::time::timeout(FIRST_FRAME, receiver.next()).await {
        Ok(Incoming::Frame(ClientFrame::Start(start))) => start,
        Ok(Incoming::Gone | Incoming::Silent) => return,
        Ok(Incoming::Malformed(text)) => return sender.fail(&text, POLICY).await,
        _ => return sender.fail("the first frame must be `start`", POLICY).await,
    };
    let encoding = start.encoding.unwrap_or(Encoding::Utf8);
    let open = app.streams.enter(actor.stream_into(id));
    match begin(app, &actor, id, start).await {
        Ok(running) => {
            let session = Session { app, id, encoding };
            session.relay(running, open, sender, receiver).await;
        }
        Err(error) => {
            let code = match error.code {
                ErrorCode::HostUnavailable => close_code::HOST_LOST,
                ErrorCode::InvalidState => close_code::PAUSED,
                _ => POLICY,
            };
            sender.fail(&error.message, code).await;
        }
    }
}

async fn authenticate(
    app: &App,
    id: SandboxId,
    receiver: &mut Receiver,
    acts_for: ActsFor,
    governed: Option<Arc<Governed>>,
) -> app::Result<TeamActor> {
    let refused = |text: &str| app::Error::new(ErrorCode::Unauthorized, text);
    let first = tokio::time::timeout(FIRST_FRAME, receiver.next()).await;
    let Ok(Incoming::Frame(ClientFrame::Auth(auth))) = first else {
        return Err(refused("the first frame must be `auth`, within 5 s"));
    };
    let actor = match (auth.api_key, auth.token) {
        (Some(key), _) => acts_for.key_actor(app, &key).await,
        (None, Some(token)) => acts_for.token_actor(app, &token).await,
        (None, None) => return Err(refused("`auth` needs `token` or `api_key`")),
    };
    let actor = actor.map_err(|error| error.0)?;
    sandbox_of(app, &actor, id).await.map_err(|error| error.0)?;
    if let Some(governed) = governed {
        admit_late(app, &governed, &Who::actor(&actor), &id.to_string()).await?;
    }
    Ok(actor)
}

async fn begin(
    app: &Arc<App>,
    actor: &TeamActor,
    id: SandboxId,
    start: Start,
) -> app::Result<Running> {
    let row = sandbox_of(app, actor, id).await.map_err(|error| error.0)?;
    exec::start(app, &row, start).await
}

struct Session<'a> {
    app: &'a Arc<App>,
    id: SandboxId,
    encoding: Encoding,
}

/// What a client is told, and with which code the socket closes.
const fn farewell(ended: Ended) -> (&'static str, u16) {
    match ended {
        Ended::Unauthorized => (
            "the credential is not valid any more",
            close_code::UNAUTHORIZED,
        ),
        Ended::Deleted => ("the sandbox was deleted", close_code::DELETED),
        Ended::Paused => ("the sandbox was paused", close_code::PAUSED),
        Ended::HostLost => ("its host was lost", close_code::HOST_LOST),
    }
}

/// What waits for the program, with its share of the queue.
struct Input {
    data: Vec<u8>,
    close: Close,
    _share: OwnedSemaphorePermit,
}

impl Session<'_> {
    /// Output to the socket and input to the program, until one of them ends.
    async fn relay(
        &self,
        mut running: Running,
        mut open: Open,
        sender: &mut Sender,
        receiver: &mut Receiver,
    ) {
        let control = running.control();
        let (pids, pid) = tokio::sync::watch::channel(None);
        let input = self.take_input(receiver, control.clone(), pid.clone());
        tokio::pin!(input);
        let (mut stdout, mut stderr) = (Pieces::default(), Pieces::default());
        let mut pings = tokio::time::interval(PING);
        pings.tick().await;
        let watch = self.app.bus.watch(self.id);
        let mut stopping = false;
        loop {
            let frames = tokio::select! {
                event = running.events.message() => match event {
                    Ok(Some(message)) => match message.to_owned_message().event {
                        Some(event) => self.frames(event, &mut stdout, &mut stderr, &pids),
                        None => continue,
                    },
                    Ok(None) => return sender.fail("the program's end is unknown", close_code::HOST_LOST).await,
                    Err(error) => return self.lost(error, sender).await,
                },
                ended = &mut input, if !stopping => match ended {
                    InputEnd::Gone => return,
                    InputEnd::Silent => return sender.close(GOING_AWAY).await,
                    InputEnd::Malformed(text) => return sender.fail(&text, POLICY).await,
                    InputEnd::Stop => {
                        stopping = true;
                        self.app.tasks.spawn(stop(control.clone(), pid.clone()));
                        continue;
                    }
                },
                _ = pings.tick() => {
                    if sender.ping().await.is_err() { return; }
                    continue;
                }
                ended = open.ended() => {
                    let (text, code) = farewell(ended);
                    return sender.fail(text, code).await;
                }
                () = watch.notified() => {
                    if let Some((text, code)) = self.must_end().await {
                        return sender.fail(text, code).await;
                    }
                    continue;
                }
            };
            for frame in &frames {
                if sender.send(frame).await.is_err() {
                    return;
                }
            }
            if matches!(frames.last(), Some(ServerFrame::Exit { .. })) {
                return sender.close(NORMAL).await;
            }
        }
    }

    /// The frames of one event.
    fn frames(
        &self,
        event: Event,
        stdout: &mut Pieces,
        stderr: &mut Pieces,
        pids: &tokio::sync::watch::Sender<Option<u32>>,
    ) -> Vec<ServerFrame> {
        let some = |frame: fn(String) -> ServerFrame, data: String| {
            if data.is_empty() {
                None
            } else {
                Some(frame(data))
            }
        };
        let out = |data| ServerFrame::Stdout { data };
        let err = |data| ServerFrame::Stderr { data };
        match event {
            Event::Started(started) => {
                // 0: a program that could not be started has no process.
                let pid = (started.pid != 0).then_some(started.pid);
                pids.send_replace(pid);
                vec![ServerFrame::Start { pid }]
            }
            Event::Stdout(bytes) => some(out, stdout.push(&bytes, self.encoding))
                .into_iter()
                .collect(),
            Event::Stderr(bytes) => some(err, stderr.push(&bytes, self.encoding))
                .into_iter()
                .collect(),
            Event::Exited(exited) => [some(out, stdout.finish()), some(err, stderr.finish())]
                .into_iter()
                .flatten()
                .chain([ServerFrame::Exit {
                    exit_code: exited.exit_code,
                }])
                .collect(),
            Event::Keepalive(_) => Vec::new(),
        }
    }

    /// The agent ended the stream: says why, from what the row says by now.
    async fn lost(&self, error: ConnectError, sender: &mut Sender) {
        if let Some((text, code)) = self.must_end().await {
            return sender.fail(text, code).await;
        }
        let error = from_rpc(error, Call::Process);
        let code = match error.code {
            ErrorCode::InvalidRequest | ErrorCode::Conflict => POLICY,
            _ => close_code::HOST_LOST,
        };
        tracing::warn!(sandbox_id = %self.id, cause = ?error, "an exec stream was lost");
        sender.fail(&error.message, code).await;
    }

    /// Why the sandbox is of no more use to the socket, if it is not. A database that is away proves nothing.
    async fn must_end(&self) -> Option<(&'static str, u16)> {
        let row = sandbox_get(&self.app.db, self.id).await.ok()?;
        Ended::by_status(row.map(|row| row.status)).map(farewell)
    }

    /// Reads the socket into the queue and the queue into the program.
    async fn take_input(
        &self,
        receiver: &mut Receiver,
        control: Control,
        pid: tokio::sync::watch::Receiver<Option<u32>>,
    ) -> InputEnd {
        let room = Arc::new(Semaphore::new(INPUT_QUEUE));
        let (queue, queued) = mpsc::unbounded_channel();
        // Bounded by the shares of `room`, which every element holds.
        let deliver = deliver(queued, control, pid);
        let read = async {
            loop {
                let data = match receiver.next().await {
                    Incoming::Frame(ClientFrame::Stdin { data }) => match self.decode(data) {
                        Ok(data) => (data, Close::Not),
                        Err(text) => return InputEnd::Malformed(text),
                    },
                    Incoming::Frame(ClientFrame::StdinClose) => (Vec::new(), Close::After),
                    Incoming::Frame(ClientFrame::Stop) => return InputEnd::Stop,
                    Incoming::Frame(_) => {
                        return InputEnd::Malformed("this frame may not come now".to_owned());
                    }
                    Incoming::Malformed(text) => return InputEnd::Malformed(text),
                    Incoming::Gone => return InputEnd::Gone,
                    Incoming::Silent => return InputEnd::Silent,
                };
                let share = u32::try_from(data.0.len().clamp(1, INPUT_QUEUE)).unwrap_or(1);
                let Ok(share) = Arc::clone(&room).acquire_many_owned(share).await else {
                    return InputEnd::Gone;
                };
                let _ = queue.send(Input {
                    data: data.0,
                    close: data.1,
                    _share: share,
                });
            }
        };
        tokio::pin!(read, deliver);
        tokio::select! {
            end = &mut read => end,
            // Input that the program does not take any more is dropped; the socket is still read.
            () = &mut deliver => read.await,
        }
    }

    fn decode(&self, data: String) -> Result<Vec<u8>, String> {
        match self.encoding {
            Encoding::Utf8 => Ok(data.into_bytes()),
            Encoding::Base64 => STANDARD
                .decode(data)
                .map_err(|_| "`data` is not base64".to_owned()),
        }
    }
}

/// Why no more input comes.
enum InputEnd {
    Gone,
    Silent,
    Malformed(String),
    Stop,
}

async fn known_pid(mut pid: tokio::sync::watch::Receiver<Option<u32>>) -> Option<u32> {
    pid.wait_for(Option::is_some)
        .await
        .ok()
        .and_then(|pid| *pid)
}

async fn deliver(
    mut queued: mpsc::UnboundedReceiver<Input>,
    control: Control,
    pid: tokio::sync::watch::Receiver<Option<u32>>,
) {
    let Some(pid) = known_pid(pid).await else {
        return;
    };
    while let Some(input) = queued.recv().await {
        if let Err(error) = control.input(pid, input.data, input.close).await {
            tracing::debug!(cause = ?error, "input was not taken");
            return;
        }
    }
}

/// Ends the process group: TERM, and KILL 2 s later.
async fn stop(control: Control, pid: tokio::sync::watch::Receiver<Option<u32>>) {
    let pid = match tokio::time::timeout(KILL_AFTER, known_pid(pid)).await {
        Ok(Some(pid)) => pid,
        _ => return,
    };
    if control.signal(pid, Signal::Term).await.is_ok() {
        tokio::time::sleep(KILL_AFTER).await;
        let _ = control.signal(pid, Signal::Kill).await;
    }
}
