//! The end of a pause, a resume or a failed snapshot: the row says what the agent has.
//!
//! Each of these ends the operation and changes the status in one transaction, and does neither when the
//! operation is not this replica's any more.

use std::time::Duration;

use wrenn_api::{ErrorCode, Reason};
use wrenn_database::{
    Error as DbError, Generation, OpKind, OpRow, OpState, PgConnection, SandboxRow, State,
    op_finish, sandbox_ready, transition,
};
use wrenn_rpc::hostagent::{Sandbox, SandboxState};

use super::{
    agent::{facts, look, pause_reason},
    ops::Outcome,
};
use crate::{app::Result, state::App};

/// Statuses of a sandbox that one of these operations works on.
const FROM: [State; 4] = [
    State::Pausing,
    State::Resuming,
    State::Snapshotting,
    State::SnapshottingPaused,
];
/// Between two questions while the agent is still at it.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How long after its deadline an operation waits for an agent that is still at it.
const PATIENCE_MS: i64 = 60_000;

/// Ends an operation that the agent did not confirm as the agent has it. `failure` is told to who waits,
/// unless what was wanted came about after all.
pub(super) async fn settle(
    app: &App,
    op: &OpRow,
    row: &SandboxRow,
    failure: ErrorCode,
) -> Result<Outcome> {
    let (found, failure) = match look(app, row).await {
        Ok(found) => (found, failure),
        Err(error) => {
            tracing::warn!(sandbox_id = %row.id(), cause = ?error, "a host does not say what became of an operation");
            return mark_missing(app, op, ErrorCode::HostUnavailable).await;
        }
    };
    let Some(sandbox) = found else {
        return match op.kind {
            // Reports tell whether the snapshot is lost; one answer does not.
            OpKind::Resume => mark_paused(app, op, op.params.reason, Some(failure)).await,
            _ if row.status == State::SnapshottingPaused => {
                mark_paused(app, op, op.params.reason, Some(failure)).await
            }
            _ => mark_missing(app, op, failure).await,
        };
    };
    match sandbox.state.as_known().unwrap_or_default() {
        SandboxState::Paused if op.kind == OpKind::Pause => {
            mark_paused(app, op, op.params.reason, None).await
        }
        SandboxState::Paused => {
            let reason = sandbox.pause_reason.as_known().unwrap_or_default();
            let reason = op.params.reason.or(pause_reason(reason));
            mark_paused(app, op, reason, Some(failure)).await
        }
        SandboxState::Running => {
            let failure = (op.kind != OpKind::Resume).then_some(failure);
            mark_running(app, op, sandbox, failure).await
        }
        SandboxState::Pausing | SandboxState::Resuming | SandboxState::Starting
            if op.remaining_ms.unwrap_or(0) > -PATIENCE_MS =>
        {
            Ok(Outcome::Later(ASK_AGAIN))
        }
        _ => mark_missing(app, op, failure).await,
    }
}

/// It is paused; without a `failure` that is what was wanted.
pub(super) async fn mark_paused(
    app: &App,
    op: &OpRow,
    reason: Option<Reason>,
    failure: Option<ErrorCode>,
) -> Result<Outcome> {
    let mut tx = app.db.begin().await.map_err(DbError::from)?;
    if !end(app, &mut tx, op, State::Paused, reason, failure).await? {
        return Ok(Outcome::Lost);
    }
    tx.commit().await.map_err(DbError::from)?;
    Ok(Outcome::Finished)
}

/// It runs; without a `failure` that is what was wanted.
pub(super) async fn mark_running(
    app: &App,
    op: &OpRow,
    sandbox: Sandbox,
    failure: Option<ErrorCode>,
) -> Result<Outcome> {
    let mut tx = app.db.begin().await.map_err(DbError::from)?;
    sandbox_ready(&mut *tx, op.sandbox_id(), &facts(sandbox)).await?;
    if !end(app, &mut tx, op, State::Running, None, failure).await? {
        return Ok(Outcome::Lost);
    }
    tx.commit().await.map_err(DbError::from)?;
    Ok(Outcome::Finished)
}

/// Nobody can say how it is; the host's next report will.
async fn mark_missing(app: &App, op: &OpRow, failure: ErrorCode) -> Result<Outcome> {
    let mut tx = app.db.begin().await.map_err(DbError::from)?;
    let reason = Some(Reason::ReplyLost);
    if !end(app, &mut tx, op, State::Missing, reason, Some(failure)).await? {
        return Ok(Outcome::Lost);
    }
    tx.commit().await.map_err(DbError::from)?;
    Ok(Outcome::Finished)
}

/// Changes the status and ends the operation; false when one of them is not ours to change.
async fn end(
    app: &App,
    tx: &mut PgConnection,
    op: &OpRow,
    to: State,
    reason: Option<Reason>,
    failure: Option<ErrorCode>,
) -> Result<bool> {
    let (id, generation, keep) = (op.sandbox_id(), op.generation, Generation::Keep);
    let moved = transition(&mut *tx, id, &FROM, to, generation, keep, reason).await?;
    let state = match failure {
        None => OpState::Done,
        Some(_) => OpState::Failed,
    };
    let code = failure.map(ErrorCode::as_str);
    let held = op_finish(&mut *tx, op.id, app.replica, state, code).await?;
    Ok(moved.is_some() && held)
}
