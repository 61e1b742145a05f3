//! The calls that change sandboxes, as futures: for tests that make several at once or that expect errors.

use std::time::Duration;

use wrenn_ids::{SandboxId, TemplateId};
use wrenn_rpc::{
    connectrpc::{ConnectError, client::CallOptions},
    hostagent::{
        CreateSandboxRequest, CreateSnapshotRequest, DeleteSnapshotRequest, DestroySandboxRequest,
        ExecRequest, ForkSandboxRequest, PauseSandboxRequest, ResumeSandboxRequest, Sandbox,
        SandboxState, UpdateSandboxRequest,
    },
};
use wrenn_testkit::virtual_host_agent::AgentHost;

use crate::fixture::{command, operation};

pub(crate) type Answer<T> = Result<T, ConnectError>;

/// Long enough for everything that waits behind everything else, emulated.
pub(crate) fn patient() -> CallOptions {
    CallOptions::default().with_timeout(Duration::from_secs(300))
}

/// A sandbox of 256 MiB from `template`; [`TemplateId::ZERO`] boots.
pub(crate) fn create_of(
    host: &AgentHost,
    id: SandboxId,
    template: TemplateId,
) -> impl Future<Output = Answer<()>> + Send + use<> {
    let request = CreateSandboxRequest {
        template_id: template.to_string(),
        ..crate::fixture::create_request(host, id)
    };
    let client = host.client.clone();
    async move {
        let created = client.create_sandbox_with_options(request, patient()).await;
        created.map(drop)
    }
}

pub(crate) fn destroy(
    host: &AgentHost,
    id: SandboxId,
) -> impl Future<Output = Answer<()>> + Send + use<> {
    let request = DestroySandboxRequest {
        operation: operation(host, 2).into(),
        sandbox_id: id.to_string(),
        ..DestroySandboxRequest::default()
    };
    let client = host.client.clone();
    async move {
        let destroyed = client
            .destroy_sandbox_with_options(request, patient())
            .await;
        destroyed.map(drop)
    }
}

pub(crate) fn pause(
    host: &AgentHost,
    id: SandboxId,
) -> impl Future<Output = Answer<Sandbox>> + Send + use<> {
    let request = PauseSandboxRequest {
        operation: operation(host, 1).into(),
        sandbox_id: id.to_string(),
        ..PauseSandboxRequest::default()
    };
    let client = host.client.clone();
    async move {
        let paused = client.pause_sandbox_with_options(request, patient()).await;
        Ok(paused?.into_owned().sandbox.into_option().expect("told"))
    }
}

pub(crate) fn resume(
    host: &AgentHost,
    id: SandboxId,
) -> impl Future<Output = Answer<Sandbox>> + Send + use<> {
    let request = ResumeSandboxRequest {
        operation: operation(host, 1).into(),
        sandbox_id: id.to_string(),
        ..ResumeSandboxRequest::default()
    };
    let client = host.client.clone();
    async move {
        let resumed = client.resume_sandbox_with_options(request, patient()).await;
        Ok(resumed?.into_owned().sandbox.into_option().expect("told"))
    }
}

/// Sets when it is left alone; 0: never.
pub(crate) fn idle_after(
    host: &AgentHost,
    id: SandboxId,
    seconds: u32,
) -> impl Future<Output = Answer<()>> + Send + use<> {
    let request = UpdateSandboxRequest {
        operation: operation(host, 1).into(),
        sandbox_id: id.to_string(),
        idle_timeout_sec: Some(seconds),
        ..UpdateSandboxRequest::default()
    };
    let client = host.client.clone();
    async move {
        let updated = client.update_sandbox_with_options(request, patient()).await;
        updated.map(drop)
    }
}

pub(crate) fn fork_request(
    host: &AgentHost,
    id: SandboxId,
    children: &[SandboxId],
) -> ForkSandboxRequest {
    ForkSandboxRequest {
        operation: operation(host, 1).into(),
        sandbox_id: id.to_string(),
        child_ids: children.iter().map(ToString::to_string).collect(),
        ..ForkSandboxRequest::default()
    }
}

pub(crate) fn fork(
    host: &AgentHost,
    request: ForkSandboxRequest,
) -> impl Future<Output = Answer<Vec<Sandbox>>> + Send + use<> {
    let client = host.client.clone();
    async move {
        let forked = client.fork_sandbox_with_options(request, patient()).await;
        Ok(forked?.into_owned().children)
    }
}

pub(crate) fn keep_request(
    host: &AgentHost,
    id: SandboxId,
    template: TemplateId,
) -> CreateSnapshotRequest {
    CreateSnapshotRequest {
        operation: operation(host, 1).into(),
        sandbox_id: id.to_string(),
        template_id: template.to_string(),
        name: "kept".to_owned(),
        ..CreateSnapshotRequest::default()
    }
}

/// A snapshot template of it.
pub(crate) fn keep(
    host: &AgentHost,
    request: CreateSnapshotRequest,
) -> impl Future<Output = Answer<()>> + Send + use<> {
    let client = host.client.clone();
    async move {
        let kept = client
            .create_snapshot_with_options(request, patient())
            .await;
        kept.map(drop)
    }
}

pub(crate) fn delete_template(
    host: &AgentHost,
    template: TemplateId,
) -> impl Future<Output = Answer<()>> + Send + use<> {
    let request = DeleteSnapshotRequest {
        template_id: template.to_string(),
        ..DeleteSnapshotRequest::default()
    };
    let client = host.client.clone();
    async move {
        let deleted = client
            .delete_snapshot_with_options(request, patient())
            .await;
        deleted.map(drop)
    }
}

/// Standard output of a shell line that must end with 0 if it is run at all.
pub(crate) fn shell(
    host: &AgentHost,
    id: SandboxId,
    line: &str,
) -> impl Future<Output = Answer<String>> + Send + use<> {
    let request = ExecRequest {
        sandbox_id: id.to_string(),
        command: command(&["/bin/sh", "-c", line]).into(),
        timeout_ms: 290_000,
        ..ExecRequest::default()
    };
    let (client, line) = (host.client.clone(), line.to_owned());
    async move {
        let done = client.exec_with_options(request, patient()).await?;
        let done = done.into_owned();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert_eq!(done.exit_code, 0, "`{line}`: {}", text(&done.stderr));
        Ok(text(&done.stdout))
    }
}

pub(crate) fn state(sandbox: &Sandbox) -> SandboxState {
    sandbox.state.as_known().expect("a state that is known")
}
