//! What the simulated agent remembers: sandboxes, results by operation, events not yet acknowledged.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Display,
    path::{Path, PathBuf},
    str::FromStr,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::sync::watch;
use wrenn_ids::{HostId, SandboxId, TemplateId};
use wrenn_rpc::{
    buffa::EnumValue,
    connectrpc::{ConnectError, ErrorCode, ErrorDetail as WireDetail},
    hostagent::{
        __buffa::oneof::host_event::Kind, CreateSandboxRequest, ErrorDetail, GetHostInfoResponse,
        HostEvent, OnIdle, Operation, Sandbox, SandboxState, Template, Versions,
        error_detail::Reason, host_event,
    },
};

use super::{Faults, sleep::wrong_state};

/// What the host claims to have.
#[derive(Debug, Clone, Copy)]
pub struct Capacity {
    /// Logical processors.
    pub cpu_cores: u32,
    /// MiB.
    pub memory_mib: u64,
    /// MiB.
    pub disk_mib: u64,
}

impl Default for Capacity {
    fn default() -> Self {
        Self {
            cpu_cores: 64,
            memory_mib: 512 * 1024,
            disk_mib: 8 * 1024 * 1024,
        }
    }
}

/// A sandbox in the census.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub id: SandboxId,
    /// The generation of the last operation on it.
    pub generation: u64,
    /// Whether it is paused.
    pub paused: bool,
    /// Idle seconds that the agent counts to.
    pub idle_timeout_sec: u32,
    /// Whether idleness destroys it.
    pub destroyed_when_idle: bool,
}

#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) sandboxes: BTreeMap<SandboxId, Sandbox>,
    pub(super) highest: HashMap<SandboxId, u64>,
    pub(super) environments: HashMap<SandboxId, HashMap<String, String>>,
    done: HashMap<String, Result<Option<Sandbox>, ErrorCode>>,
    events: Vec<HostEvent>,
    pub(super) snapshots: BTreeMap<TemplateId, Template>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) faults: Faults,
    host_id: HostId,
    boot_id: String,
    capacity: Capacity,
    pub(super) held: Mutex<Held>,
    directory: TempDir,
    /// The newest event's number; wakes watchers.
    sequence: watch::Sender<u64>,
}

impl State {
    pub(super) fn new(host_id: HostId, capacity: Capacity) -> Result<Self> {
        Ok(Self {
            faults: Faults::default(),
            host_id,
            boot_id: uuid::Uuid::new_v4().to_string(),
            capacity,
            held: Mutex::default(),
            directory: TempDir::new().context("make a directory for simulated sandboxes")?,
            sequence: watch::Sender::new(0),
        })
    }

    pub(super) fn census(&self) -> Vec<Listed> {
        let held = self.held.lock();
        let listed = |(id, sandbox): (&SandboxId, &Sandbox)| Listed {
            id: *id,
            generation: sandbox.generation,
            paused: sandbox.state.as_known() == Some(SandboxState::Paused),
            idle_timeout_sec: sandbox.idle_timeout_sec,
            destroyed_when_idle: sandbox.on_idle.as_known() == Some(OnIdle::Destroy),
        };
        held.sandboxes.iter().map(listed).collect()
    }

    pub(super) fn create(&self, request: &CreateSandboxRequest) -> Result<Sandbox, ConnectError> {
        let id = parse::<SandboxId>(&request.sandbox_id)?;
        let template = parse::<TemplateId>(&request.template_id)?;
        self.once(&request.operation, id, |held, generation| {
            if !held.has_template(template) {
                let text = "no such template on this host";
                return Err(refusal(
                    ErrorCode::NotFound,
                    Reason::TEMPLATE_NOT_FOUND,
                    text,
                ));
            }
            if u64::from(request.memory_mib) > self.capacity.memory_mib {
                let text = "not enough memory";
                return Err(refusal(
                    ErrorCode::ResourceExhausted,
                    Reason::NO_CAPACITY,
                    text,
                ));
            }
            let now = now_ms();
            let sandbox = Sandbox {
                sandbox_id: id.to_string(),
                generation,
                state: EnumValue::Known(SandboxState::SANDBOX_STATE_RUNNING),
                template_id: template.to_string(),
                vcpus: request.vcpus,
                memory_mib: request.memory_mib,
                disk_mib: request.disk_mib,
                guest_ip: "169.254.0.21".to_owned(),
                host_ip: "10.11.0.1".to_owned(),
                versions: versions().into(),
                started_at_ms: now,
                last_active_at_ms: now,
                disk_used_bytes: 4096,
                idle_timeout_sec: request.idle_timeout_sec,
                on_idle: request.on_idle,
                ..Sandbox::default()
            };
            held.sandboxes.insert(id, sandbox.clone());
            held.environments
                .insert(id, request.envs.clone().into_iter().collect());
            self.copy_files(template, id)?;
            Ok(Some(sandbox))
        })?
        .ok_or_else(|| ConnectError::internal("the operation was not a creation"))
    }

    pub(super) fn destroy(&self, operation: &Operation, id: &str) -> Result<(), ConnectError> {
        let id = parse::<SandboxId>(id)?;
        self.once(operation, id, |held, _| {
            held.sandboxes
                .remove(&id)
                .map(|_| None)
                .ok_or_else(not_found)
        })?;
        Ok(())
    }

    /// Runs `work` unless this operation was answered already or comes from the past.
    pub(super) fn once(
        &self,
        operation: &Operation,
        id: SandboxId,
        work: impl FnOnce(&mut Held, u64) -> Result<Option<Sandbox>, ConnectError>,
    ) -> Result<Option<Sandbox>, ConnectError> {
        if !operation.host_id.is_empty() && operation.host_id != self.host_id.to_string() {
            let text = "this is another host";
            return Err(refusal(
                ErrorCode::FailedPrecondition,
                Reason::WRONG_HOST,
                text,
            ));
        }
        let mut held = self.held.lock();
        if let Some(done) = held.done.get(&operation.op_id) {
            return done
                .clone()
                .map_err(|code| ConnectError::new(code, "as answered before"));
        }
        let highest = held.highest.entry(id).or_default();
        if operation.generation < *highest {
            let text = "a newer generation was seen";
            return Err(refusal(
                ErrorCode::FailedPrecondition,
                Reason::STALE_GENERATION,
                text,
            ));
        }
        *highest = operation.generation;
        let outcome = work(&mut held, operation.generation);
        let recorded = outcome.clone().map_err(|error| error.code);
        held.done.insert(operation.op_id.clone(), recorded);
        outcome
    }

    pub(super) fn get(&self, id: &str) -> Result<Sandbox, ConnectError> {
        let id = parse::<SandboxId>(id)?;
        self.held
            .lock()
            .sandboxes
            .get(&id)
            .cloned()
            .ok_or_else(not_found)
    }

    pub(super) fn list(&self) -> Vec<Sandbox> {
        self.held.lock().sandboxes.values().cloned().collect()
    }

    /// Activity, which only a running sandbox has.
    pub(super) fn touch(&self, id: &str) -> Result<(), ConnectError> {
        let id = parse::<SandboxId>(id)?;
        let mut held = self.held.lock();
        let sandbox = held.sandboxes.get_mut(&id).ok_or_else(not_found)?;
        if sandbox.state.as_known() != Some(SandboxState::Running) {
            return Err(wrong_state());
        }
        sandbox.last_active_at_ms = now_ms();
        Ok(())
    }

    /// The directory that stands for the guest's file system.
    pub(super) fn directory_of(&self, id: &str) -> Result<PathBuf, ConnectError> {
        self.touch(id)?;
        let directory = self.directory.path().join(id);
        std::fs::create_dir_all(directory.join("root"))
            .map_err(|error| ConnectError::internal(error.to_string()))?;
        Ok(directory)
    }

    /// Makes the files of one sandbox or snapshot those of another.
    pub(super) fn copy_files(
        &self,
        from: impl Display,
        to: impl Display,
    ) -> Result<(), ConnectError> {
        let from = self.directory.path().join(from.to_string());
        if !from.exists() {
            return Ok(());
        }
        copy_tree(&from, &self.directory.path().join(to.to_string()))
            .map_err(|error| ConnectError::internal(error.to_string()))
    }

    /// The variables that the sandbox was created with.
    pub(super) fn environment_of(&self, id: &str) -> Result<HashMap<String, String>, ConnectError> {
        let id = parse::<SandboxId>(id)?;
        Ok(self
            .held
            .lock()
            .environments
            .get(&id)
            .cloned()
            .unwrap_or_default())
    }

    pub(super) fn crash(&self, id: SandboxId) {
        let mut held = self.held.lock();
        let Some(sandbox) = held.sandboxes.remove(&id) else {
            return;
        };
        let exited = host_event::Exited::default().into();
        self.record(&mut held, id, sandbox.generation, exited);
    }

    /// Adds an event and wakes who watches.
    pub(super) fn record(&self, held: &mut Held, id: SandboxId, generation: u64, kind: Kind) {
        let seq = *self.sequence.borrow() + 1;
        held.events.push(HostEvent {
            seq,
            at_ms: now_ms(),
            sandbox_id: id.to_string(),
            generation,
            kind: Some(kind),
            ..HostEvent::default()
        });
        self.sequence.send_replace(seq);
    }

    pub(super) fn lose(&self, id: SandboxId) {
        self.held.lock().sandboxes.remove(&id);
    }

    pub(super) fn boot_id(&self) -> &str {
        &self.boot_id
    }

    pub(super) fn sequence(&self) -> watch::Receiver<u64> {
        self.sequence.subscribe()
    }

    /// The events after `(boot_id, seq)`, which are forgotten up to there.
    pub(super) fn events_after(&self, boot_id: &str, seq: u64) -> Vec<HostEvent> {
        let mut held = self.held.lock();
        if boot_id == self.boot_id {
            held.events.retain(|event| event.seq > seq);
        }
        held.events.clone()
    }

    /// The first event after `seq`; none is forgotten.
    pub(super) fn event_after(&self, seq: u64) -> Option<HostEvent> {
        let held = self.held.lock();
        held.events.iter().find(|event| event.seq > seq).cloned()
    }

    pub(super) fn templates(&self) -> Vec<Template> {
        let minimal = Template {
            template_id: TemplateId::ZERO.to_string(),
            name: "minimal".to_owned(),
            size_bytes: 300 << 20,
            envd_version: env!("CARGO_PKG_VERSION").to_owned(),
            disk_mib: 1024,
            ..Template::default()
        };
        let held = self.held.lock();
        let snapshots = held.snapshots.values().cloned();
        std::iter::once(minimal).chain(snapshots).collect()
    }

    pub(super) fn info(&self) -> GetHostInfoResponse {
        let held = self.held.lock();
        let running = |sandbox: &&Sandbox| sandbox.state.as_known() == Some(SandboxState::Running);
        let used: u64 = held
            .sandboxes
            .values()
            .filter(running)
            .map(|one| u64::from(one.memory_mib))
            .sum();
        GetHostInfoResponse {
            host_id: self.host_id.to_string(),
            boot_id: self.boot_id.clone(),
            arch: "x86_64".to_owned(),
            cpu_cores: self.capacity.cpu_cores,
            memory_mib: self.capacity.memory_mib,
            memory_free_mib: self.capacity.memory_mib.saturating_sub(used),
            disk_mib: self.capacity.disk_mib,
            disk_free_mib: self.capacity.disk_mib,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            firecracker_version: "1.12.1".to_owned(),
            kernel_version: "6.1".to_owned(),
            running_sandboxes: u32::try_from(held.sandboxes.values().filter(running).count())
                .unwrap_or(u32::MAX),
            ..GetHostInfoResponse::default()
        }
    }
}

fn copy_tree(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn versions() -> Versions {
    Versions {
        kernel: "6.1".to_owned(),
        firecracker: "1.12.1".to_owned(),
        agent: env!("CARGO_PKG_VERSION").to_owned(),
        envd: env!("CARGO_PKG_VERSION").to_owned(),
        ..Versions::default()
    }
}

pub(super) fn parse<T: FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, ConnectError> {
    text.parse()
        .map_err(|error: T::Err| ConnectError::invalid_argument(format!("id {error}")))
}

pub(super) fn not_found() -> ConnectError {
    refusal(
        ErrorCode::NotFound,
        Reason::SANDBOX_NOT_FOUND,
        "no such sandbox",
    )
}

/// An error with the contract's typed detail.
pub(super) fn refusal(code: ErrorCode, reason: Reason, message: &str) -> ConnectError {
    let detail = ErrorDetail {
        reason: EnumValue::Known(reason),
        message: message.to_owned(),
        ..ErrorDetail::default()
    };
    ConnectError::new(code, message).with_detail(WireDetail::from_message(
        "wrenn.hostagent.v1.ErrorDetail",
        &detail,
    ))
}

pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
