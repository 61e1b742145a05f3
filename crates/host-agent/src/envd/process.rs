//! Running a program in the guest and following it to its end.
//!
//! [`Envd::launch`] starts a task that owns the program's stream. Its owner holds a [`Process`]; dropping
//! that ends the program's group (TERM, 2 s, KILL), as does the time limit. A slow reader stalls the
//! program: nothing is dropped and little is held here.

use std::{collections::HashMap, time::Duration};

use hyper::body::Incoming;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::task::TaskTracker;
use wrenn_rpc::{
    connectrpc::client::{CallOptions, ServerStream},
    process::{
        __buffa::view::StartResponseView,
        CloseStdinRequest, ListRequest, ProcessConfig, ProcessInfo, ProcessInput, ProcessSelector,
        SendInputRequest, SendSignalRequest, Signal, StartRequest, StartResponse,
        process_event::{self, data_event::Output},
        process_input::Input,
        process_selector::Selector,
    },
};

use super::{Envd, Error, Reason, signals};

/// Between TERM and KILL.
const GRACE: Duration = Duration::from_secs(2);
/// How long after KILL the guest may take to report the end, before stretching.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Events waiting for a slow reader (each at most 16 KiB).
const QUEUE: usize = 16;
/// Seconds between the guest's signs of life on a silent stream.
const KEEPALIVE_SEC: &str = "30";
/// Silence after which a stream is dead, before stretching: three missed signs of life.
const SILENCE: Duration = Duration::from_secs(100);

/// A program to run.
#[derive(Debug, Clone)]
pub struct Launch {
    /// Program; looked up in the guest's PATH when it has no slash.
    pub cmd: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Variables beside those of the sandbox.
    pub envs: HashMap<String, String>,
    /// Working directory; the user's home when absent.
    pub cwd: Option<String>,
    /// User; the sandbox's default when absent.
    pub user: Option<String>,
    /// Where its standard input comes from.
    pub stdin: Stdin,
    /// After this long its group is ended.
    pub limit: Option<Duration>,
}

/// Standard input of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdin {
    /// Written by [`Envd::send_input`].
    Pipe,
    /// `/dev/null`.
    Null,
}

/// What a program does, in order: `Started`, outputs, `Ended`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It runs under this pid of the guest.
    Started(u32),
    /// It wrote to standard output.
    Stdout(Vec<u8>),
    /// It wrote to standard error.
    Stderr(Vec<u8>),
    /// It is silent but the stream lives.
    KeepAlive,
    /// It ended; last event.
    Ended {
        /// `128 + n` for signal n; 127 and 126 when it could not be started.
        exit_code: i32,
        /// Whether its time limit ended it.
        timed_out: bool,
    },
}

/// A running program; dropping it ends the program's group.
#[derive(Debug)]
pub struct Process {
    events: mpsc::Receiver<Result<Event, Error>>,
}

impl Process {
    /// The next event; `None` after `Ended` or an error.
    pub async fn next(&mut self) -> Option<Result<Event, Error>> {
        self.events.recv().await
    }
}

impl Envd {
    /// Starts a program; its events, or why it could not start, come through the [`Process`].
    #[must_use]
    pub fn launch(&self, launch: Launch, tasks: &TaskTracker) -> Process {
        let (sink, events) = mpsc::channel(QUEUE);
        let follower = Follower {
            envd: self.clone(),
            tasks: tasks.clone(),
            timed_out: false,
        };
        tasks.spawn(follower.run(launch, sink));
        Process { events }
    }

    /// Programs that run, started through this agent or by others through envd.
    ///
    /// # Errors
    /// When the guest does not answer.
    pub async fn processes(&self) -> Result<Vec<ProcessInfo>, Error> {
        let options = self.options(None)?.with_max_message_size(16 << 20);
        let answer = self
            .inner
            .process
            .list_with_options(ListRequest::default(), options)
            .await?;
        Ok(answer.into_owned().processes)
    }

    /// Starts a program under a tag and leaves it to itself; its pid. Its time limit and what reads its
    /// output are nobody's here.
    ///
    /// # Errors
    /// When it cannot start, the tag is in use, or the guest does not answer.
    pub async fn start_background(&self, launch: Launch, tag: String) -> Result<u32, Error> {
        let started = timeout(self.deadline(), self.start(launch, Some(tag))).await;
        let (_, pid) = started.map_err(|_| Error::Deadline(self.deadline()))??;
        Ok(pid)
    }

    async fn start(&self, launch: Launch, tag: Option<String>) -> Result<(Stream, u32), Error> {
        let options = CallOptions::default()
            .with_header("authorization", self.basic(launch.user.as_deref())?)
            .with_header("keepalive-ping-interval", KEEPALIVE_SEC);
        let config = ProcessConfig {
            cmd: launch.cmd,
            args: launch.args,
            envs: launch.envs.into_iter().collect(),
            cwd: launch.cwd,
            ..ProcessConfig::default()
        };
        let request = StartRequest {
            process: config.into(),
            tag,
            stdin: Some(launch.stdin == Stdin::Pipe),
            ..StartRequest::default()
        };
        let mut stream = self
            .inner
            .process
            .start_with_options(request, options)
            .await?;
        match next(&mut stream).await? {
            Some(process_event::Event::Start(start)) => Ok((stream, start.pid)),
            _ => Err(Error::Protocol(
                "a process stream that does not begin with its start",
            )),
        }
    }

    /// Sends a signal to a program's group.
    ///
    /// # Errors
    /// When there is no such program or the guest does not answer.
    pub async fn signal(&self, process: Selector, signal: Signal) -> Result<(), Error> {
        let request = SendSignalRequest {
            process: selector(process).into(),
            signal: signal.into(),
            ..SendSignalRequest::default()
        };
        self.inner
            .process
            .send_signal_with_options(request, self.options(None)?)
            .await?;
        Ok(())
    }

    /// Writes to a program's standard input; waits until the program takes it.
    ///
    /// # Errors
    /// When there is no such program, its input is closed, or the guest does not answer.
    pub async fn send_input(&self, pid: u32, data: Vec<u8>) -> Result<(), Error> {
        let input = ProcessInput {
            input: Some(Input::Stdin(data)),
            ..ProcessInput::default()
        };
        let request = SendInputRequest {
            process: selector(Selector::Pid(pid)).into(),
            input: input.into(),
            ..SendInputRequest::default()
        };
        let options = self
            .options(None)?
            .with_timeout(self.inner.pace.stretch(Duration::from_secs(60)));
        self.inner
            .process
            .send_input_with_options(request, options)
            .await?;
        Ok(())
    }

    /// Closes a program's standard input.
    ///
    /// # Errors
    /// When there is no such program or the guest does not answer.
    pub async fn close_input(&self, pid: u32) -> Result<(), Error> {
        let request = CloseStdinRequest {
            process: selector(Selector::Pid(pid)).into(),
            ..CloseStdinRequest::default()
        };
        self.inner
            .process
            .close_stdin_with_options(request, self.options(None)?)
            .await?;
        Ok(())
    }

    fn options(&self, user: Option<&str>) -> Result<CallOptions, Error> {
        Ok(CallOptions::default()
            .with_timeout(self.deadline())
            .with_header("authorization", self.basic(user)?))
    }
}

fn selector(selector: Selector) -> ProcessSelector {
    ProcessSelector {
        selector: Some(selector),
        ..ProcessSelector::default()
    }
}

type Stream = ServerStream<Incoming, StartResponseView<'static>>;
type Sink = mpsc::Sender<Result<Event, Error>>;

/// The task behind one program.
struct Follower {
    envd: Envd,
    tasks: TaskTracker,
    timed_out: bool,
}

/// How far the ending of a program is.
enum Ending {
    /// Nobody ends it, but for its time limit.
    NotYet(Option<Instant>),
    /// TERM is sent; KILL follows then.
    Asked(Instant),
    /// KILL is sent; after that the guest is not believed any more.
    Killed(Instant),
}

impl Follower {
    async fn run(mut self, launch: Launch, sink: Sink) {
        let cmd = launch.cmd.clone();
        let limit = launch.limit.map(|limit| Instant::now() + limit);
        let started = timeout(self.envd.deadline(), self.envd.start(launch, None)).await;
        let (stream, pid) = match started {
            Ok(Ok(started)) => started,
            Ok(Err(Error::Refused(reason))) if reason.shell_code().is_some() => {
                return not_started(&cmd, reason, &sink).await;
            }
            Ok(Err(error)) => return drop(sink.send(Err(error)).await),
            Err(_) => return drop(sink.send(Err(Error::Deadline(self.envd.deadline()))).await),
        };
        if let Err(error) = self.follow(stream, pid, limit, &sink).await {
            let _ = sink.send(Err(error)).await;
        }
    }

    /// Passes events on until the program's end, ending it when nobody listens or its time is up.
    async fn follow(
        &mut self,
        mut stream: Stream,
        pid: u32,
        limit: Option<Instant>,
        sink: &Sink,
    ) -> Result<(), Error> {
        let mut ending = Ending::NotYet(limit);
        let mut waiting = Some(Event::Started(pid));
        let mut heard = Instant::now();
        loop {
            let orphaned = sink.is_closed();
            if orphaned {
                waiting = None;
            }
            let silent = heard + self.envd.inner.pace.stretch(SILENCE);
            tokio::select! {
                biased;
                permit = sink.reserve(), if waiting.is_some() && !orphaned => {
                    if let (Ok(permit), Some(event)) = (permit, waiting.take()) {
                        let last = matches!(event, Event::Ended { .. });
                        permit.send(Ok(event));
                        if last {
                            return Ok(());
                        }
                    }
                }
                () = self.step_time(&ending), if ending.has_time() => {
                    ending = match self.advance(ending, pid) {
                        Some(next) => next,
                        None if orphaned => return Ok(()),
                        None => {
                            waiting = Some(Event::Ended { exit_code: 137, timed_out: self.timed_out });
                            Ending::NotYet(None)
                        }
                    };
                }
                () = sink.closed(), if matches!(ending, Ending::NotYet(_)) => {
                    ending = self.ask(pid);
                }
                event = next(&mut stream), if waiting.is_none() => {
                    heard = Instant::now();
                    match self.translate(event?)? {
                        Event::Ended { .. } if orphaned => return Ok(()),
                        event => waiting = Some(event),
                    }
                }
                () = sleep_until(silent), if waiting.is_none() => {
                    return Err(Error::Deadline(SILENCE));
                }
            }
        }
    }

    async fn step_time(&self, ending: &Ending) {
        if let Some(at) = ending.time() {
            sleep_until(at).await;
        }
    }

    /// The next step of ending the program; `None` when all was tried.
    fn advance(&mut self, ending: Ending, pid: u32) -> Option<Ending> {
        match ending {
            Ending::NotYet(_) => {
                self.timed_out = true;
                Some(self.ask(pid))
            }
            Ending::Asked(_) => {
                self.send(pid, Signal::Sigkill);
                Some(Ending::Killed(
                    Instant::now() + self.envd.inner.pace.stretch(LAST_WORDS),
                ))
            }
            Ending::Killed(_) => None,
        }
    }

    fn ask(&self, pid: u32) -> Ending {
        self.send(pid, Signal::Sigterm);
        Ending::Asked(Instant::now() + GRACE)
    }

    /// Sends a signal without waiting for the guest's answer.
    fn send(&self, pid: u32, signal: Signal) {
        let envd = self.envd.clone();
        self.tasks.spawn(async move {
            if let Err(error) = envd.signal(Selector::Pid(pid), signal).await {
                tracing::debug!(error = %crate::chain(&error), pid, "signal was not delivered");
            }
        });
    }

    fn translate(&self, event: Option<process_event::Event>) -> Result<Event, Error> {
        use process_event::Event as Guest;
        Ok(match event {
            Some(Guest::Data(data)) => match data.output {
                Some(Output::Stdout(bytes)) => Event::Stdout(bytes),
                Some(Output::Stderr(bytes)) => Event::Stderr(bytes),
                _ => return Err(Error::Protocol("output of a kind that was not asked for")),
            },
            Some(Guest::End(end)) => Event::Ended {
                exit_code: if end.exited {
                    end.exit_code.clamp(0, 255)
                } else {
                    signals::exit_code(&end.status)
                },
                timed_out: self.timed_out,
            },
            Some(Guest::Keepalive(_)) => Event::KeepAlive,
            Some(Guest::Start(_)) => return Err(Error::Protocol("a second start of one process")),
            None => return Err(Error::Protocol("a process stream without an end")),
        })
    }
}

impl Ending {
    fn time(&self) -> Option<Instant> {
        match self {
            Self::NotYet(limit) => *limit,
            Self::Asked(at) | Self::Killed(at) => Some(*at),
        }
    }

    fn has_time(&self) -> bool {
        self.time().is_some()
    }
}

async fn next(stream: &mut Stream) -> Result<Option<process_event::Event>, Error> {
    let Some(message) = stream.message::<StartResponse>().await? else {
        return Ok(None);
    };
    let event = message
        .to_owned_message()
        .event
        .into_option()
        .and_then(|event| event.event);
    event
        .map(Some)
        .ok_or(Error::Protocol("an empty process event"))
}

impl Reason {
    /// What a shell would exit with when it cannot start a program for this reason.
    fn shell_code(self) -> Option<i32> {
        match self {
            Self::ProgramNotFound => Some(127),
            Self::ProgramNotExecutable => Some(126),
            _ => None,
        }
    }
}

/// Tells of a program that cannot be started as a shell does: a line on standard error, and a code.
async fn not_started(cmd: &str, reason: Reason, sink: &Sink) {
    let (exit_code, why) = match reason.shell_code() {
        Some(127) => (127, "not found"),
        _ => (126, "cannot be executed"),
    };
    let line = format!("{cmd}: {why}\n").into_bytes();
    for event in [
        Event::Stderr(line),
        Event::Ended {
            exit_code,
            timed_out: false,
        },
    ] {
        if sink.send(Ok(event)).await.is_err() {
            return;
        }
    }
}
