//! The steps of a create.
//!
//! ```text
//! (reserve: committed with the request) → agent_create → mark_running → done
//!                    host refuses: next host ─┘ │ failure, deadline, 5 attempts
//!                                               └→ undo_destroy → mark_error → failed
//! ```
//!
//! Each step is idempotent and committed before the next begins, so that another replica can continue at
//! any point. A host that refused for want of room or template never accepted the sandbox and is replaced,
//! three hosts in all; a host that does not answer may have accepted it and is asked again, never replaced.

use std::{sync::Arc, time::Duration};

use wrenn_api::{ErrorCode, Reason as WireReason};
use wrenn_database::{
    Error as DbError, Generation, OpParams, OpRow, OpState, SandboxRow, State, host_lock,
    host_usage, op_finish, op_set_params, op_set_step, sandbox_assign_host, sandbox_get,
    sandbox_ready, sandbox_set_error, template_get, transition,
};
use wrenn_rpc::{
    connectrpc::{ConnectError, ErrorCode as RpcCode},
    hostagent::{
        CreateSandboxRequest, DestroySandboxRequest, Operation, Sandbox, error_detail::Reason,
    },
};

use super::{
    agent::{client_of, facts, is_unknown, look, network, number, on_idle, operation},
    ops::{ATTEMPTS, Outcome, backoff},
};
use crate::{
    app::{Error, Result, admission, sandbox},
    hosts::{
        error::{Call, from_rpc, never_sent, reason},
        pool::within,
    },
    state::App,
};

/// Seconds until a create is undone. The contract says 60 s for a restore; an image template has no warm
/// snapshot yet and boots cold, on an emulated machine in a queue with others.
pub(crate) const DEADLINE_SEC: i32 = 600;
/// The step after the reservation.
pub(crate) const FIRST_STEP: &str = "agent_create";
const MARK_RUNNING: &str = "mark_running";
const UNDO_DESTROY: &str = "undo_destroy";
const MARK_ERROR: &str = "mark_error";

/// Hosts that are tried.
const HOSTS: usize = 3;
/// How long the undo waits for the host before it leaves the rest to the host's next report.
const UNDO_WITHIN: Duration = Duration::from_secs(20);

/// Runs the steps from where the operation stands.
pub(super) async fn run(app: &Arc<App>, op: &OpRow) -> Result<Outcome> {
    let mut step = op.step.clone();
    let mut params = op.params.0.clone();
    let mut ready = None;
    let mut failure = ErrorCode::AgentError;
    loop {
        let Some(row) = sandbox_get(&app.db, op.sandbox_id()).await? else {
            return Ok(Outcome::Lost);
        };
        if row.generation != op.generation {
            return Ok(Outcome::Lost);
        }
        let next = match step.as_str() {
            FIRST_STEP => {
                app.checkpoint("create.agent_create.before").await;
                match agent_create(app, op, &row, &mut params).await? {
                    Attempt::Ready(sandbox) => {
                        app.checkpoint("create.agent_create.after").await;
                        ready = Some(sandbox);
                        MARK_RUNNING
                    }
                    Attempt::OtherHost => FIRST_STEP,
                    Attempt::Later(after) => return Ok(Outcome::Later(after)),
                    Attempt::Undo(code) => {
                        failure = code;
                        UNDO_DESTROY
                    }
                }
            }
            MARK_RUNNING => {
                app.checkpoint("create.mark_running.before").await;
                match mark_running(app, op, &row, ready.take()).await? {
                    Some(outcome) => return Ok(outcome),
                    None => UNDO_DESTROY,
                }
            }
            UNDO_DESTROY => {
                app.checkpoint("create.undo_destroy.before").await;
                undo_destroy(app, op, &row).await;
                MARK_ERROR
            }
            MARK_ERROR => return mark_error(app, op, failure).await,
            other => return Err(Error::internal(format!("unknown step {other} of a create"))),
        };
        if next != step && !op_set_step(&app.db, op.id, app.replica, next).await? {
            return Ok(Outcome::Lost);
        }
        next.clone_into(&mut step);
    }
}

enum Attempt {
    Ready(Box<Sandbox>),
    OtherHost,
    Later(Duration),
    Undo(ErrorCode),
}

async fn agent_create(
    app: &Arc<App>,
    op: &OpRow,
    row: &SandboxRow,
    params: &mut OpParams,
) -> Result<Attempt> {
    let remaining = op.remaining_ms.unwrap_or(0);
    if remaining <= 0 {
        return Ok(Attempt::Undo(ErrorCode::DeadlineExceeded));
    }
    let Some(client) = client_of(app, row).await? else {
        return Ok(Attempt::Undo(ErrorCode::HostUnavailable));
    };
    let limit = Duration::from_millis(u64::try_from(remaining).unwrap_or(0));
    let request = create_request(app, op, row).await?;
    match client
        .create_sandbox_with_options(request, within(limit))
        .await
    {
        Ok(answer) => {
            let sandbox = answer
                .into_owned()
                .sandbox
                .into_option()
                .unwrap_or_default();
            Ok(Attempt::Ready(Box::new(sandbox)))
        }
        Err(error) => refused(app, op, row, params, error).await,
    }
}

async fn create_request(app: &App, op: &OpRow, row: &SandboxRow) -> Result<CreateSandboxRequest> {
    let user = template_get(&app.db, row.template_id())
        .await?
        .map(|row| row.default_user);
    Ok(CreateSandboxRequest {
        operation: Some(operation(op, row)).into(),
        sandbox_id: row.id().to_string(),
        template_id: row.template_id().to_string(),
        vcpus: number(row.vcpus),
        memory_mib: number(row.memory_mb),
        disk_mib: number(row.disk_size_mb),
        envs: sandbox::open_envs(app, row)?.into_iter().collect(),
        network: Some(network(&row.network.0)).into(),
        idle_timeout_sec: number(row.timeout_sec),
        default_user: user.unwrap_or_default(),
        on_idle: on_idle(&row.on_idle).into(),
        ..CreateSandboxRequest::default()
    })
}

/// What the host's answer means for the operation.
async fn refused(
    app: &Arc<App>,
    op: &OpRow,
    row: &SandboxRow,
    params: &mut OpParams,
    error: ConnectError,
) -> Result<Attempt> {
    let sandbox_id = row.id();
    tracing::warn!(%sandbox_id, host_id = ?row.host_id(), request_id = %op.request_id, %error, "a host did not create the sandbox");
    let never_accepted = matches!(
        reason(&error),
        Some(Reason::NoCapacity | Reason::TemplateNotFound | Reason::WrongHost)
    );
    // A retry does not know what became of the call before it.
    if never_accepted || (op.attempts == 1 && never_sent(&error)) {
        return other_host(app, op, row, params).await;
    }
    if is_unknown(&error) && op.attempts < ATTEMPTS {
        return Ok(Attempt::Later(backoff(op.attempts)));
    }
    Ok(Attempt::Undo(from_rpc(error, Call::Lifecycle).code))
}

/// Moves the reservation to the next best host.
async fn other_host(
    app: &Arc<App>,
    op: &OpRow,
    row: &SandboxRow,
    params: &mut OpParams,
) -> Result<Attempt> {
    params.refused.extend(row.host_id);
    if params.refused.len() >= HOSTS {
        return Ok(Attempt::Undo(ErrorCode::HostUnavailable));
    }
    let Some(template) = template_get(&app.db, row.template_id()).await? else {
        return Ok(Attempt::Undo(ErrorCode::NotFound));
    };
    let demand = sandbox::demand(row.vcpus, row.memory_mb, row.disk_size_mb, &template);
    let scheduler = app.scheduler.as_ref();
    let host = match admission::next_host(&app.db, scheduler, row, &demand, &params.refused).await {
        Ok(host) => host,
        Err(error) if error.code == ErrorCode::NoHostsAvailable => {
            return Ok(Attempt::Undo(ErrorCode::HostUnavailable));
        }
        Err(error) => return Err(error),
    };
    let mut tx = app.db.begin().await.map_err(DbError::from)?;
    host_lock(&mut tx, host).await?;
    let usage = host_usage(&mut *tx, row.template_id(), host).await?;
    let fits = usage.is_some_and(|usage| scheduler.fits(&demand, &usage));
    let held = op_set_params(&mut *tx, op.id, app.replica, params).await?;
    if !held || !sandbox_assign_host(&mut *tx, row.id(), op.generation, host).await? {
        return Err(Error::internal("the operation was taken over"));
    }
    if fits {
        tx.commit().await.map_err(DbError::from)?;
        return Ok(Attempt::OtherHost);
    }
    Ok(Attempt::Later(backoff(op.attempts)))
}

/// `Some` when the sandbox is running or not ours any more, `None` when the host does not have it after all.
async fn mark_running(
    app: &App,
    op: &OpRow,
    row: &SandboxRow,
    ready: Option<Box<Sandbox>>,
) -> Result<Option<Outcome>> {
    let sandbox = match ready {
        Some(sandbox) => *sandbox,
        None => match look(app, row).await? {
            Some(sandbox) => sandbox,
            None => return Ok(None),
        },
    };
    let facts = facts(sandbox);
    let mut tx = app.db.begin().await.map_err(DbError::from)?;
    let (id, from, keep) = (
        row.id(),
        [State::Starting, State::Missing],
        Generation::Keep,
    );
    let moved = transition(
        &mut *tx,
        id,
        &from,
        State::Running,
        op.generation,
        keep,
        None,
    )
    .await?;
    sandbox_ready(&mut *tx, id, &facts).await?;
    let held = op_finish(&mut *tx, op.id, app.replica, OpState::Done, None).await?;
    if moved.is_none() || !held {
        return Ok(Some(Outcome::Lost));
    }
    tx.commit().await.map_err(DbError::from)?;
    app.checkpoint("create.mark_running.after").await;
    Ok(Some(Outcome::Finished))
}

/// Destroys what the host may have made. When the host is away, its next report shows a sandbox whose row
/// is in error, and the reconciliation destroys it then.
async fn undo_destroy(app: &App, op: &OpRow, row: &SandboxRow) {
    let Some(host) = row.host_id() else { return };
    let sandbox_id = row.id();
    let request = DestroySandboxRequest {
        // Not the create's own id: the agent would answer with the result of the create.
        operation: Some(Operation {
            op_id: format!("{}-undo", op.id),
            ..operation(op, row)
        })
        .into(),
        sandbox_id: sandbox_id.to_string(),
        ..Default::default()
    };
    let undone = match app.pool.client(host).await {
        Ok(Some(client)) => {
            match client
                .destroy_sandbox_with_options(request, within(UNDO_WITHIN))
                .await
            {
                Ok(_) => Ok(()),
                Err(error) if error.code == RpcCode::NotFound => Ok(()),
                Err(error) => Err(from_rpc(error, Call::Lifecycle)),
            }
        }
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    if let Err(error) = undone {
        tracing::warn!(%sandbox_id, host_id = %host, cause = ?error, "a failed create is left to reconciliation");
    }
}

async fn mark_error(app: &App, op: &OpRow, failure: ErrorCode) -> Result<Outcome> {
    let mut tx = app.db.begin().await.map_err(DbError::from)?;
    let (id, from) = (
        op.sandbox_id(),
        [State::Pending, State::Starting, State::Missing],
    );
    let reason = Some(WireReason::CreateFailed);
    let (generation, keep) = (op.generation, Generation::Keep);
    let moved = transition(&mut *tx, id, &from, State::Error, generation, keep, reason).await?;
    sandbox_set_error(&mut *tx, id, failure.as_str()).await?;
    let held = op_finish(
        &mut *tx,
        op.id,
        app.replica,
        OpState::Failed,
        Some(failure.as_str()),
    )
    .await?;
    if moved.is_none() || !held {
        return Ok(Outcome::Lost);
    }
    tx.commit().await.map_err(DbError::from)?;
    Ok(Outcome::Finished)
}
