//! The steps of a snapshot.
//!
//! ```text
//! (agent_pause →) agent_snapshot → done: the sandbox is as it was, or paused where that was asked
//!              refusal, deadline, 5 attempts │
//!                                            └→ undo → failed: the template is deleted, the sandbox as its
//!                                                      agent has it
//! ```
//!
//! The row of the template and the end of the operation are committed together; a replica that takes over
//! before that asks the agent again, which answers a repeated operation with what it did.

use std::{sync::Arc, time::Duration};

use wrenn_api::ErrorCode;
use wrenn_database::{
    Error as DbError, Generation, OpRow, OpState, SandboxRow, State, op_finish, op_set_step,
    sandbox_get, snapshot_abandon, snapshot_ready, template_get, transition,
};
use wrenn_ids::TemplateId;
use wrenn_rpc::{
    connectrpc::ConnectError,
    hostagent::{CreateSnapshotRequest, Operation, PauseReason, PauseSandboxRequest},
};

use super::{
    agent::{client_of, is_unknown, operation},
    ops::{ATTEMPTS, Outcome, backoff},
    truth,
};
use crate::{
    app::{Error, Result, snapshot::delete_copy},
    hosts::{
        Client,
        error::{Call, from_rpc},
        pool::within,
    },
    state::App,
};

/// Seconds until a snapshot is undone.
pub(crate) const DEADLINE_SEC: i32 = 1800;
/// The first step where the sandbox is to be paused.
pub(crate) const PAUSE_FIRST: &str = "agent_pause";
/// The first step where it is to end as it was.
pub(crate) const FIRST_STEP: &str = "agent_snapshot";
const UNDO: &str = "undo";

/// Runs the steps from where the operation stands.
pub(super) async fn run(app: &Arc<App>, op: &OpRow) -> Result<Outcome> {
    let mut step = op.step.clone();
    let mut failure = ErrorCode::AgentError;
    loop {
        let Some(row) = sandbox_get(&app.db, op.sandbox_id()).await? else {
            return Ok(Outcome::Lost);
        };
        if row.generation != op.generation {
            return Ok(Outcome::Lost);
        }
        let refused = match step.as_str() {
            PAUSE_FIRST => {
                app.checkpoint("snapshot.agent_pause.before").await;
                match reach(app, op, &row).await? {
                    Ok((client, limit)) => agent_pause(&client, limit, op, &row).await.err(),
                    Err(code) => Some(Refused::Undo(code)),
                }
            }
            FIRST_STEP => {
                app.checkpoint("snapshot.agent_snapshot.before").await;
                let made = match reach(app, op, &row).await? {
                    Ok((client, limit)) => agent_snapshot(app, &client, limit, op, &row).await?,
                    Err(code) => Err(Refused::Undo(code)),
                };
                match made {
                    Ok(size_bytes) => {
                        app.checkpoint("snapshot.agent_snapshot.after").await;
                        let outcome = finish(app, op, &row, size_bytes).await?;
                        app.checkpoint("snapshot.finished").await;
                        return Ok(outcome);
                    }
                    Err(refused) => Some(refused),
                }
            }
            UNDO => {
                app.checkpoint("snapshot.undo.before").await;
                undo(app, op, &row).await?;
                return truth::settle(app, op, &row, failure).await;
            }
            other => {
                return Err(Error::internal(format!(
                    "unknown step {other} of a snapshot"
                )));
            }
        };
        let next = match refused {
            None => FIRST_STEP,
            Some(Refused::Later(after)) => return Ok(Outcome::Later(after)),
            Some(Refused::Undo(code)) => {
                failure = code;
                UNDO
            }
        };
        if !op_set_step(&app.db, op.id, app.replica, next).await? {
            return Ok(Outcome::Lost);
        }
        next.clone_into(&mut step);
    }
}

/// A step that was not done.
enum Refused {
    /// It is tried again after this long.
    Later(Duration),
    /// It is given up.
    Undo(ErrorCode),
}

fn template(op: &OpRow) -> TemplateId {
    TemplateId::from_uuid(op.params.template.unwrap_or_default())
}

/// The client of the host, and how long it may take.
async fn reach(
    app: &App,
    op: &OpRow,
    row: &SandboxRow,
) -> Result<std::result::Result<(Client, Duration), ErrorCode>> {
    let remaining = u64::try_from(op.remaining_ms.unwrap_or(0)).unwrap_or(0);
    if remaining == 0 {
        return Ok(Err(ErrorCode::DeadlineExceeded));
    }
    let client = client_of(app, row).await?;
    let limit = Duration::from_millis(remaining);
    Ok(client
        .map(|client| (client, limit))
        .ok_or(ErrorCode::HostUnavailable))
}

async fn agent_pause(
    client: &Client,
    limit: Duration,
    op: &OpRow,
    row: &SandboxRow,
) -> std::result::Result<(), Refused> {
    let request = PauseSandboxRequest {
        // Not the snapshot's own id: the agent would answer that with the result of the pause.
        operation: Some(Operation {
            op_id: format!("{}-pause", op.id),
            ..operation(op, row)
        })
        .into(),
        sandbox_id: row.id().to_string(),
        reason: PauseReason::User.into(),
        ..Default::default()
    };
    let paused = client
        .pause_sandbox_with_options(request, within(limit))
        .await;
    paused.map(drop).map_err(|error| refused(op, row, error))
}

/// Bytes of the snapshot on its host.
async fn agent_snapshot(
    app: &App,
    client: &Client,
    limit: Duration,
    op: &OpRow,
    row: &SandboxRow,
) -> Result<std::result::Result<i64, Refused>> {
    let Some(made) = template_get(&app.db, template(op)).await? else {
        return Ok(Err(Refused::Undo(ErrorCode::NotFound)));
    };
    let request = CreateSnapshotRequest {
        operation: Some(operation(op, row)).into(),
        sandbox_id: row.id().to_string(),
        template_id: made.id().to_string(),
        name: made.name,
        ..Default::default()
    };
    let answer = client
        .create_snapshot_with_options(request, within(limit))
        .await;
    Ok(answer
        .map(|answer| {
            let template = answer.into_owned().template.into_option();
            i64::try_from(template.unwrap_or_default().size_bytes).unwrap_or(i64::MAX)
        })
        .map_err(|error| refused(op, row, error)))
}

fn refused(op: &OpRow, row: &SandboxRow, error: ConnectError) -> Refused {
    tracing::warn!(sandbox_id = %row.id(), host_id = ?row.host_id(), request_id = %op.request_id, %error, "a host did not make the snapshot");
    if is_unknown(&error) && op.attempts < ATTEMPTS {
        return Refused::Later(backoff(op.attempts));
    }
    Refused::Undo(from_rpc(error, Call::Lifecycle).code)
}

/// The template may be used, and the sandbox is as it was or paused.
async fn finish(app: &App, op: &OpRow, row: &SandboxRow, size_bytes: i64) -> Result<Outcome> {
    let host = row
        .host_id()
        .ok_or_else(|| Error::internal("a snapshot was made nowhere"))?;
    let reason = op.params.reason;
    let to = match row.status {
        State::Snapshotting if reason.is_none() => State::Running,
        _ => State::Paused,
    };
    let mut tx = app.db.begin().await.map_err(DbError::from)?;
    let from = [State::Snapshotting, State::SnapshottingPaused];
    let (id, generation, keep) = (row.id(), op.generation, Generation::Keep);
    let moved = transition(&mut *tx, id, &from, to, generation, keep, reason).await?;
    let ready = snapshot_ready(&mut tx, template(op), host, size_bytes).await?;
    let held = op_finish(&mut *tx, op.id, app.replica, OpState::Done, None).await?;
    if moved.is_none() || !ready || !held {
        return Ok(Outcome::Lost);
    }
    tx.commit().await.map_err(DbError::from)?;
    Ok(Outcome::Finished)
}

/// The name is free again; what the host has of it is deleted now or with its next report.
async fn undo(app: &App, op: &OpRow, row: &SandboxRow) -> Result<()> {
    let Some(host) = row.host_id() else {
        return Ok(());
    };
    let id = template(op);
    let mut tx = app.db.begin().await.map_err(DbError::from)?;
    if template_get(&mut *tx, id).await?.is_none() {
        return Ok(());
    }
    snapshot_abandon(&mut tx, id, host).await?;
    tx.commit().await.map_err(DbError::from)?;
    if let Err(error) = delete_copy(app, host, id).await {
        tracing::warn!(template_id = %id, host_id = %host, cause = ?error, "a failed snapshot is left to reconciliation");
    }
    Ok(())
}
