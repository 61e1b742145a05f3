//! The RPC service of processes: reads requests, answers in the codes and words of the protocol.

use std::{sync::Arc, time::Duration};

use futures::{Stream, StreamExt as _, stream};
use rustix::{io::Errno, process::Signal as Sent};
use tokio::time::timeout;
use wrenn_rpc::{
    connectrpc::{
        ConnectError, InboundStream, RequestContext, Response, Router, ServiceRequest,
        ServiceResult, ServiceStream,
    },
    process::{
        CloseStdinRequest, CloseStdinResponse, ConnectRequest, ListRequest, ListResponse, PTY,
        Process as Service, ProcessConfig, ProcessExt as _, ProcessInfo, ProcessInput,
        ProcessSelector, SendInputRequest, SendInputResponse, SendSignalRequest,
        SendSignalResponse, Signal, StartRequest, StreamInputRequest, StreamInputResponse,
        UpdateRequest, UpdateResponse,
        process_event::{self, KeepAlive, StartEvent},
        process_input, process_selector, stream_input_request,
    },
};

use super::{
    Command, Selector, StartError,
    command::{self, CommandError, Input, Size, Words},
    driver::Process,
    output::{Past, Subscription},
    queue::{Finish, Taken},
    spawn::{SpawnError, Stage},
    stdin::InputError,
    wire::Told,
};
use crate::{
    agent::Agent,
    paths,
    reason::Reason,
    server::gate::{self, CallTimeout, keepalive, short},
};

const REPLAY: &str = "x-wrenn-replay";
/// How long the answer to SIGKILL waits for the leader to be reaped.
const KILL_TIME: Duration = Duration::from_secs(1);

/// Adds the service to `router`.
pub(crate) fn register(agent: Arc<Agent>, router: Router) -> Router {
    Arc::new(Processes { agent }).register(router)
}

#[derive(Debug)]
struct Processes {
    agent: Arc<Agent>,
}

#[expect(
    refining_impl_trait,
    reason = "the trait allows any encodable type; these are the messages"
)]
impl Service for Processes {
    async fn list(
        &self,
        _: RequestContext,
        _: ServiceRequest<'_, ListRequest>,
    ) -> ServiceResult<ListResponse> {
        let processes = self.agent.processes.list();
        Response::ok(ListResponse {
            processes: processes.iter().map(|process| info(process)).collect(),
            ..ListResponse::default()
        })
    }

    async fn start(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, StartRequest>,
    ) -> ServiceResult<ServiceStream<Told>> {
        let command = command(&self.agent, &context, request.to_owned_message())?;
        let program = command.words.program.clone();
        let (directory, user) = (command.directory.clone(), command.user.name.clone());
        let subscription = self.agent.processes.start(command).await;
        let subscription =
            subscription.map_err(|fault| start_error(fault, &program, &directory, &user))?;
        let events = events(subscription, keepalive(context.headers()), Role::Starter);
        Response::ok(Box::pin(events))
    }

    async fn connect(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, ConnectRequest>,
    ) -> ServiceResult<ServiceStream<Told>> {
        let selector = selector(request.to_owned_message().process.into_option())?;
        let process = self
            .agent
            .processes
            .known(&selector)
            .ok_or_else(|| missing(&selector))?;
        let replay = context.header(REPLAY).is_some_and(|value| value == "1");
        let past = if replay { Past::Replay } else { Past::Skip };
        let subscription = Subscription::new(&process, past).map_err(|_| {
            ConnectError::resource_exhausted(format!(
                "process {} has 64 subscribers",
                process.pid()
            ))
        })?;
        let events = events(subscription, keepalive(context.headers()), Role::Follower);
        Response::ok(Box::pin(events))
    }

    async fn update(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, UpdateRequest>,
    ) -> ServiceResult<UpdateResponse> {
        let request = request.to_owned_message();
        let size = request.pty.into_option().map(size).transpose()?;
        let process = self.live(&selector(request.process.into_option())?)?;
        if let Some(size) = size {
            let terminal = process
                .terminal()
                .map_err(|fault| input_error(&process, &fault))?;
            terminal.resize(size).map_err(|fault| {
                tracing::error!(%fault, "cannot resize a terminal");
                ConnectError::internal(format!("cannot resize process {}", process.pid()))
            })?;
        }
        Response::ok(UpdateResponse::default())
    }

    async fn stream_input(
        &self,
        _: RequestContext,
        mut requests: InboundStream<StreamInputRequest>,
    ) -> ServiceResult<StreamInputResponse> {
        use stream_input_request::Event;
        let mut target: Option<Arc<Process>> = None;
        while let Some(request) = requests.next().await {
            match (request?.to_owned_message().event, &target) {
                (Some(Event::Start(start)), None) => {
                    let selector = selector(start.process.into_option())?;
                    target = Some(self.live(&selector)?);
                }
                (Some(Event::Start(_)), Some(_)) => {
                    return Err(ConnectError::invalid_argument("a second start"));
                }
                (Some(Event::Data(data)), Some(process)) => {
                    feed(process, data.input.into_option()).await?;
                }
                (Some(Event::Keepalive(_)), Some(_)) => {}
                (None, Some(_)) => return Err(ConnectError::invalid_argument("an empty message")),
                (_, None) => {
                    return Err(ConnectError::invalid_argument(
                        "the first message is not a start",
                    ));
                }
            }
        }
        match target {
            Some(_) => Response::ok(StreamInputResponse::default()),
            None => Err(ConnectError::invalid_argument(
                "the first message is not a start",
            )),
        }
    }

    async fn send_input(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, SendInputRequest>,
    ) -> ServiceResult<SendInputResponse> {
        let request = request.to_owned_message();
        let process = self.live(&selector(request.process.into_option())?)?;
        feed(&process, request.input.into_option()).await?;
        Response::ok(SendInputResponse::default())
    }

    async fn send_signal(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, SendSignalRequest>,
    ) -> ServiceResult<SendSignalResponse> {
        let request = request.to_owned_message();
        let selector = selector(request.process.into_option())?;
        let signal = match request.signal.to_i32() {
            number if number == Signal::Sigterm as i32 => Sent::TERM,
            number if number == Signal::Sigkill as i32 => Sent::KILL,
            number => {
                return Err(ConnectError::invalid_argument(format!(
                    "cannot send signal {number}"
                )));
            }
        };
        let process = self.live(&selector)?;
        process.strike(signal);
        if signal == Sent::KILL {
            // A leader in the kernel's hands for longer is answered for nevertheless.
            let _ = timeout(KILL_TIME, process.leader().reaped()).await;
        }
        Response::ok(SendSignalResponse::default())
    }

    async fn close_stdin(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, CloseStdinRequest>,
    ) -> ServiceResult<CloseStdinResponse> {
        let process = self.live(&selector(request.to_owned_message().process.into_option())?)?;
        process
            .close_stdin()
            .await
            .map_err(|fault| input_error(&process, &fault))?;
        Response::ok(CloseStdinResponse::default())
    }
}

impl Processes {
    fn live(&self, selector: &Selector) -> Result<Arc<Process>, ConnectError> {
        self.agent
            .processes
            .live(selector)
            .ok_or_else(|| missing(selector))
    }
}

/// Whose stream it is: only that of `Start` is told of the timeout as an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Starter,
    Follower,
}

#[derive(Debug)]
enum Progress {
    Start,
    Data,
    Done,
}

/// The events of a subscription: start, data, end; keepalives where nothing else comes.
fn events(
    subscription: Subscription,
    keepalive: Duration,
    role: Role,
) -> impl Stream<Item = Result<Told, ConnectError>> + Send + 'static {
    stream::unfold(
        (subscription, Progress::Start),
        move |(subscription, progress)| async move {
            let (event, progress) = match progress {
                Progress::Done => return None,
                Progress::Start => {
                    let start = StartEvent {
                        pid: subscription.process().pid(),
                        ..StartEvent::default()
                    };
                    (Ok(Told::Event(start.into())), Progress::Data)
                }
                Progress::Data => match timeout(keepalive, subscription.next()).await {
                    Err(_) => (Ok(Told::Event(KeepAlive::default().into())), Progress::Data),
                    Ok(Taken::Chunk(chunk)) => (Ok(Told::Output(chunk)), Progress::Data),
                    Ok(Taken::Finish(finish)) => {
                        (last(finish, role).map(Told::Event), Progress::Done)
                    }
                },
            };
            Some((event, (subscription, progress)))
        },
    )
}

fn last(finish: Finish, role: Role) -> Result<process_event::Event, ConnectError> {
    match finish {
        Finish::Ended(end) => match end.timed_out {
            Some(after) if role == Role::Starter => Err(ConnectError::deadline_exceeded(format!(
                "command timed out after {} ms",
                after.as_millis()
            ))),
            _ => Ok(end.exit.event().into()),
        },
        Finish::Stuck => Err(ConnectError::resource_exhausted(
            "the output was not taken for 30 s",
        )),
        Finish::Dropped => Err(ConnectError::unavailable("the sandbox was restored")),
    }
}

/// Checks a request and completes it with the user, the directory and the environment.
fn command(
    agent: &Agent,
    context: &RequestContext,
    request: StartRequest,
) -> Result<Command, ConnectError> {
    let terminal = request.pty.into_option().map(size).transpose()?;
    let config = request.process.into_option().unwrap_or_default();
    let words = Words {
        program: config.cmd,
        arguments: config.args,
        variables: config.envs.into_iter().collect(),
        directory: config.cwd,
    };
    let invalid = |fault: CommandError| ConnectError::invalid_argument(fault.to_string());
    words.check(request.tag.as_deref()).map_err(invalid)?;
    let user = gate::user(agent, context.headers())?;
    let (sandbox, workdir) = {
        let state = agent.sandbox.state();
        (state.environment(), state.default_workdir.clone())
    };
    let directory = words.directory.as_deref().unwrap_or_default();
    let directory = paths::expand(directory, &user.home, workdir.as_deref()).map_err(|fault| {
        let text = format!("cwd '{}' {fault}", short(directory));
        Reason::BadCwd.mark(ConnectError::invalid_argument(text))
    })?;
    let timeout = context.extensions().get::<CallTimeout>();
    Ok(Command {
        environment: command::environment(&user, terminal, sandbox, &words.variables),
        words,
        user,
        directory,
        tag: request.tag,
        input: if request.stdin.unwrap_or(true) {
            Input::Pipe
        } else {
            Input::Null
        },
        terminal,
        timeout: timeout.map(|CallTimeout(timeout)| *timeout),
    })
}

fn start_error(fault: StartError, program: &str, directory: &str, user: &str) -> ConnectError {
    let (stage, errno) = match fault {
        StartError::TagInUse { .. } => return ConnectError::already_exists(fault.to_string()),
        StartError::TooMany => return ConnectError::resource_exhausted(fault.to_string()),
        StartError::Spawn(SpawnError::Child { stage, errno }) => (stage, errno),
        StartError::Spawn(fault) => {
            let fault: &dyn std::error::Error = &fault;
            tracing::error!(fault, "cannot spawn");
            return ConnectError::internal(fault.to_string());
        }
    };
    let word = word(errno);
    match stage {
        Stage::Program => {
            let reason = match errno {
                Errno::NOENT => Reason::ProgramNotFound,
                _ => Reason::ProgramNotExecutable,
            };
            let text = format!("cannot start '{}': {word}", short(program));
            reason.mark(ConnectError::invalid_argument(text))
        }
        Stage::Directory => {
            let text = format!("cwd '{}' {word}", short(directory));
            Reason::BadCwd.mark(ConnectError::invalid_argument(text))
        }
        Stage::User => ConnectError::internal(format!("cannot become user '{user}'")),
        Stage::Session
        | Stage::Terminal
        | Stage::Priority
        | Stage::Signals
        | Stage::Descriptors => {
            tracing::error!(?stage, %errno, "cannot set up a process");
            ConnectError::internal(format!("cannot set up '{}': {word}", short(program)))
        }
    }
}

/// The kernel's word for an error, without its number.
pub(crate) fn word(errno: Errno) -> String {
    let text = std::io::Error::from(errno).to_string();
    text.split(" (os error")
        .next()
        .unwrap_or_default()
        .to_lowercase()
}

fn info(process: &Process) -> ProcessInfo {
    let words = process.words();
    let config = ProcessConfig {
        cmd: words.program.clone(),
        args: words.arguments.clone(),
        envs: words.variables.clone().into_iter().collect(),
        cwd: words.directory.clone(),
        ..ProcessConfig::default()
    };
    ProcessInfo {
        config: config.into(),
        pid: process.pid(),
        tag: process.tag().cloned(),
        ..ProcessInfo::default()
    }
}

fn selector(message: Option<ProcessSelector>) -> Result<Selector, ConnectError> {
    match message.and_then(|message| message.selector) {
        Some(process_selector::Selector::Pid(pid)) => Ok(Selector::Pid(pid)),
        Some(process_selector::Selector::Tag(tag)) => Ok(Selector::Tag(tag)),
        None => Err(ConnectError::invalid_argument("no process is selected")),
    }
}

fn missing(selector: &Selector) -> ConnectError {
    ConnectError::not_found(match selector {
        Selector::Pid(pid) => format!("no process with pid {pid}"),
        Selector::Tag(tag) => format!("no process with tag '{}'", short(tag)),
    })
}

async fn feed(process: &Process, input: Option<ProcessInput>) -> Result<(), ConnectError> {
    let fed = match input.and_then(|input| input.input) {
        Some(process_input::Input::Stdin(bytes)) => process.write_stdin(&bytes).await,
        Some(process_input::Input::Pty(bytes)) => match process.terminal() {
            Ok(terminal) => terminal.write(&bytes).await,
            Err(fault) => Err(fault),
        },
        None => return Err(ConnectError::invalid_argument("data with no input")),
    };
    fed.map_err(|fault| input_error(process, &fault))
}

fn input_error(process: &Process, fault: &InputError) -> ConnectError {
    match fault {
        InputError::Closed => {
            ConnectError::internal(format!("stdin of process {} is closed", process.pid()))
        }
        InputError::Late => ConnectError::deadline_exceeded(fault.to_string()),
        InputError::Terminal | InputError::NoTerminal => {
            ConnectError::failed_precondition(format!("process {}: {fault}", process.pid()))
        }
    }
}

fn size(pty: PTY) -> Result<Size, ConnectError> {
    let size = pty.size.into_option().unwrap_or_default();
    Size::new(size.cols, size.rows)
        .map_err(|fault| ConnectError::invalid_argument(fault.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_in_the_kernels_words() {
        assert_eq!(word(Errno::NOENT), "no such file or directory");
        assert_eq!(word(Errno::ACCESS), "permission denied");
    }
}
