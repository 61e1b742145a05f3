//! The contract's methods over [`State`].

use std::{collections::HashMap, path::PathBuf, pin::Pin, sync::Arc, time::Duration};

use futures::{Stream, StreamExt as _, stream};
use parking_lot::Mutex;
use rustix::process::Signal;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::ChildStdin,
    time::{Instant, timeout_at},
};
use wrenn_rpc::{
    connectrpc::{
        ConnectError, ErrorCode, InboundStream, RequestContext, Response, ServiceRequest,
        ServiceResult, ServiceStream,
    },
    hostagent::{
        __buffa::oneof::{exec_stream_response::Event, write_file_stream_request::Part},
        CreateSandboxRequest, CreateSandboxResponse, DestroySandboxRequest, DestroySandboxResponse,
        ExecRequest, ExecResponse, ExecStreamRequest, ExecStreamResponse, GetHostInfoRequest,
        GetHostInfoResponse, GetSandboxRequest, GetSandboxResponse, HostAgent, KillProcessRequest,
        KillProcessResponse, ListProcessesRequest, ListProcessesResponse, ListSandboxesRequest,
        ListSandboxesResponse, ListTemplatesRequest, ListTemplatesResponse, PingSandboxRequest,
        PingSandboxResponse, Process, ReadFileStreamRequest, ReadFileStreamResponse,
        SendProcessInputRequest, SendProcessInputResponse, SyncRequest, SyncResponse,
        WatchEventsRequest, WatchEventsResponse, WriteFileStreamRequest, WriteFileStreamResponse,
        error_detail::Reason,
        exec_stream_response::{Exited, Started},
    },
};

use super::{
    exec::{self, Output},
    state::{State, refusal},
};

/// Bytes of a file in one message.
const PIECE: usize = 64 * 1024;
/// Output of one stream of a foreground command when the request names no limit.
const OUTPUT_LIMIT: usize = 16 * 1024 * 1024;

/// A command started by ExecStream and not ended yet.
#[derive(Debug)]
struct Live {
    sandbox_id: String,
    command: String,
    stdin: Arc<tokio::sync::Mutex<Option<ChildStdin>>>,
}

#[derive(Debug)]
pub(super) struct Service {
    state: Arc<State>,
    live: Arc<Mutex<HashMap<u32, Live>>>,
}

impl Service {
    pub(super) fn new(state: Arc<State>) -> Self {
        Self {
            state,
            live: Arc::default(),
        }
    }

    /// The file of the simulated guest; `..` never leaves the sandbox's directory.
    fn file(&self, sandbox_id: &str, path: &str) -> Result<PathBuf, ConnectError> {
        let mut file = self.state.directory_of(sandbox_id)?;
        if !path.starts_with('/') {
            file.push("root");
        }
        let parts = path
            .split('/')
            .filter(|part| !matches!(*part, "" | "." | ".."));
        file.extend(parts);
        Ok(file)
    }
}

type Events = Pin<Box<dyn Stream<Item = Result<ExecStreamResponse, ConnectError>> + Send>>;

#[expect(refining_impl_trait, reason = "each method has one concrete reply")]
impl HostAgent for Service {
    async fn create_sandbox(
        &self,
        _ctx: RequestContext,
        request: ServiceRequest<'_, CreateSandboxRequest>,
    ) -> ServiceResult<CreateSandboxResponse> {
        let request = request.to_owned_message();
        let work = async { self.state.create(&request) };
        let sandbox = self.state.faults.around("CreateSandbox", work).await?;
        Response::ok(CreateSandboxResponse {
            sandbox: sandbox.into(),
            ..Default::default()
        })
    }

    async fn destroy_sandbox(
        &self,
        _ctx: RequestContext,
        request: ServiceRequest<'_, DestroySandboxRequest>,
    ) -> ServiceResult<DestroySandboxResponse> {
        let request = request.to_owned_message();
        let work = async { self.state.destroy(&request.operation, &request.sandbox_id) };
        self.state.faults.around("DestroySandbox", work).await?;
        Response::ok(DestroySandboxResponse::default())
    }

    async fn get_sandbox(
        &self,
        _ctx: RequestContext,
        request: ServiceRequest<'_, GetSandboxRequest>,
    ) -> ServiceResult<GetSandboxResponse> {
        let request = request.to_owned_message();
        let work = async { self.state.get(&request.sandbox_id) };
        let sandbox = self.state.faults.around("GetSandbox", work).await?;
        Response::ok(GetSandboxResponse {
            sandbox: sandbox.into(),
            ..Default::default()
        })
    }

    async fn list_sandboxes(
        &self,
        _ctx: RequestContext,
        _request: ServiceRequest<'_, ListSandboxesRequest>,
    ) -> ServiceResult<ListSandboxesResponse> {
        let work = async { Ok(self.state.list()) };
        let sandboxes = self.state.faults.around("ListSandboxes", work).await?;
        Response::ok(ListSandboxesResponse {
            sandboxes,
            ..Default::default()
        })
    }

    async fn ping_sandbox(
        &self,
        _ctx: RequestContext,
        request: ServiceRequest<'_, PingSandboxRequest>,
    ) -> ServiceResult<PingSandboxResponse> {
        let request = request.to_owned_message();
        let work = async { self.state.touch(&request.sandbox_id) };
        self.state.faults.around("PingSandbox", work).await?;
        Response::ok(PingSandboxResponse::default())
    }

    async fn exec(
        &self,
        _ctx: RequestContext,
        request: ServiceRequest<'_, ExecRequest>,
    ) -> ServiceResult<ExecResponse> {
        let request = request.to_owned_message();
        let work = async {
            let directory = self.state.directory_of(&request.sandbox_id)?;
            let environment = self.state.environment_of(&request.sandbox_id)?;
            Ok(run(&request, &environment, directory).await)
        };
        let response = self.state.faults.around("Exec", work).await?;
        Response::ok(response)
    }

    async fn exec_stream(
        &self,
        _ctx: RequestContext,
        request: ServiceRequest<'_, ExecStreamRequest>,
    ) -> ServiceResult<ServiceStream<ExecStreamResponse>> {
        let request = request.to_owned_message();
        let work = async { self.state.directory_of(&request.sandbox_id) };
        let directory = self.state.faults.around("ExecStream", work).await?;
        let environment = self.state.environment_of(&request.sandbox_id)?;
        let mut running = exec::start(&request.command, &environment, &directory, request.stdin);
        let pid = running.pid;
        let live = Live {
            sandbox_id: request.sandbox_id.clone(),
            command: request.command.cmd.clone(),
            stdin: Arc::new(tokio::sync::Mutex::new(running.stdin.take())),
        };
        self.live.lock().insert(pid, live);
        let ended = Forget {
            pid,
            live: Arc::clone(&self.live),
        };
        let deadline = deadline(request.timeout_ms);
        let started = Started {
            pid,
            ..Default::default()
        };
        let first = stream::once(async move { Ok(event(started.into())) });
        let rest = stream::unfold(Some((running, ended)), move |held| async move {
            let (mut running, ended) = held?;
            let (next, last) = match timeout_at(deadline, running.output.recv()).await {
                Ok(Some(Output::Stdout(bytes))) => (Event::Stdout(bytes), false),
                Ok(Some(Output::Stderr(bytes))) => (Event::Stderr(bytes), false),
                Ok(Some(Output::Exited(exit_code))) => (
                    Exited {
                        exit_code,
                        ..Default::default()
                    }
                    .into(),
                    true,
                ),
                Ok(None) => return None,
                Err(_) => {
                    let exited = Exited {
                        exit_code: 137,
                        timed_out: true,
                        ..Default::default()
                    };
                    (exited.into(), true)
                }
            };
            Some((Ok(event(next)), (!last).then_some((running, ended))))
        });
        let events: Events = Box::pin(first.chain(rest));
        Response::ok(events)
    }

    async fn send_process_input(
        &self,
        _ctx: RequestContext,
        request: ServiceRequest<'_, SendProcessInputRequest>,
    ) -> ServiceResult<SendProcessInputResponse> {
        let request = request.to_owned_message();
        let stdin = {
            let live = self.live.lock();
            let process = live.get(&request.pid).ok_or_else(no_process)?;
            Arc::clone(&process.stdin)
        };
        let mut stdin = stdin.lock().await;
        if !request.data.is_empty() {
            let pipe = stdin
                .as_mut()
                .ok_or_else(|| ConnectError::internal("stdin is closed"))?;
            pipe.write_all(&request.data)
                .await
                .map_err(|error| ConnectError::internal(error.to_string()))?;
        }
        if request.close {
            *stdin = None;
        }
        Response::ok(SendProcessInputResponse::default())
    }

    async fn list_processes(
        &self,
        _ctx: RequestContext,
        request: ServiceRequest<'_, ListProcessesRequest>,
    ) -> ServiceResult<ListProcessesResponse> {
        let request = request.to_owned_message();
        let live = self.live.lock();
        let processes = live
            .iter()
            .filter(|(_, process)| process.sandbox_id == request.sandbox_id)
            .map(|(pid, process)| Process {
                pid: *pid,
                cmd: process.command.clone(),
                ..Default::default()
            })
            .collect();
        Response::ok(ListProcessesResponse {
            processes,
            ..Default::default()
        })
    }

    async fn kill_process(
        &self,
        _ctx: RequestContext,
        request: ServiceRequest<'_, KillProcessRequest>,
    ) -> ServiceResult<KillProcessResponse> {
        let request = request.to_owned_message();
        let known = self.live.lock().contains_key(&request.pid);
        let signal = if request.signal == 15 {
            Signal::TERM
        } else {
            Signal::KILL
        };
        if !known || !exec::kill(request.pid, signal) {
            return Err(no_process());
        }
        Response::ok(KillProcessResponse::default())
    }

    async fn read_file_stream(
        &self,
        _ctx: RequestContext,
        request: ServiceRequest<'_, ReadFileStreamRequest>,
    ) -> ServiceResult<ServiceStream<ReadFileStreamResponse>> {
        let request = request.to_owned_message();
        let work = async { self.file(&request.sandbox_id, &request.path) };
        let path = self.state.faults.around("ReadFileStream", work).await?;
        if path.is_dir() {
            let text = "is a directory";
            return Err(refusal(
                ErrorCode::InvalidArgument,
                Reason::IS_A_DIRECTORY,
                text,
            ));
        }
        let file = tokio::fs::File::open(&path)
            .await
            .map_err(|_| refusal(ErrorCode::NotFound, Reason::FILE_NOT_FOUND, "no such file"))?;
        let size = file.metadata().await.map(|data| data.len()).ok();
        let first = ReadFileStreamResponse {
            size,
            ..Default::default()
        };
        let pieces = stream::unfold(file, |mut file| async move {
            let mut data = vec![0; PIECE];
            match file.read(&mut data).await {
                Ok(0) => None,
                Ok(length) => {
                    data.truncate(length);
                    Some((
                        Ok(ReadFileStreamResponse {
                            data,
                            ..Default::default()
                        }),
                        file,
                    ))
                }
                Err(error) => Some((Err(ConnectError::internal(error.to_string())), file)),
            }
        });
        let all: ServiceStream<ReadFileStreamResponse> =
            Box::pin(stream::once(async move { Ok(first) }).chain(pieces));
        Response::ok(all)
    }

    async fn write_file_stream(
        &self,
        _ctx: RequestContext,
        mut requests: InboundStream<WriteFileStreamRequest>,
    ) -> ServiceResult<WriteFileStreamResponse> {
        let mut size = 0;
        let mut file = None;
        let mut ended = false;
        while let Some(message) = requests.next().await {
            match (message?.to_owned_message().part, &mut file) {
                (Some(Part::Head(head)), None) => {
                    let work = async { self.file(&head.sandbox_id, &head.path) };
                    let path = self.state.faults.around("WriteFileStream", work).await?;
                    file = Some(create(path).await?);
                }
                (Some(Part::Data(data)), Some(file)) => {
                    size += data.len() as u64;
                    file.write_all(&data)
                        .await
                        .map_err(|error| ConnectError::internal(error.to_string()))?;
                }
                (Some(Part::End(_)), Some(file)) => {
                    file.flush()
                        .await
                        .map_err(|error| ConnectError::internal(error.to_string()))?;
                    ended = true;
                }
                _ => return Err(ConnectError::invalid_argument("a part out of order")),
            }
        }
        if !ended {
            return Err(ConnectError::canceled("the upload was cut"));
        }
        Response::ok(WriteFileStreamResponse {
            size,
            ..Default::default()
        })
    }

    async fn list_templates(
        &self,
        _ctx: RequestContext,
        _request: ServiceRequest<'_, ListTemplatesRequest>,
    ) -> ServiceResult<ListTemplatesResponse> {
        let templates = self.state.templates();
        Response::ok(ListTemplatesResponse {
            templates,
            ..Default::default()
        })
    }

    async fn get_host_info(
        &self,
        _ctx: RequestContext,
        _request: ServiceRequest<'_, GetHostInfoRequest>,
    ) -> ServiceResult<GetHostInfoResponse> {
        let work = async { Ok(self.state.info()) };
        let info = self.state.faults.around("GetHostInfo", work).await?;
        Response::ok(info)
    }

    async fn sync(
        &self,
        _ctx: RequestContext,
        request: ServiceRequest<'_, SyncRequest>,
    ) -> ServiceResult<SyncResponse> {
        let request = request.to_owned_message();
        let work = async {
            Ok(SyncResponse {
                boot_id: self.state.boot_id().to_owned(),
                seq: *self.state.sequence().borrow(),
                sandboxes: self.state.list(),
                events: self
                    .state
                    .events_after(&request.acked_boot_id, request.acked_seq),
                templates: self.state.templates(),
                host: self.state.info().into(),
                ..Default::default()
            })
        };
        let report = self.state.faults.around("Sync", work).await?;
        Response::ok(report)
    }

    async fn watch_events(
        &self,
        _ctx: RequestContext,
        request: ServiceRequest<'_, WatchEventsRequest>,
    ) -> ServiceResult<ServiceStream<WatchEventsResponse>> {
        let request = request.to_owned_message();
        let state = Arc::clone(&self.state);
        let sequence = state.sequence();
        // Only what the request acknowledges is forgotten: reading never consumes.
        state.events_after(&request.acked_boot_id, request.acked_seq);
        let told = if request.acked_boot_id == state.boot_id() {
            request.acked_seq
        } else {
            0
        };
        let events = stream::unfold(
            (state, sequence, told),
            |(state, mut sequence, told)| async move {
                loop {
                    sequence.borrow_and_update();
                    if let Some(next) = state.event_after(told) {
                        let told = next.seq;
                        let message = WatchEventsResponse {
                            boot_id: state.boot_id().to_owned(),
                            event: next.into(),
                            ..Default::default()
                        };
                        return Some((Ok(message), (state, sequence, told)));
                    }
                    sequence.changed().await.ok()?;
                }
            },
        );
        let events: ServiceStream<WatchEventsResponse> = Box::pin(events);
        Response::ok(events)
    }
}

/// Forgets a live command when its stream ends, however it ends.
#[derive(Debug)]
struct Forget {
    pid: u32,
    live: Arc<Mutex<HashMap<u32, Live>>>,
}

impl Drop for Forget {
    fn drop(&mut self) {
        self.live.lock().remove(&self.pid);
    }
}

async fn run(
    request: &ExecRequest,
    environment: &HashMap<String, String>,
    directory: PathBuf,
) -> ExecResponse {
    let begun = Instant::now();
    let deadline = deadline(request.timeout_ms);
    let limit = match request.output_limit_bytes as usize {
        0 => OUTPUT_LIMIT,
        limit => limit,
    };
    let mut running = exec::start(&request.command, environment, &directory, false);
    let mut response = ExecResponse::default();
    loop {
        let (stream, bytes) = match timeout_at(deadline, running.output.recv()).await {
            Ok(Some(Output::Stdout(bytes))) => (&mut response.stdout, bytes),
            Ok(Some(Output::Stderr(bytes))) => (&mut response.stderr, bytes),
            Ok(Some(Output::Exited(code))) => {
                response.exit_code = code;
                break;
            }
            Ok(None) => break,
            Err(_) => {
                response.timed_out = true;
                response.exit_code = 137;
                break;
            }
        };
        let room = limit.saturating_sub(stream.len()).min(bytes.len());
        stream.extend_from_slice(&bytes[..room]);
        response.truncated |= room < bytes.len();
    }
    response.duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    response
}

async fn create(path: PathBuf) -> Result<tokio::fs::File, ConnectError> {
    if path.is_dir() {
        let text = "is a directory";
        return Err(refusal(
            ErrorCode::AlreadyExists,
            Reason::IS_A_DIRECTORY,
            text,
        ));
    }
    if let Some(parent) = path.parent() {
        let made = tokio::fs::create_dir_all(parent).await;
        made.map_err(|error| ConnectError::internal(error.to_string()))?;
    }
    let made = tokio::fs::File::create(path).await;
    made.map_err(|error| ConnectError::internal(error.to_string()))
}

/// The instant so many milliseconds ahead; 0 means a day, longer than any test.
fn deadline(timeout_ms: u32) -> Instant {
    let time = if timeout_ms == 0 {
        24 * 3600 * 1000
    } else {
        u64::from(timeout_ms)
    };
    Instant::now() + Duration::from_millis(time)
}

fn event(event: Event) -> ExecStreamResponse {
    ExecStreamResponse {
        event: Some(event),
        ..Default::default()
    }
}

fn no_process() -> ConnectError {
    refusal(
        ErrorCode::NotFound,
        Reason::PROCESS_NOT_FOUND,
        "no such process",
    )
}
