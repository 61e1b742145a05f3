//! The steps of a pause: agent_pause → mark_paused, or, when the agent did not confirm, ask_agent.
//!
//! There is no undo: what became of a pause that was not confirmed only the agent knows, and it is asked.

use std::{sync::Arc, time::Duration};

use wrenn_api::{ErrorCode, Reason as WireReason};
use wrenn_database::{OpRow, SandboxRow, op_set_step, sandbox_get};
use wrenn_rpc::hostagent::{PauseReason, PauseSandboxRequest};

use super::{
    agent::{client_of, is_unknown, operation},
    ops::{ATTEMPTS, Outcome, backoff},
    truth,
};
use crate::{
    app::{Error, Result},
    hosts::{
        error::{Call, from_rpc},
        pool::within,
    },
    state::App,
};

/// Seconds until the agent is asked what became of it.
pub(crate) const DEADLINE_SEC: i32 = 600;
/// The first step.
pub(crate) const FIRST_STEP: &str = "agent_pause";
const MARK_PAUSED: &str = "mark_paused";
const ASK_AGENT: &str = "ask_agent";

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
        let next = match step.as_str() {
            FIRST_STEP => {
                app.checkpoint("pause.agent_pause.before").await;
                match agent_pause(app, op, &row).await? {
                    Attempt::Done => {
                        app.checkpoint("pause.agent_pause.after").await;
                        MARK_PAUSED
                    }
                    Attempt::Later(after) => return Ok(Outcome::Later(after)),
                    Attempt::Ask(code) => {
                        failure = code;
                        ASK_AGENT
                    }
                }
            }
            MARK_PAUSED => {
                app.checkpoint("pause.mark_paused.before").await;
                let outcome = truth::mark_paused(app, op, op.params.reason, None).await?;
                app.checkpoint("pause.mark_paused.after").await;
                return Ok(outcome);
            }
            ASK_AGENT => {
                app.checkpoint("pause.ask_agent.before").await;
                return truth::settle(app, op, &row, failure).await;
            }
            other => return Err(Error::internal(format!("unknown step {other} of a pause"))),
        };
        if !op_set_step(&app.db, op.id, app.replica, next).await? {
            return Ok(Outcome::Lost);
        }
        next.clone_into(&mut step);
    }
}

enum Attempt {
    Done,
    Later(Duration),
    Ask(ErrorCode),
}

async fn agent_pause(app: &Arc<App>, op: &OpRow, row: &SandboxRow) -> Result<Attempt> {
    let remaining = u64::try_from(op.remaining_ms.unwrap_or(0)).unwrap_or(0);
    if remaining == 0 {
        return Ok(Attempt::Ask(ErrorCode::DeadlineExceeded));
    }
    let Some(client) = client_of(app, row).await? else {
        return Ok(Attempt::Ask(ErrorCode::HostUnavailable));
    };
    let request = PauseSandboxRequest {
        operation: Some(operation(op, row)).into(),
        sandbox_id: row.id().to_string(),
        reason: match op.params.reason {
            Some(WireReason::HostDrain) => PauseReason::HostDrain,
            _ => PauseReason::User,
        }
        .into(),
        ..Default::default()
    };
    let limit = within(Duration::from_millis(remaining));
    let error = match client.pause_sandbox_with_options(request, limit).await {
        Ok(_) => return Ok(Attempt::Done),
        Err(error) => error,
    };
    tracing::warn!(sandbox_id = %row.id(), host_id = ?row.host_id(), request_id = %op.request_id, %error, "a host did not pause the sandbox");
    if is_unknown(&error) && op.attempts < ATTEMPTS {
        return Ok(Attempt::Later(backoff(op.attempts)));
    }
    Ok(Attempt::Ask(from_rpc(error, Call::Lifecycle).code))
}
