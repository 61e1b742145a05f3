//! The steps of a destroy: agent_destroy → mark_stopped.
//!
//! There is no undo and no deadline: the intent is durable, and the host is asked again until it confirms
//! or is deleted. Only "not found" counts as a confirmation besides success.

use std::{sync::Arc, time::Duration};

use wrenn_database::{
    Error as DbError, Generation, OpRow, OpState, SandboxRow, State, op_finish, op_set_step,
    sandbox_get, transition,
};
use wrenn_rpc::{connectrpc::ErrorCode as RpcCode, hostagent::DestroySandboxRequest};

use super::{agent::operation, ops::Outcome};
use crate::{
    app::{Error, Result},
    hosts::{
        error::{Call, from_rpc},
        pool::within,
    },
    state::App,
};

/// The first step.
pub(crate) const FIRST_STEP: &str = "agent_destroy";
const MARK_STOPPED: &str = "mark_stopped";
/// How long a host may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs the steps from where the operation stands.
pub(super) async fn run(app: &Arc<App>, op: &OpRow) -> Result<Outcome> {
    let Some(row) = sandbox_get(&app.db, op.sandbox_id()).await? else {
        return Ok(Outcome::Lost);
    };
    if row.generation != op.generation {
        return Ok(Outcome::Lost);
    }
    match op.step.as_str() {
        FIRST_STEP => {
            app.checkpoint("destroy.agent_destroy.before").await;
            agent_destroy(app, op, &row).await?;
            app.checkpoint("destroy.agent_destroy.after").await;
            if !op_set_step(&app.db, op.id, app.replica, MARK_STOPPED).await? {
                return Ok(Outcome::Lost);
            }
        }
        MARK_STOPPED => {}
        other => {
            return Err(Error::internal(format!(
                "unknown step {other} of a destroy"
            )));
        }
    }
    app.checkpoint("destroy.mark_stopped.before").await;
    let mut tx = app.db.begin().await.map_err(DbError::from)?;
    let (id, from, reason) = (row.id(), [State::Stopping], op.params.reason);
    let (generation, keep) = (op.generation, Generation::Keep);
    let moved = transition(
        &mut *tx,
        id,
        &from,
        State::Stopped,
        generation,
        keep,
        reason,
    )
    .await?;
    let held = op_finish(&mut *tx, op.id, app.replica, OpState::Done, None).await?;
    if moved.is_none() || !held {
        return Ok(Outcome::Lost);
    }
    tx.commit().await.map_err(DbError::from)?;
    app.checkpoint("destroy.mark_stopped.after").await;
    Ok(Outcome::Finished)
}

async fn agent_destroy(app: &App, op: &OpRow, row: &SandboxRow) -> Result<()> {
    let Some(host) = row.host_id() else {
        return Ok(());
    };
    // A deleted host has nothing left to destroy.
    let Some(client) = app.pool.client(host).await? else {
        return Ok(());
    };
    let request = DestroySandboxRequest {
        operation: Some(operation(op, row)).into(),
        sandbox_id: row.id().to_string(),
        ..Default::default()
    };
    match client
        .destroy_sandbox_with_options(request, within(LIMIT))
        .await
    {
        Ok(_) => Ok(()),
        Err(error) if error.code == RpcCode::NotFound => Ok(()),
        Err(error) => Err(from_rpc(error, Call::Lifecycle)),
    }
}
