//! The steps of a resume.
//!
//! ```text
//! (quota and host: committed with the request) → agent_resume → mark_running → done
//!                          refusal, deadline, 5 attempts │
//!                                                        └→ ask_agent → paused as it was → failed
//! ```
//!
//! A snapshot outlives a resume that failed, so that the undo is to say so. Only the agent knows whether one
//! that was not confirmed came about, and it is asked.

use std::{sync::Arc, time::Duration};

use wrenn_api::ErrorCode;
use wrenn_database::{OpRow, SandboxRow, op_set_step, sandbox_get};
use wrenn_rpc::hostagent::{ResumeSandboxRequest, Sandbox};

use super::{
    agent::{client_of, is_unknown, number, on_idle, operation},
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

/// Seconds until a resume is given up.
pub(crate) const DEADLINE_SEC: i32 = 60;
/// The step after the reservation.
pub(crate) const FIRST_STEP: &str = "agent_resume";
const MARK_RUNNING: &str = "mark_running";
const ASK_AGENT: &str = "ask_agent";

/// Runs the steps from where the operation stands.
pub(super) async fn run(app: &Arc<App>, op: &OpRow) -> Result<Outcome> {
    let mut step = op.step.clone();
    let mut failure = ErrorCode::AgentError;
    let mut ready = None;
    loop {
        let Some(row) = sandbox_get(&app.db, op.sandbox_id()).await? else {
            return Ok(Outcome::Lost);
        };
        if row.generation != op.generation {
            return Ok(Outcome::Lost);
        }
        let next = match step.as_str() {
            FIRST_STEP => {
                app.checkpoint("resume.agent_resume.before").await;
                match agent_resume(app, op, &row).await? {
                    Attempt::Ready(sandbox) => {
                        app.checkpoint("resume.agent_resume.after").await;
                        ready = Some(*sandbox);
                        MARK_RUNNING
                    }
                    Attempt::Later(after) => return Ok(Outcome::Later(after)),
                    Attempt::Ask(code) => {
                        failure = code;
                        ASK_AGENT
                    }
                }
            }
            MARK_RUNNING => {
                app.checkpoint("resume.mark_running.before").await;
                let outcome = match ready.take() {
                    Some(sandbox) => truth::mark_running(app, op, sandbox, None).await?,
                    None => truth::settle(app, op, &row, failure).await?,
                };
                app.checkpoint("resume.mark_running.after").await;
                return Ok(outcome);
            }
            ASK_AGENT => {
                app.checkpoint("resume.ask_agent.before").await;
                return truth::settle(app, op, &row, failure).await;
            }
            other => return Err(Error::internal(format!("unknown step {other} of a resume"))),
        };
        if !op_set_step(&app.db, op.id, app.replica, next).await? {
            return Ok(Outcome::Lost);
        }
        next.clone_into(&mut step);
    }
}

enum Attempt {
    Ready(Box<Sandbox>),
    Later(Duration),
    Ask(ErrorCode),
}

async fn agent_resume(app: &Arc<App>, op: &OpRow, row: &SandboxRow) -> Result<Attempt> {
    let remaining = u64::try_from(op.remaining_ms.unwrap_or(0)).unwrap_or(0);
    if remaining == 0 {
        return Ok(Attempt::Ask(ErrorCode::DeadlineExceeded));
    }
    let Some(client) = client_of(app, row).await? else {
        return Ok(Attempt::Ask(ErrorCode::HostUnavailable));
    };
    let request = ResumeSandboxRequest {
        operation: Some(operation(op, row)).into(),
        sandbox_id: row.id().to_string(),
        idle_timeout_sec: number(row.timeout_sec),
        on_idle: on_idle(&row.on_idle).into(),
        ..Default::default()
    };
    let limit = within(Duration::from_millis(remaining));
    let error = match client.resume_sandbox_with_options(request, limit).await {
        Ok(answer) => {
            let sandbox = answer.into_owned().sandbox.into_option();
            return Ok(Attempt::Ready(Box::new(sandbox.unwrap_or_default())));
        }
        Err(error) => error,
    };
    tracing::warn!(sandbox_id = %row.id(), host_id = ?row.host_id(), request_id = %op.request_id, %error, "a host did not resume the sandbox");
    if is_unknown(&error) && op.attempts < ATTEMPTS {
        return Ok(Attempt::Later(backoff(op.attempts)));
    }
    Ok(Attempt::Ask(from_rpc(error, Call::Lifecycle).code))
}
