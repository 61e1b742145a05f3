//! The contract's methods over [`State`].

use std::{collections::HashMap, path::PathBuf, sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::{Instant, timeout_at},
};
use wrenn_rpc::{
    connectrpc::{
        ConnectError, ErrorCode, InboundStream, RequestContext, Response, ServiceRequest,
        ServiceResult, ServiceStream,
    },
    hostagent::{
        __buffa::oneof::write_file_stream_request::Part, CreateSandboxRequest,
        CreateSandboxResponse, CreateSnapshotRequest, CreateSnapshotResponse,
        DeleteSnapshotRequest, DeleteSnapshotResponse, DestroySandboxRequest,
        DestroySandboxResponse, ExecRequest, ExecResponse, ExecStreamRequest, ExecStreamResponse,
        ForkSandboxRequest, ForkSandboxResponse, GetHostInfoRequest, GetHostInfoResponse,
        GetSandboxRequest, GetSandboxResponse, HostAgent, KillProcessRequest, KillProcessResponse,
        ListProcessesRequest, ListProcessesResponse, ListSandboxesRequest, ListSandboxesResponse,
        ListTemplatesRequest, ListTemplatesResponse, PauseSandboxRequest, PauseSandboxResponse,
        PingSandboxRequest, PingSandboxResponse, ReadFileStreamRequest, ReadFileStreamResponse,
        ResumeSandboxRequest, ResumeSandboxResponse, SendProcessInputRequest,
        SendProcessInputResponse, StartBackgroundRequest, StartBackgroundResponse, SyncRequest,
        SyncResponse, UpdateSandboxRequest, UpdateSandboxResponse, WatchEventsRequest,
        WatchEventsResponse, WriteFileStreamRequest, WriteFileStreamResponse, error_detail::Reason,
    },
};

use super::{
    exec::{self, Output},
    processes::Processes,
    state::{State, refusal},
};

/// Bytes of a file in one message.
const PIECE: usize = 64 * 1024;
/// Output of one stream of a foreground command when the request names no limit.
const OUTPUT_LIMIT: usize = 16 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct Service {
    state: Arc<State>,
    processes: Processes,
}

impl Service {
    pub(super) fn new(state: Arc<State>) -> Self {
        Self {
            state,
            processes: Processes::default(),
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

    async fn pause_sandbox(
        &self,
        _ctx: RequestContext,
        request: ServiceRequest<'_, PauseSandboxRequest>,
    ) -> ServiceResult<PauseSandboxResponse> {
        let request = request.to_owned_message();
        let work = async { self.state.pause(&request) };
        let sandbox = self.state.faults.around("PauseSandbox", work).await?;
        Response::ok(PauseSandboxResponse {
            sandbox: sandbox.into(),
            ..Default::default()
        })
    }

    async fn resume_sandbox(
        &self,
        _ctx: RequestContext,
        request: ServiceRequest<'_, ResumeSandboxRequest>,
    ) -> ServiceResult<ResumeSandboxResponse> {
        let request = request.to_owned_message();
        let work = async { self.state.resume(&request) };
        let sandbox = self.state.faults.around("ResumeSandbox", work).await?;
        Response::ok(ResumeSandboxResponse {
            sandbox: sandbox.into(),
            ..Default::default()
        })
    }

    async fn fork_sandbox(
        &self,
        _ctx: RequestContext,
        request: ServiceRequest<'_, ForkSandboxRequest>,
    ) -> ServiceResult<ForkSandboxResponse> {
        let request = request.to_owned_message();
        let work = async { self.state.fork(&request) };
        let children = self.state.faults.around("ForkSandbox", work).await?;
        Response::ok(ForkSandboxResponse {
            children,
            ..Default::default()
        })
    }

    async fn update_sandbox(
        &self,
        _ctx: RequestContext,
        request: ServiceRequest<'_, UpdateSandboxRequest>,
    ) -> ServiceResult<UpdateSandboxResponse> {
        let request = request.to_owned_message();
        let work = async { self.state.update(&request) };
        let sandbox = self.state.faults.around("UpdateSandbox", work).await?;
        Response::ok(UpdateSandboxResponse {
            sandbox: sandbox.into(),
            ..Default::default()
        })
    }

    async fn create_snapshot(
        &self,
        _ctx: RequestContext,
        request: ServiceRequest<'_, CreateSnapshotRequest>,
    ) -> ServiceResult<CreateSnapshotResponse> {
        let request = request.to_owned_message();
        let work = async { self.state.create_snapshot(&request) };
        let template = self.state.faults.around("CreateSnapshot", work).await?;
        Response::ok(CreateSnapshotResponse {
            template: template.into(),
            ..Default::default()
        })
    }

    async fn delete_snapshot(
        &self,
        _ctx: RequestContext,
        request: ServiceRequest<'_, DeleteSnapshotRequest>,
    ) -> ServiceResult<DeleteSnapshotResponse> {
        let request = request.to_owned_message();
        let work = async { self.state.delete_snapshot(&request.template_id) };
        self.state.faults.around("DeleteSnapshot", work).await?;
        Response::ok(DeleteSnapshotResponse::default())
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
        Response::ok(self.processes.stream(request, &environment, &directory))
    }

    async fn start_background(
        &self,
        _ctx: RequestContext,
        request: ServiceRequest<'_, StartBackgroundRequest>,
    ) -> ServiceResult<StartBackgroundResponse> {
        let request = request.to_owned_message();
        let work = async {
            let directory = self.state.directory_of(&request.sandbox_id)?;
            let environment = self.state.environment_of(&request.sandbox_id)?;
            self.processes
                .start_background(&request, &environment, &directory)
        };
        let pid = self.state.faults.around("StartBackground", work).await?;
        Response::ok(StartBackgroundResponse {
            pid,
            ..Default::default()
        })
    }

    async fn send_process_input(
        &self,
        _ctx: RequestContext,
        request: ServiceRequest<'_, SendProcessInputRequest>,
    ) -> ServiceResult<SendProcessInputResponse> {
        self.processes.input(request.to_owned_message()).await?;
        Response::ok(SendProcessInputResponse::default())
    }

    async fn list_processes(
        &self,
        _ctx: RequestContext,
        request: ServiceRequest<'_, ListProcessesRequest>,
    ) -> ServiceResult<ListProcessesResponse> {
        Response::ok(ListProcessesResponse {
            processes: self.processes.list(request.sandbox_id),
            ..Default::default()
        })
    }

    async fn kill_process(
        &self,
        _ctx: RequestContext,
        request: ServiceRequest<'_, KillProcessRequest>,
    ) -> ServiceResult<KillProcessResponse> {
        self.processes.kill(&request.to_owned_message())?;
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
pub(super) fn deadline(timeout_ms: u32) -> Instant {
    let time = if timeout_ms == 0 {
        24 * 3600 * 1000
    } else {
        u64::from(timeout_ms)
    };
    Instant::now() + Duration::from_millis(time)
}
