//! The steps of a fork.
//!
//! ```text
//! (quota, room and the children's rows: committed with the request) → agent_fork → mark_running → done
//!                                       refusal, deadline, 5 attempts │
//!                                                                     └→ undo_destroy → mark_error → failed
//! ```
//!
//! The source keeps its status: its agent freezes it for a moment, and it ends as it was.

use std::{sync::Arc, time::Duration};

use wrenn_api::{ErrorCode, Reason};
use wrenn_database::{
    Error as DbError, Generation, OpRow, OpState, SandboxRow, State, op_finish, op_set_step,
    sandbox_get, sandbox_ready, sandbox_set_error, sandboxes_get, transition,
};
use wrenn_ids::SandboxId;
use wrenn_rpc::{
    connectrpc::ErrorCode as RpcCode,
    hostagent::{DestroySandboxRequest, ForkSandboxRequest, Operation, Sandbox},
};

use super::{
    agent::{client_of, facts, is_unknown, look, number, on_idle, operation},
    ops::{ATTEMPTS, Outcome, backoff},
};
use crate::{
    app::{Error, Result},
    hosts::{
        error::{Call, from_rpc},
        pool::within,
    },
    state::App,
};

/// Seconds until a fork is undone.
pub(crate) const DEADLINE_SEC: i32 = 120;
/// The step after the reservation.
pub(crate) const FIRST_STEP: &str = "agent_fork";
const MARK_RUNNING: &str = "mark_running";
const UNDO_DESTROY: &str = "undo_destroy";
const MARK_ERROR: &str = "mark_error";
/// How long the undo waits for the host, child by child, before it leaves the rest to the next report.
const UNDO_WITHIN: Duration = Duration::from_secs(20);
/// Children are new.
const GENERATION: i64 = 1;

/// Runs the steps from where the operation stands.
pub(super) async fn run(app: &Arc<App>, op: &OpRow) -> Result<Outcome> {
    let mut step = op.step.clone();
    let mut failure = ErrorCode::AgentError;
    let mut ready = None;
    loop {
        let Some(source) = sandbox_get(&app.db, op.sandbox_id()).await? else {
            return Ok(Outcome::Lost);
        };
        if source.generation != op.generation {
            return Ok(Outcome::Lost);
        }
        let next = match step.as_str() {
            FIRST_STEP => {
                app.checkpoint("fork.agent_fork.before").await;
                match agent_fork(app, op, &source).await? {
                    Attempt::Ready(children) => {
                        app.checkpoint("fork.agent_fork.after").await;
                        ready = Some(children);
                        MARK_RUNNING
                    }
                    Attempt::Later(after) => return Ok(Outcome::Later(after)),
                    Attempt::Undo(code) => {
                        failure = code;
                        UNDO_DESTROY
                    }
                }
            }
            MARK_RUNNING => {
                app.checkpoint("fork.mark_running.before").await;
                let found = match ready.take() {
                    Some(children) => Some(children),
                    None => look_at_all(app, op).await?,
                };
                match found {
                    Some(children) => return mark_running(app, op, children).await,
                    None => UNDO_DESTROY,
                }
            }
            UNDO_DESTROY => {
                app.checkpoint("fork.undo_destroy.before").await;
                undo_destroy(app, op, &source).await;
                MARK_ERROR
            }
            MARK_ERROR => return mark_error(app, op, failure).await,
            other => return Err(Error::internal(format!("unknown step {other} of a fork"))),
        };
        if !op_set_step(&app.db, op.id, app.replica, next).await? {
            return Ok(Outcome::Lost);
        }
        next.clone_into(&mut step);
    }
}

enum Attempt {
    Ready(Vec<Sandbox>),
    Later(Duration),
    Undo(ErrorCode),
}

fn children(op: &OpRow) -> Vec<SandboxId> {
    let ids = op.params.children.iter().copied();
    ids.map(SandboxId::from_uuid).collect()
}

async fn agent_fork(app: &Arc<App>, op: &OpRow, source: &SandboxRow) -> Result<Attempt> {
    let remaining = u64::try_from(op.remaining_ms.unwrap_or(0)).unwrap_or(0);
    if remaining == 0 {
        return Ok(Attempt::Undo(ErrorCode::DeadlineExceeded));
    }
    let Some(client) = client_of(app, source).await? else {
        return Ok(Attempt::Undo(ErrorCode::HostUnavailable));
    };
    let ids = children(op);
    let rows = sandboxes_get(&app.db, &ids).await?;
    let Some(child) = rows.first() else {
        return Ok(Attempt::Undo(ErrorCode::InternalError));
    };
    let request = ForkSandboxRequest {
        operation: Some(operation(op, source)).into(),
        sandbox_id: source.id().to_string(),
        child_ids: ids.iter().map(SandboxId::to_string).collect(),
        idle_timeout_sec: number(child.timeout_sec),
        on_idle: on_idle(&child.on_idle).into(),
        ..Default::default()
    };
    let limit = within(Duration::from_millis(remaining));
    let error = match client.fork_sandbox_with_options(request, limit).await {
        Ok(answer) => return Ok(Attempt::Ready(answer.into_owned().children)),
        Err(error) => error,
    };
    tracing::warn!(sandbox_id = %source.id(), host_id = ?source.host_id(), request_id = %op.request_id, %error, "a host did not fork the sandbox");
    if is_unknown(&error) && op.attempts < ATTEMPTS {
        return Ok(Attempt::Later(backoff(op.attempts)));
    }
    Ok(Attempt::Undo(from_rpc(error, Call::Lifecycle).code))
}

/// The children as their host has them; `None` when it has not all.
async fn look_at_all(app: &App, op: &OpRow) -> Result<Option<Vec<Sandbox>>> {
    let mut found = Vec::new();
    for row in sandboxes_get(&app.db, &children(op)).await? {
        match look(app, &row).await? {
            Some(sandbox) => found.push(sandbox),
            None => return Ok(None),
        }
    }
    Ok(Some(found))
}

/// Every child runs. One that was deleted meanwhile is left to its own destroy.
async fn mark_running(app: &App, op: &OpRow, found: Vec<Sandbox>) -> Result<Outcome> {
    let ids = children(op);
    let mut tx = app.db.begin().await.map_err(DbError::from)?;
    for sandbox in found {
        let id = sandbox.sandbox_id.parse().ok();
        let Some(id) = id.filter(|id| ids.contains(id)) else {
            continue;
        };
        let (from, to, keep) = ([State::Starting], State::Running, Generation::Keep);
        let moved = transition(&mut *tx, id, &from, to, GENERATION, keep, None).await?;
        if moved.is_some() {
            sandbox_ready(&mut *tx, id, &facts(sandbox)).await?;
        }
    }
    if !op_finish(&mut *tx, op.id, app.replica, OpState::Done, None).await? {
        return Ok(Outcome::Lost);
    }
    tx.commit().await.map_err(DbError::from)?;
    tell(app, &ids);
    app.checkpoint("fork.mark_running.after").await;
    Ok(Outcome::Finished)
}

/// Destroys what the host may have made. When the host is away, its next report shows sandboxes whose rows
/// are in error, and the reconciliation destroys them then.
async fn undo_destroy(app: &App, op: &OpRow, source: &SandboxRow) {
    let Ok(Some(client)) = client_of(app, source).await else {
        return;
    };
    for child in children(op) {
        let request = DestroySandboxRequest {
            operation: Some(Operation {
                op_id: format!("{}-undo-{child}", op.id),
                generation: GENERATION.unsigned_abs(),
                ..operation(op, source)
            })
            .into(),
            sandbox_id: child.to_string(),
            ..Default::default()
        };
        let undone = client.destroy_sandbox_with_options(request, within(UNDO_WITHIN));
        match undone.await {
            Err(error) if error.code != RpcCode::NotFound => {
                tracing::warn!(sandbox_id = %child, %error, "a failed fork is left to reconciliation");
            }
            _ => {}
        }
    }
}

async fn mark_error(app: &App, op: &OpRow, failure: ErrorCode) -> Result<Outcome> {
    let ids = children(op);
    let mut tx = app.db.begin().await.map_err(DbError::from)?;
    for id in &ids {
        let (from, to, keep) = ([State::Starting], State::Error, Generation::Keep);
        let reason = Some(Reason::CreateFailed);
        let moved = transition(&mut *tx, *id, &from, to, GENERATION, keep, reason).await?;
        if moved.is_some() {
            sandbox_set_error(&mut *tx, *id, failure.as_str()).await?;
        }
    }
    let code = Some(failure.as_str());
    if !op_finish(&mut *tx, op.id, app.replica, OpState::Failed, code).await? {
        return Ok(Outcome::Lost);
    }
    tx.commit().await.map_err(DbError::from)?;
    tell(app, &ids);
    Ok(Outcome::Finished)
}

fn tell(app: &App, ids: &[SandboxId]) {
    for id in ids {
        app.bus.sandbox_changed(*id);
    }
}
