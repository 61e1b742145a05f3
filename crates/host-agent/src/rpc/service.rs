//! The calls: each parses, asks the registry or the guest, and answers.

use std::{sync::Arc, time::Instant};

use futures::{StreamExt as _, TryStreamExt as _};
use wrenn_ids::{HostId, SandboxId, TemplateId};
use wrenn_rpc::{
    connectrpc::{
        ConnectError, InboundStream, RequestContext, Response, ServiceRequest, ServiceResult,
        ServiceStream,
    },
    hostagent::{
        self as wire, CreateSandboxRequest, CreateSandboxResponse, CreateSnapshotRequest,
        CreateSnapshotResponse, DeleteSnapshotRequest, DeleteSnapshotResponse,
        DestroySandboxRequest, DestroySandboxResponse, ExecRequest, ExecResponse,
        ExecStreamRequest, ExecStreamResponse, ForkSandboxRequest, ForkSandboxResponse,
        GetHostInfoRequest, GetHostInfoResponse, GetSandboxRequest, GetSandboxResponse, HostAgent,
        KillProcessRequest, KillProcessResponse, ListProcessesRequest, ListProcessesResponse,
        ListSandboxesRequest, ListSandboxesResponse, ListTemplatesRequest, ListTemplatesResponse,
        PauseSandboxRequest, PauseSandboxResponse, PingSandboxRequest, PingSandboxResponse,
        ReadFileStreamRequest, ReadFileStreamResponse, ResumeSandboxRequest, ResumeSandboxResponse,
        SendProcessInputRequest, SendProcessInputResponse, StartBackgroundRequest,
        StartBackgroundResponse, SyncRequest, SyncResponse, UpdateSandboxRequest,
        UpdateSandboxResponse, WatchEventsRequest, WatchEventsResponse, WriteFileStreamRequest,
        WriteFileStreamResponse, kill_process_request,
    },
    process::{Signal, process_selector::Selector},
};

use super::{error::CallError, exec, files, hosts, parse, processes, sandboxes};
use crate::{
    chain,
    envd::Stdin,
    sandbox::{Idle, InUse, Refused, Registry, View, seed::SnapshotTemplate},
};

/// Serves one host.
#[derive(Debug)]
pub(super) struct Service {
    registry: Arc<Registry>,
    host_id: HostId,
}

impl Service {
    pub(super) fn new(registry: Arc<Registry>, host_id: HostId) -> Self {
        Self { registry, host_id }
    }

    fn in_use(&self, sandbox_id: &str) -> Result<InUse, CallError> {
        let id: SandboxId = parse::id("sandbox_id", sandbox_id)?;
        Ok(self.registry.in_use(id)?)
    }

    fn templates(&self) -> Result<Vec<wire::Template>, CallError> {
        let found = self.registry.host().images.templates().map_err(|error| {
            tracing::error!(error = %chain(&error), "templates cannot be listed");
            CallError::internal("the host's templates cannot be listed")
        })?;
        let host = self.registry.host();
        let snapshots = SnapshotTemplate::list(&host.snapshot_templates());
        let snapshots = snapshots
            .iter()
            .map(|(id, template)| hosts::snapshot_template(host, *id, template));
        Ok(found
            .into_iter()
            .map(hosts::template)
            .chain(snapshots)
            .collect())
    }

    fn sandboxes(&self) -> Vec<wire::Sandbox> {
        let views = self.registry.list();
        views.iter().map(|view| self.wire(view)).collect()
    }

    fn wire(&self, view: &View) -> wire::Sandbox {
        sandboxes::sandbox(self.registry.host(), view)
    }
}

#[expect(
    refining_impl_trait,
    reason = "the answers are plain messages; nobody names this impl"
)]
impl HostAgent for Service {
    async fn create_sandbox(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, CreateSandboxRequest>,
    ) -> ServiceResult<CreateSandboxResponse> {
        let request = request.to_owned_message();
        let op = parse::operation(request.operation.as_option(), self.host_id)?;
        let spec = parse::spec(request)?;
        let view = self
            .registry
            .create(spec, &op)
            .await
            .map_err(CallError::from)?;
        let sandbox = self.wire(&view).into();
        Response::ok(CreateSandboxResponse {
            sandbox,
            ..Default::default()
        })
    }

    async fn destroy_sandbox(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, DestroySandboxRequest>,
    ) -> ServiceResult<DestroySandboxResponse> {
        let request = request.to_owned_message();
        let op = parse::operation(request.operation.as_option(), self.host_id)?;
        let id = parse::id("sandbox_id", &request.sandbox_id)?;
        self.registry
            .destroy(id, &op)
            .await
            .map_err(CallError::from)?;
        Response::ok(DestroySandboxResponse::default())
    }

    async fn get_sandbox(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, GetSandboxRequest>,
    ) -> ServiceResult<GetSandboxResponse> {
        let id = parse::id("sandbox_id", request.sandbox_id)?;
        let view = self.registry.get(id).map_err(CallError::from)?;
        let sandbox = self.wire(&view).into();
        Response::ok(GetSandboxResponse {
            sandbox,
            ..Default::default()
        })
    }

    async fn list_sandboxes(
        &self,
        _: RequestContext,
        _: ServiceRequest<'_, ListSandboxesRequest>,
    ) -> ServiceResult<ListSandboxesResponse> {
        Response::ok(ListSandboxesResponse {
            sandboxes: self.sandboxes(),
            ..Default::default()
        })
    }

    async fn ping_sandbox(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, PingSandboxRequest>,
    ) -> ServiceResult<PingSandboxResponse> {
        self.in_use(request.sandbox_id)?.touch();
        Response::ok(PingSandboxResponse::default())
    }

    async fn pause_sandbox(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, PauseSandboxRequest>,
    ) -> ServiceResult<PauseSandboxResponse> {
        let request = request.to_owned_message();
        let op = parse::operation(request.operation.as_option(), self.host_id)?;
        let id = parse::id("sandbox_id", &request.sandbox_id)?;
        let reason = parse::pause_reason(request.reason)?;
        let paused = self.registry.pause(id, &op, reason).await;
        let sandbox = self.wire(&paused.map_err(CallError::from)?).into();
        Response::ok(PauseSandboxResponse {
            sandbox,
            ..Default::default()
        })
    }

    async fn resume_sandbox(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, ResumeSandboxRequest>,
    ) -> ServiceResult<ResumeSandboxResponse> {
        let request = request.to_owned_message();
        let op = parse::operation(request.operation.as_option(), self.host_id)?;
        let id = parse::id("sandbox_id", &request.sandbox_id)?;
        let idle = Idle {
            timeout_sec: request.idle_timeout_sec,
            on_idle: parse::on_idle(request.on_idle)?.unwrap_or_default(),
        };
        let resumed = self.registry.resume(id, &op, idle).await;
        let sandbox = self.wire(&resumed.map_err(CallError::from)?).into();
        Response::ok(ResumeSandboxResponse {
            sandbox,
            ..Default::default()
        })
    }

    async fn fork_sandbox(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, ForkSandboxRequest>,
    ) -> ServiceResult<ForkSandboxResponse> {
        let request = request.to_owned_message();
        let op = parse::operation(request.operation.as_option(), self.host_id)?;
        let id = parse::id("sandbox_id", &request.sandbox_id)?;
        let children = parse::children(id, &request.child_ids)?;
        let idle = Idle {
            timeout_sec: request.idle_timeout_sec,
            on_idle: parse::on_idle(request.on_idle)?.unwrap_or_default(),
        };
        let forked = self.registry.fork(id, op, children, idle).await;
        let children = forked.map_err(CallError::from)?;
        Response::ok(ForkSandboxResponse {
            children: children.iter().map(|child| self.wire(child)).collect(),
            ..Default::default()
        })
    }

    async fn update_sandbox(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, UpdateSandboxRequest>,
    ) -> ServiceResult<UpdateSandboxResponse> {
        let request = request.to_owned_message();
        let op = parse::operation(request.operation.as_option(), self.host_id)?;
        let id = parse::id("sandbox_id", &request.sandbox_id)?;
        let update = parse::update(request)?;
        let updated = self.registry.update(id, &op, update).await;
        let sandbox = self.wire(&updated.map_err(CallError::from)?).into();
        Response::ok(UpdateSandboxResponse {
            sandbox,
            ..Default::default()
        })
    }

    async fn create_snapshot(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, CreateSnapshotRequest>,
    ) -> ServiceResult<CreateSnapshotResponse> {
        let request = request.to_owned_message();
        let op = parse::operation(request.operation.as_option(), self.host_id)?;
        let id = parse::id("sandbox_id", &request.sandbox_id)?;
        let template_id = parse::id("template_id", &request.template_id)?;
        let kept = self
            .registry
            .keep(id, &op, template_id, &request.name)
            .await;
        let kept = kept.map_err(CallError::from)?;
        let template = hosts::snapshot_template(self.registry.host(), template_id, &kept).into();
        Response::ok(CreateSnapshotResponse {
            template,
            ..Default::default()
        })
    }

    async fn delete_snapshot(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, DeleteSnapshotRequest>,
    ) -> ServiceResult<DeleteSnapshotResponse> {
        let template_id: TemplateId = parse::id("template_id", request.template_id)?;
        let directory = self.registry.host().snapshot_template(template_id);
        let removed = tokio::task::spawn_blocking(move || SnapshotTemplate::remove(&directory));
        match removed.await {
            Ok(Ok(())) => Response::ok(DeleteSnapshotResponse::default()),
            Ok(Err(error)) => {
                tracing::error!(%template_id, error = %chain(&error), "a snapshot template stays");
                Err(CallError::internal("the host could not delete the template").into())
            }
            Err(_) => Err(CallError::from(Refused::Stopping).into()),
        }
    }

    async fn exec(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, ExecRequest>,
    ) -> ServiceResult<ExecResponse> {
        let begun = Instant::now();
        let request = request.to_owned_message();
        let in_use = self.in_use(&request.sandbox_id)?;
        let command = request.command.into_option();
        let mut launch = parse::launch(command, request.timeout_ms, Stdin::Null)?;
        launch.limit = Some(launch.limit.unwrap_or(exec::MOST_TIME).min(exec::MOST_TIME));
        let process = in_use.envd.launch(launch, &self.registry.host().tasks);
        Response::ok(exec::collect(process, request.output_limit_bytes, begun).await?)
    }

    async fn exec_stream(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, ExecStreamRequest>,
    ) -> ServiceResult<ServiceStream<ExecStreamResponse>> {
        let request = request.to_owned_message();
        let in_use = self.in_use(&request.sandbox_id)?;
        let stdin = if request.stdin {
            Stdin::Pipe
        } else {
            Stdin::Null
        };
        let launch = parse::launch(request.command.into_option(), request.timeout_ms, stdin)?;
        let process = in_use.envd.launch(launch, &self.registry.host().tasks);
        Ok(Response::stream(
            exec::follow(process, in_use).map_err(ConnectError::from),
        ))
    }

    async fn start_background(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, StartBackgroundRequest>,
    ) -> ServiceResult<StartBackgroundResponse> {
        let request = request.to_owned_message();
        let in_use = self.in_use(&request.sandbox_id)?;
        let launch = parse::launch(request.command.into_option(), 0, Stdin::Null)?;
        let tag = parse::tag("tag", request.tag)?;
        let started = in_use.envd.start_background(launch, tag).await;
        Response::ok(StartBackgroundResponse {
            pid: started.map_err(CallError::from)?,
            ..Default::default()
        })
    }

    async fn send_process_input(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, SendProcessInputRequest>,
    ) -> ServiceResult<SendProcessInputResponse> {
        let request = request.to_owned_message();
        let in_use = self.in_use(&request.sandbox_id)?;
        if !request.data.is_empty() {
            in_use
                .envd
                .send_input(request.pid, request.data)
                .await
                .map_err(CallError::from)?;
        }
        if request.close {
            in_use
                .envd
                .close_input(request.pid)
                .await
                .map_err(CallError::from)?;
        }
        Response::ok(SendProcessInputResponse::default())
    }

    async fn list_processes(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, ListProcessesRequest>,
    ) -> ServiceResult<ListProcessesResponse> {
        let in_use = self.in_use(request.sandbox_id)?;
        let found = in_use.envd.processes().await.map_err(CallError::from)?;
        let processes = found.into_iter().map(processes::process).collect();
        Response::ok(ListProcessesResponse {
            processes,
            ..Default::default()
        })
    }

    async fn kill_process(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, KillProcessRequest>,
    ) -> ServiceResult<KillProcessResponse> {
        let request = request.to_owned_message();
        let in_use = self.in_use(&request.sandbox_id)?;
        let process = match request.process {
            Some(kill_process_request::Process::Pid(pid)) => Selector::Pid(pid),
            Some(kill_process_request::Process::Tag(tag)) => {
                Selector::Tag(parse::tag("process", tag)?)
            }
            None => return Err(CallError::invalid("process is missing").into()),
        };
        let signal = match request.signal {
            15 => Signal::Sigterm,
            9 => Signal::Sigkill,
            _ => return Err(CallError::invalid("signal must be 15 or 9").into()),
        };
        in_use
            .envd
            .signal(process, signal)
            .await
            .map_err(CallError::from)?;
        Response::ok(KillProcessResponse::default())
    }

    async fn read_file_stream(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, ReadFileStreamRequest>,
    ) -> ServiceResult<ServiceStream<ReadFileStreamResponse>> {
        let in_use = self.in_use(request.sandbox_id)?;
        parse::path("path", request.path)?;
        let content = in_use
            .envd
            .read_file(request.path)
            .await
            .map_err(CallError::from)?;
        Ok(Response::stream(
            files::pieces(content, in_use).map_err(ConnectError::from),
        ))
    }

    async fn write_file_stream(
        &self,
        _: RequestContext,
        requests: InboundStream<WriteFileStreamRequest>,
    ) -> ServiceResult<WriteFileStreamResponse> {
        let find = |id| -> Result<InUse, Refused> { self.registry.in_use_by_writer(id) };
        Response::ok(files::write(requests, find, &self.registry.host().tasks).await?)
    }

    async fn list_templates(
        &self,
        _: RequestContext,
        _: ServiceRequest<'_, ListTemplatesRequest>,
    ) -> ServiceResult<ListTemplatesResponse> {
        Response::ok(ListTemplatesResponse {
            templates: self.templates()?,
            ..Default::default()
        })
    }

    async fn get_host_info(
        &self,
        _: RequestContext,
        _: ServiceRequest<'_, GetHostInfoRequest>,
    ) -> ServiceResult<GetHostInfoResponse> {
        Response::ok(hosts::info(&self.registry, self.host_id))
    }

    async fn sync(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, SyncRequest>,
    ) -> ServiceResult<SyncResponse> {
        let events = &self.registry.host().events;
        if let Err(error) = events.acknowledge(request.acked_boot_id, request.acked_seq) {
            tracing::error!(error = %chain(&error), "an acknowledgement is not durable");
        }
        Response::ok(SyncResponse {
            boot_id: events.boot_id().to_owned(),
            seq: events.last_seq(),
            sandboxes: self.sandboxes(),
            events: events.after(0).into_iter().map(hosts::event).collect(),
            templates: self.templates()?,
            host: hosts::info(&self.registry, self.host_id).into(),
            ..SyncResponse::default()
        })
    }

    async fn watch_events(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, WatchEventsRequest>,
    ) -> ServiceResult<ServiceStream<WatchEventsResponse>> {
        let host = self.registry.host();
        let seq = match request.acked_boot_id == host.events.boot_id() {
            true => request.acked_seq,
            false => 0,
        };
        let watch = hosts::watch(Arc::clone(&host.events), seq, host.stopping.clone());
        Response::stream_ok(watch.map(Ok))
    }
}
