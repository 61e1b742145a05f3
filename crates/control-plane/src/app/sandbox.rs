//! Sandboxes: create, read, destroy.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::Instant;
use wrenn_api::{
    CreateSandbox, ErrorCode, OnIdle, Reason,
    audit::{AuditAction, AuditStatus},
    sandbox::{DEFAULT_DISK_SIZE_MB, DEFAULT_MEMORY_MB, DEFAULT_TEMPLATE, DEFAULT_VCPUS},
};
use wrenn_database::{
    Error as DbError, Generation, ListFilter, NewOp, NewSandbox, OpActor, OpKind, OpParams,
    SandboxRow, State, TemplateRow, audit_sandbox, op_insert, op_live, op_supersede, sandbox_get,
    sandbox_get_of_team, sandbox_list, sandbox_list_all, sandbox_lock, snapshots_abandon_of,
    template_resolve, transition,
};
use wrenn_ids::{HostId, SandboxId, TeamId};
use wrenn_rpc::{connectrpc::ConnectError, hostagent::PingSandboxRequest};

use super::{
    Error, Result, TeamActor,
    admission::{Admission, Admitted, admit},
    idempotency::{Idempotency, remembered},
    scheduler::Demand,
};
use crate::{
    background::destroy,
    bus::LOOK_AGAIN,
    hosts::{
        Client,
        error::{Call, from_rpc},
        pool::within,
    },
    state::App,
};

/// How long a lifecycle request waits for its outcome; clients give up at 5 s.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_millis(4500);

/// Name that older clients use for the built-in template while no such template exists.
const MINIMAL_ALIAS: &str = "minimal-ubuntu";

/// A sandbox that a create led to.
#[derive(Debug)]
pub(crate) struct Created {
    pub(crate) row: SandboxRow,
    /// An earlier request with the same key made it.
    pub(crate) replayed: bool,
}

const CREATE_ROUTE: &str = "POST /v1/sandboxes";

/// Creates a sandbox. From the reservation on it runs in a task of its own, so that a caller who hangs up
/// changes nothing; this waits for the outcome until [`ANSWER_WITHIN`] and answers with what there is.
///
/// # Errors
/// Bad fields, unknown template, quota, no host, or the failure of a create that ended in time.
pub(crate) async fn create(
    app: &Arc<App>,
    actor: &TeamActor,
    request: CreateSandbox,
    idempotency: Option<Idempotency>,
    request_id: String,
) -> Result<Created> {
    let deadline = Instant::now() + ANSWER_WITHIN;
    request.validate()?;
    if let Some(row) = replay(app, actor, idempotency.as_ref()).await? {
        return Ok(Created {
            row,
            replayed: true,
        });
    }
    let begun = app.tasks.spawn({
        let (app, actor, idempotency) = (Arc::clone(app), actor.clone(), idempotency.clone());
        async move { reserve(&app, &actor, &request, idempotency.as_ref(), &request_id).await }
    });
    let begun = begun.await.map_err(Error::internal)??;
    let Some(row) = begun else {
        let row = replay(app, actor, idempotency.as_ref()).await?;
        let row = row.ok_or_else(|| Error::internal("a repeated request left no outcome"))?;
        return Ok(Created {
            row,
            replayed: true,
        });
    };
    let row = settled(app, row, deadline, |row| row.status != State::Starting).await?;
    if row.status == State::Error {
        return Err(create_failure(&row));
    }
    Ok(Created {
        row,
        replayed: false,
    })
}

/// Why a create ended in error, as its caller reads it.
fn create_failure(row: &SandboxRow) -> Error {
    let code = row.error_code.as_deref().and_then(|code| code.parse().ok());
    let code = code.unwrap_or(ErrorCode::AgentError);
    Error::new(code, format!("sandbox {} could not be created", row.id()))
        .text("sandbox_id", row.id().to_string())
}

async fn replay(
    app: &App,
    actor: &TeamActor,
    idempotency: Option<&Idempotency>,
) -> Result<Option<SandboxRow>> {
    let Some(idempotency) = idempotency else {
        return Ok(None);
    };
    let team = actor.team();
    match remembered(app, team, CREATE_ROUTE, idempotency).await? {
        Some(id) => Ok(sandbox_get_of_team(&app.db, SandboxId::from_uuid(id), team).await?),
        None => Ok(None),
    }
}

/// Commits the rows and starts the work; `None` when a request with the same key was faster.
async fn reserve(
    app: &Arc<App>,
    actor: &TeamActor,
    request: &CreateSandbox,
    idempotency: Option<&Idempotency>,
    request_id: &str,
) -> Result<Option<SandboxRow>> {
    let template = resolve_template(app, actor, request.template.as_deref()).await?;
    // A snapshot fixes what it was baked with.
    let vcpus = template
        .vcpus
        .unwrap_or(as_i32(request.vcpus.unwrap_or(DEFAULT_VCPUS)));
    let memory_mb = template
        .memory_mb
        .unwrap_or(as_i32(request.memory_mb.unwrap_or(DEFAULT_MEMORY_MB)));
    let disk_size_mb = match template.memory_mb {
        // Its file system is mounted in the memory that goes on.
        Some(_) => template.disk_size_mb,
        None => as_i32(request.disk_size_mb.unwrap_or(DEFAULT_DISK_SIZE_MB)),
    };
    if disk_size_mb < template.disk_size_mb {
        return Err(Error::new(
            ErrorCode::InvalidRequest,
            format!(
                "`disk_size_mb` must be at least the template's {}",
                template.disk_size_mb
            ),
        )
        .text("field", "disk_size_mb"));
    }
    let id = SandboxId::new();
    let envs = match &request.envs {
        Some(envs) if !envs.is_empty() => Some(seal_envs(app, id, envs)?),
        _ => None,
    };
    let network = request.network.clone().unwrap_or_default();
    let metadata = request.metadata.clone().unwrap_or_default();
    let by = actor.as_op_actor();
    let admission = Admission {
        demand: demand(vcpus, memory_mb, disk_size_mb, &template),
        sandbox: NewSandbox {
            id,
            team: actor.team(),
            host: HostId::ZERO,
            template: &template,
            vcpus,
            memory_mb,
            disk_size_mb,
            timeout_sec: as_i32(request.timeout_sec.unwrap_or(0)),
            on_idle: request.on_idle.unwrap_or(OnIdle::Pause),
            auto_resume: request.auto_resume.unwrap_or(true),
            public_ports: ports(request.public_ports.as_deref().unwrap_or_default()),
            network: &network,
            metadata: &metadata,
            envs: envs.as_deref(),
            created_by: actor.principal(),
        },
        actor: &by,
        owner: app.replica,
        request_id,
        idempotency: idempotency.map(|known| known.at(CREATE_ROUTE)),
    };
    match admit(&app.db, app.scheduler.as_ref(), admission).await? {
        Admitted::Repeated => Ok(None),
        Admitted::Yes(rows) => {
            let (row, op) = *rows;
            app.checkpoint("create.committed").await;
            app.ops.start(app, op);
            Ok(Some(row))
        }
    }
}

/// What a sandbox needs of its host.
pub(crate) fn demand(vcpus: i32, memory_mb: i32, disk_mb: i32, template: &TemplateRow) -> Demand {
    let number = |value: i32| u32::try_from(value).unwrap_or(0);
    Demand {
        vcpus: number(vcpus),
        memory_mb: number(memory_mb),
        disk_mb: number(disk_mb),
        template_mb: u32::try_from(template.size_bytes >> 20).unwrap_or(0),
        arch: template.arch().map(str::to_owned),
        tags: template.require_tags().map(str::to_owned).collect(),
    }
}

pub(super) fn as_i32(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

pub(super) fn ports(ports: &[u16]) -> Vec<i32> {
    ports.iter().map(|port| i32::from(*port)).collect()
}

async fn resolve_template(app: &App, actor: &TeamActor, name: Option<&str>) -> Result<TemplateRow> {
    let name = name.unwrap_or(DEFAULT_TEMPLATE);
    let mut found = template_resolve(&app.db, actor.team(), name).await?;
    if found.is_none() && name == MINIMAL_ALIAS {
        found = template_resolve(&app.db, actor.team(), DEFAULT_TEMPLATE).await?;
    }
    found.ok_or_else(|| Error::not_found("template"))
}

/// What a sandbox's environment is sealed to.
pub(crate) fn envs_place(id: SandboxId) -> String {
    format!("sandbox:{id}:envs")
}

pub(super) fn seal_envs(
    app: &App,
    id: SandboxId,
    envs: &BTreeMap<String, String>,
) -> Result<Vec<u8>> {
    let text = serde_json::to_vec(envs).map_err(Error::internal)?;
    Ok(app
        .sealing
        .seal(&envs_place(id), &text)
        .map_err(Error::internal)?
        .into_bytes())
}

/// The environment that a sandbox was created with.
///
/// # Errors
/// Its key is gone or the value was altered.
pub(crate) fn open_envs(app: &App, row: &SandboxRow) -> Result<BTreeMap<String, String>> {
    let Some(sealed) = &row.envs else {
        return Ok(BTreeMap::new());
    };
    let sealed = std::str::from_utf8(sealed).map_err(Error::internal)?;
    let text = app
        .sealing
        .open(&envs_place(row.id()), sealed)
        .map_err(Error::internal)?;
    serde_json::from_slice(&text).map_err(Error::internal)
}

/// Waits until `done` or the deadline, and answers the row as it is then.
pub(super) async fn settled(
    app: &Arc<App>,
    row: SandboxRow,
    deadline: Instant,
    done: impl Fn(&SandboxRow) -> bool,
) -> Result<SandboxRow> {
    let watch = app.bus.watch(row.id());
    let mut last = row;
    loop {
        let changed = watch.changed(LOOK_AGAIN);
        if let Some(row) = sandbox_get(&app.db, last.id()).await? {
            last = row;
        }
        if done(&last) || tokio::time::timeout_at(deadline, changed).await.is_err() {
            return Ok(last);
        }
    }
}

/// The team's sandboxes that pass the filter.
///
/// # Errors
/// The database is away.
pub(crate) async fn list(
    app: &App,
    actor: &TeamActor,
    filter: &ListFilter,
) -> Result<Vec<SandboxRow>> {
    Ok(sandbox_list(&app.db, actor.team(), filter).await?)
}

/// Sandboxes of any team, or of this one, for administrators.
///
/// # Errors
/// The database is away.
pub(crate) async fn list_all(
    app: &App,
    team: Option<TeamId>,
    filter: &ListFilter,
) -> Result<Vec<SandboxRow>> {
    Ok(sandbox_list_all(&app.db, team, filter).await?)
}

/// Why a sandbox is destroyed, and who has it done.
#[derive(Debug, Clone)]
pub(crate) struct Cause {
    pub(crate) reason: Reason,
    pub(crate) actor: OpActor,
    pub(crate) request_id: String,
}

impl Cause {
    /// The platform, by itself; `request` is what the operation is written down with.
    pub(crate) fn system(reason: Reason, request: &str) -> Self {
        Self {
            reason,
            actor: OpActor::SYSTEM,
            request_id: request.to_owned(),
        }
    }
}

/// Destroys a sandbox: durable at once, waiting up to [`ANSWER_WITHIN`] for the host. Repeatable.
///
/// # Errors
/// The database is away.
pub(crate) async fn destroy(
    app: &Arc<App>,
    actor: &TeamActor,
    row: SandboxRow,
    request_id: String,
) -> Result<()> {
    let deadline = Instant::now() + ANSWER_WITHIN;
    let id = row.id();
    let reason = if actor.is_platform() {
        Reason::Admin
    } else {
        Reason::User
    };
    let cause = Cause {
        reason,
        actor: actor.as_op_actor(),
        request_id,
    };
    let begun = app.tasks.spawn({
        let app = Arc::clone(app);
        async move { begin_destroy(&app, id, cause).await }
    });
    begun.await.map_err(Error::internal)??;
    settled(app, row, deadline, |row| row.status == State::Stopped).await?;
    Ok(())
}

/// Commits the intent to destroy and starts the work, unless it is done or under way. Outranks every other
/// operation.
///
/// # Errors
/// The database is away.
pub(crate) async fn begin_destroy(app: &Arc<App>, id: SandboxId, cause: Cause) -> Result<()> {
    let reason = cause.reason;
    let mut tx = app.db.begin().await.map_err(DbError::from)?;
    let Some(row) = sandbox_lock(&mut tx, id).await? else {
        return Ok(());
    };
    if row.status == State::Stopped {
        return Ok(());
    }
    let live = op_live(&mut tx, id).await?;
    if live.as_ref().is_some_and(|op| op.kind == OpKind::Destroy) {
        return Ok(());
    }
    if let Some(live) = live {
        op_supersede(&mut *tx, id).await?;
        if let (OpKind::Snapshot, Some(host)) = (live.kind, row.host_id()) {
            snapshots_abandon_of(&mut tx, id, host).await?;
        }
    }
    let from: Vec<State> = State::DESTROYABLE
        .iter()
        .copied()
        .chain([State::Stopping])
        .collect();
    let next = Generation::Next;
    let generation = transition(
        &mut *tx,
        id,
        &from,
        State::Stopping,
        row.generation,
        next,
        Some(reason),
    )
    .await?
    .ok_or_else(|| Error::internal("a locked row changed"))?;
    let op = NewOp {
        sandbox: id,
        kind: OpKind::Destroy,
        generation,
        step: destroy::FIRST_STEP,
        params: OpParams {
            reason: Some(reason),
            ..OpParams::default()
        },
        actor: &cause.actor,
        request_id: &cause.request_id,
        owner: app.replica,
        deadline_sec: None,
    };
    let op = op_insert(&mut *tx, &op).await?;
    if reason == Reason::TeamDeleted {
        let (action, status) = (AuditAction::Destroy, AuditStatus::Success);
        audit_sandbox(&mut *tx, id, action, status, Some(reason.as_str())).await?;
    }
    tx.commit().await.map_err(DbError::from)?;
    app.checkpoint("destroy.committed").await;
    app.bus.sandbox_changed(id);
    app.ops.start(app, op);
    Ok(())
}

/// Resets the idle timer of a running sandbox.
///
/// # Errors
/// Not running, or its host is away.
pub(crate) async fn ping(app: &App, row: &SandboxRow) -> Result<()> {
    let client = running_client(app, row).await?;
    touch(&client, row.id())
        .await
        .map_err(|error| from_rpc(error, Call::Lifecycle))
}

/// Tells the sandbox's host that it is in use.
pub(crate) async fn touch(client: &Client, id: SandboxId) -> std::result::Result<(), ConnectError> {
    let request = PingSandboxRequest {
        sandbox_id: id.to_string(),
        ..Default::default()
    };
    let told = client.ping_sandbox_with_options(request, within(ANSWER_WITHIN));
    told.await.map(drop)
}

/// The client of the host of a running sandbox.
///
/// # Errors
/// 409 unless it runs; its host is away.
pub(crate) async fn running_client(app: &App, row: &SandboxRow) -> Result<Client> {
    if !matches!(
        row.status,
        State::Running | State::Pausing | State::Snapshotting
    ) {
        let status = row.status.wire();
        return Err(Error::new(
            ErrorCode::InvalidState,
            format!("the sandbox is {status}"),
        ));
    }
    let gone = || {
        Error::new(
            ErrorCode::HostUnavailable,
            "the sandbox's host cannot be reached",
        )
    };
    let host = row.host_id().ok_or_else(gone)?;
    app.pool.client(host).await?.ok_or_else(gone)
}
