//! Pausing and resuming: durable at once, then waited for; who asks for the same joins.
//!
//! The intent is committed together with the status, in a task that does not know its caller. From then on
//! the operation goes on whoever waits for it.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use uuid::Uuid;
use wrenn_api::{
    ErrorCode, Reason,
    audit::{AuditAction, AuditStatus},
};
use wrenn_database::{
    Error as DbError, Generation, NewOp, OpActor, OpKind, OpParams, OpProgress, OpRow,
    PgConnection, SandboxRow, State, audit_sandbox, op_insert, op_live, op_progress, sandbox_get,
    sandbox_lock, transition,
};
use wrenn_ids::SandboxId;

use super::{Error, Result, TeamActor, admission, sandbox::ANSWER_WITHIN, wake};
use crate::{
    background::{orders::REUNION, pause, resume},
    state::App,
};

/// How long a pause waits for its outcome; its route ends a second later.
const PAUSE_WITHIN: Duration = Duration::from_secs(54);
/// How long a waiter trusts that no news is no change.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Who has an operation done, and by which request.
#[derive(Debug, Clone)]
pub(crate) struct By {
    actor: OpActor,
    request_id: String,
}

impl By {
    /// The platform, by itself; `request` is what the operation is written down with.
    pub(crate) fn system(request: &str) -> Self {
        Self {
            actor: OpActor::SYSTEM,
            request_id: request.to_owned(),
        }
    }
}

/// What a request for an operation led to.
#[derive(Debug)]
pub(crate) enum Begun {
    /// It is so already.
    Already(Box<SandboxRow>),
    /// This operation does it, ours or one that was joined.
    Op(Uuid),
}

/// Pauses a sandbox and waits until its snapshot is durable.
///
/// # Errors
/// 409 unless it runs or is paused, the host's failure, or it takes too long and goes on.
pub(crate) async fn pause(
    app: &Arc<App>,
    actor: &TeamActor,
    row: SandboxRow,
    request_id: String,
) -> Result<SandboxRow> {
    let deadline = Instant::now() + PAUSE_WITHIN;
    let id = row.id();
    let by = By {
        actor: actor.as_op_actor(),
        request_id,
    };
    let begun = app.tasks.spawn({
        let app = Arc::clone(app);
        async move { begin_pause(&app, id, State::Running, Reason::User, &by).await }
    });
    match begun.await.map_err(Error::internal)?? {
        Begun::Already(row) => Ok(*row),
        Begun::Op(op) => {
            let progress = wait(app, id, op, deadline).await?;
            if progress.as_ref().is_some_and(OpProgress::is_live) {
                let text = "the sandbox is still being paused, which goes on";
                return Err(Error::new(ErrorCode::DeadlineExceeded, text));
            }
            outcome(app, id, progress, "paused").await
        }
    }
}

/// Resumes a sandbox; answers it as it is when it runs, or after [`ANSWER_WITHIN`].
///
/// # Errors
/// 409 unless it is paused or runs, quota, no room on its host, or the host's failure.
pub(crate) async fn resume(
    app: &Arc<App>,
    actor: &TeamActor,
    row: SandboxRow,
    request_id: String,
) -> Result<SandboxRow> {
    let deadline = Instant::now() + ANSWER_WITHIN;
    let id = row.id();
    let by = By {
        actor: actor.as_op_actor(),
        request_id,
    };
    match spawn_resume(app, id, by).await? {
        Begun::Already(row) => Ok(*row),
        Begun::Op(op) => {
            let progress = wait(app, id, op, deadline).await?;
            if progress.as_ref().is_some_and(OpProgress::is_live) {
                return reread(app, id).await;
            }
            outcome(app, id, progress, "resumed").await
        }
    }
}

/// Begins a resume in a task of its own.
///
/// # Errors
/// As [`begin_resume`].
pub(super) async fn spawn_resume(app: &Arc<App>, id: SandboxId, by: By) -> Result<Begun> {
    let begun = app.tasks.spawn({
        let app = Arc::clone(app);
        async move { begin_resume(&app, id, &by).await }
    });
    begun.await.map_err(Error::internal)?
}

/// Commits the intent to pause a sandbox that is in `from`, unless it is paused or being paused. `from` is
/// `Paused` when the host must be told again.
///
/// # Errors
/// 409, or the database is away.
pub(crate) async fn begin_pause(
    app: &Arc<App>,
    id: SandboxId,
    from: State,
    reason: Reason,
    by: &By,
) -> Result<Begun> {
    let mut tx = app.db.begin().await.map_err(DbError::from)?;
    let Some(row) = sandbox_lock(&mut tx, id).await? else {
        return Err(Error::not_found(format_args!("sandbox {id}")));
    };
    if let Some(live) = op_live(&mut tx, id).await? {
        return match live.kind {
            OpKind::Pause => Ok(Begun::Op(live.id)),
            _ => Err(wrong_state(&row)),
        };
    }
    if row.status != from {
        return match row.status {
            State::Paused | State::Hibernating | State::Hibernated => {
                Ok(Begun::Already(Box::new(row)))
            }
            _ => Err(wrong_state(&row)),
        };
    }
    let op = Change {
        kind: OpKind::Pause,
        to: State::Pausing,
        step: pause::FIRST_STEP,
        reason: Some(reason),
        deadline_sec: pause::DEADLINE_SEC,
        by,
    };
    let op = begin(app, &mut tx, &row, op).await?;
    tx.commit().await.map_err(DbError::from)?;
    app.checkpoint("pause.committed").await;
    app.bus.sandbox_changed(id);
    let begun = op.id;
    app.ops.start(app, op);
    Ok(Begun::Op(begun))
}

/// Commits the intent to resume, with the quota and the host's room for it, unless it runs or is being
/// resumed.
///
/// # Errors
/// 409, quota, no room on its host, or the database is away.
pub(crate) async fn begin_resume(app: &Arc<App>, id: SandboxId, by: &By) -> Result<Begun> {
    let mut tx = app.db.begin().await.map_err(DbError::from)?;
    let Some(row) = sandbox_lock(&mut tx, id).await? else {
        return Err(Error::not_found(format_args!("sandbox {id}")));
    };
    if matches!(row.status, State::Running | State::Snapshotting) {
        return Ok(Begun::Already(Box::new(row)));
    }
    if let Some(live) = op_live(&mut tx, id).await? {
        return match live.kind {
            OpKind::Resume => Ok(Begun::Op(live.id)),
            _ => Err(wrong_state(&row)),
        };
    }
    if row.status != State::Paused {
        return Err(wrong_state(&row));
    }
    admission::readmit(&mut tx, app.scheduler.as_ref(), &row).await?;
    let op = Change {
        kind: OpKind::Resume,
        to: State::Resuming,
        step: resume::FIRST_STEP,
        // Kept, so that a failure leaves the row as it was.
        reason: row.reason.as_deref().and_then(|reason| reason.parse().ok()),
        deadline_sec: resume::DEADLINE_SEC,
        by,
    };
    let op = begin(app, &mut tx, &row, op).await?;
    if matches!(by.request_id.as_str(), wake::REQUEST | REUNION) {
        let (action, status) = (AuditAction::AutoResume, AuditStatus::Success);
        audit_sandbox(&mut *tx, id, action, status, None).await?;
    }
    tx.commit().await.map_err(DbError::from)?;
    app.checkpoint("resume.committed").await;
    app.bus.sandbox_changed(id);
    let begun = op.id;
    app.ops.start(app, op);
    Ok(Begun::Op(begun))
}

/// An operation that begins with a change of status.
struct Change<'a> {
    kind: OpKind,
    to: State,
    step: &'a str,
    reason: Option<Reason>,
    deadline_sec: i32,
    by: &'a By,
}

/// Inserts the operation and changes the status of a locked row.
async fn begin(
    app: &App,
    tx: &mut PgConnection,
    row: &SandboxRow,
    change: Change<'_>,
) -> Result<OpRow> {
    let (from, keep) = ([row.status], Generation::Keep);
    transition(
        &mut *tx,
        row.id(),
        &from,
        change.to,
        row.generation,
        keep,
        None,
    )
    .await?
    .ok_or_else(|| Error::internal("a locked row changed"))?;
    let op = NewOp {
        sandbox: row.id(),
        kind: change.kind,
        generation: row.generation,
        step: change.step,
        params: OpParams {
            reason: change.reason,
            ..OpParams::default()
        },
        actor: &change.by.actor,
        request_id: &change.by.request_id,
        owner: app.replica,
        deadline_sec: Some(change.deadline_sec),
    };
    Ok(op_insert(&mut *tx, &op).await?)
}

/// Waits until nobody works on the operation any more, or the deadline; `None` when its row is gone.
pub(super) async fn wait(
    app: &Arc<App>,
    id: SandboxId,
    op: Uuid,
    deadline: Instant,
) -> Result<Option<OpProgress>> {
    let watch = app.bus.watch(id);
    loop {
        let changed = watch.changed(LOOK_AGAIN);
        let progress = op_progress(&app.db, op).await?;
        if !progress.as_ref().is_some_and(OpProgress::is_live)
            || tokio::time::timeout_at(deadline, changed).await.is_err()
        {
            return Ok(progress);
        }
    }
}

/// The sandbox after an operation that ended, or why it failed. `done` completes "could not be".
pub(super) async fn outcome(
    app: &App,
    id: SandboxId,
    progress: Option<OpProgress>,
    done: &str,
) -> Result<SandboxRow> {
    let row = reread(app, id).await?;
    match progress {
        Some(progress) if progress.state == "done" => Ok(row),
        Some(progress) if progress.state == "failed" => Err(Error::new(
            failure(progress.error_code),
            format!(
                "the sandbox could not be {done} and is {}",
                row.status.wire()
            ),
        )),
        _ => Err(wrong_state(&row)),
    }
}

/// What an operation failed with.
pub(super) fn failure(code: Option<String>) -> ErrorCode {
    code.and_then(|code| code.parse().ok())
        .unwrap_or(ErrorCode::AgentError)
}

async fn reread(app: &App, id: SandboxId) -> Result<SandboxRow> {
    let row = sandbox_get(&app.db, id).await?;
    row.ok_or_else(|| Error::not_found(format_args!("sandbox {id}")))
}

/// 409: the status does not allow it.
pub(super) fn wrong_state(row: &SandboxRow) -> Error {
    let doing = match row.status {
        State::Pausing => "being paused",
        State::Resuming => "being resumed",
        State::Snapshotting | State::SnapshottingPaused => "in a snapshot",
        status => status.wire().as_str(),
    };
    Error::new(
        ErrorCode::InvalidState,
        format!("the sandbox is {doing}, which does not allow this"),
    )
}
