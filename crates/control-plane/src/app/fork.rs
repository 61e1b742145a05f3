//! Many sandboxes from one as it is: its memory, its programs, its files.
//!
//! The children are rows from the first moment, on the source's host, which has their memory; the operation
//! that makes them is the source's. All come to run or none stays.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use uuid::Uuid;
use wrenn_api::{ErrorCode, ForkSandbox};
use wrenn_database::{
    Error as DbError, Fork, NewOp, OpKind, OpParams, OpProgress, SandboxRow, State, op_insert,
    op_live, sandbox_lock, sandboxes_fork, sandboxes_get,
};
use wrenn_ids::SandboxId;

use super::{
    Error, Result, TeamActor, admission,
    pause::{failure, wait, wrong_state},
    sandbox::{as_i32, open_envs, seal_envs},
};
use crate::{background::fork, state::App};

/// How long a fork waits for its outcome; its route ends a second later.
const FORK_WITHIN: Duration = Duration::from_secs(29);

/// Forks a sandbox that runs or is paused; answers the children as they are when all run, or when the time
/// to wait is over.
///
/// # Errors
/// Bad fields, 409, quota, no room on its host, or the host's failure.
pub(crate) async fn fork(
    app: &Arc<App>,
    actor: &TeamActor,
    source: SandboxRow,
    request: ForkSandbox,
    request_id: String,
) -> Result<Vec<SandboxRow>> {
    let deadline = Instant::now() + FORK_WITHIN;
    request.validate()?;
    let id = source.id();
    let begun = app.tasks.spawn({
        let (app, actor) = (Arc::clone(app), actor.clone());
        async move { begin(&app, &actor, id, &request, &request_id).await }
    });
    let (op, children) = begun.await.map_err(Error::internal)??;
    let progress = wait(app, id, op, deadline).await?;
    match progress {
        Some(progress) if progress.is_live() || progress.state == "done" => {
            Ok(sandboxes_get(&app.db, &children).await?)
        }
        Some(OpProgress { state, error_code }) if state == "failed" => Err(Error::new(
            failure(error_code),
            "the sandbox could not be forked",
        )),
        _ => Err(Error::new(
            ErrorCode::InvalidState,
            "the sandbox was deleted while it was forked",
        )),
    }
}

/// Commits the children and the operation.
async fn begin(
    app: &Arc<App>,
    actor: &TeamActor,
    id: SandboxId,
    request: &ForkSandbox,
    request_id: &str,
) -> Result<(Uuid, Vec<SandboxId>)> {
    let mut tx = app.db.begin().await.map_err(DbError::from)?;
    let Some(source) = sandbox_lock(&mut tx, id).await? else {
        return Err(Error::not_found(format_args!("sandbox {id}")));
    };
    let forkable = matches!(source.status, State::Running | State::Paused);
    if !forkable || op_live(&mut tx, id).await?.is_some() {
        return Err(wrong_state(&source));
    }
    let count = as_i32(request.count.unwrap_or(1));
    admission::admit_beside(&mut tx, app.scheduler.as_ref(), &source, count).await?;
    let envs = open_envs(app, &source)?;
    let mut children = Vec::new();
    for _ in 0..count {
        let child = SandboxId::new();
        let sealed = match envs.is_empty() {
            true => None,
            false => Some(seal_envs(app, child, &envs)?),
        };
        children.push((child, sealed));
    }
    let fork = Fork {
        source: id,
        children: &children,
        metadata: request.metadata.as_ref(),
        timeout_sec: request.timeout_sec.map(as_i32),
        created_by: actor.principal(),
    };
    sandboxes_fork(&mut *tx, &fork).await?;
    let children: Vec<SandboxId> = children.into_iter().map(|(id, _)| id).collect();
    let op = NewOp {
        sandbox: id,
        kind: OpKind::Fork,
        generation: source.generation,
        step: fork::FIRST_STEP,
        params: OpParams {
            children: children.iter().map(|id| id.as_uuid()).collect(),
            ..OpParams::default()
        },
        actor: &actor.as_op_actor(),
        request_id,
        owner: app.replica,
        deadline_sec: Some(fork::DEADLINE_SEC),
    };
    let op = op_insert(&mut *tx, &op).await?;
    tx.commit().await.map_err(DbError::from)?;
    app.checkpoint("fork.committed").await;
    let begun = op.id;
    app.ops.start(app, op);
    Ok((begun, children))
}
