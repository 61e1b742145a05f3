//! What a host's report calls for on the host itself.

use std::{sync::Arc, time::Duration};

use wrenn_api::{ErrorCode, Reason};
use wrenn_database::{JudgedRow, State};
use wrenn_ids::{HostId, SandboxId, TemplateId};
use wrenn_rpc::hostagent::{
    DestroySandboxRequest, OnIdle, Operation, PauseReason, PauseSandboxRequest, SandboxState,
    UpdateSandboxRequest,
};

use super::{
    agent,
    judgement::{Reported, Verdict},
    report::Report,
};
use crate::{
    app::{
        Error, Result,
        pause::{By, begin_pause, begin_resume},
        policy, sandbox, snapshot,
    },
    hosts::{
        error::{Call, from_rpc},
        pool::within,
    },
    state::App,
};

/// What the operations are written down with.
const REQUEST: &str = "reconciliation";
/// The same for what runs again because its host is back.
pub(crate) const REUNION: &str = "host-reconnected";
/// How long a sandbox that did not run again then is left alone, in microseconds.
const REUNION_AGAIN_US: i64 = 600_000_000;
/// How long the host may take.
const LIMIT: Duration = Duration::from_secs(20);

/// What has to happen on a host after its report.
pub(super) enum Order {
    Destroy(SandboxId, i64),
    FinishDestroy(SandboxId),
    /// An order that came late has woken it.
    Pause(SandboxId, Reason),
    /// It was paused because the host had lost us, and would run otherwise.
    Resume(SandboxId),
    /// Its idle policy there is not the row's.
    SetIdle(SandboxId, i64, u32, OnIdle),
    /// Nobody knows it: it is stopped, and kept for now.
    Quarantine(SandboxId, i64),
    /// Its copy of a template that is being deleted.
    DeleteCopy(TemplateId),
}

/// What the verdict calls for.
pub(super) fn order(verdict: Verdict, row: &JudgedRow) -> Option<Order> {
    let id = SandboxId::from_uuid(row.id);
    match verdict {
        Verdict::DestroyThere => Some(Order::Destroy(id, row.generation)),
        Verdict::FinishDestroy => Some(Order::FinishDestroy(id)),
        Verdict::PauseThere => {
            let reason = row.reason.as_deref().and_then(|reason| reason.parse().ok());
            Some(Order::Pause(id, reason.unwrap_or(Reason::User)))
        }
        _ => None,
    }
}

/// What its host paused because it had lost us runs again now: at once when we hear of it, and again after a while
/// when that failed or was forgotten.
pub(super) fn reunion(
    verdict: Verdict,
    row: &JudgedRow,
    reported: Reported,
    report: &Report,
    asked_us: i64,
) -> Option<Order> {
    let id = SandboxId::from_uuid(row.id);
    let lost = Reason::HostDisconnected;
    let is_due = match verdict {
        Verdict::Pause => report.paused.get(&id) == Some(&lost),
        Verdict::Leave => {
            row.status == State::Paused
                && matches!(reported, Reported::Present(SandboxState::Paused, _))
                && row.reason.as_deref() == Some(lost.as_str())
                && asked_us - row.changed_us > REUNION_AGAIN_US
        }
        _ => false,
    };
    is_due.then_some(Order::Resume(id))
}

/// What the agent was not told when the policy changed: it was away, or a resume was under way.
pub(super) fn idle_order(row: &JudgedRow, reported: Reported, report: &Report) -> Option<Order> {
    let running = matches!(reported, Reported::Present(SandboxState::Running, _));
    if row.status != State::Running || !running || row.has_live_op {
        return None;
    }
    let id = SandboxId::from_uuid(row.id);
    let (seconds, on_idle) = report.idle.get(&id)?;
    let wanted = (agent::number(row.timeout_sec), agent::on_idle(&row.on_idle));
    let differs = *seconds != wanted.0 || (wanted.0 > 0 && *on_idle != wanted.1);
    differs.then_some(Order::SetIdle(id, row.generation, wanted.0, wanted.1))
}

/// Does on the host what the report called for; a failure is repeated by the next report.
pub(super) async fn carry_out(app: &Arc<App>, host: HostId, order: Order) {
    let outcome = match order {
        Order::Destroy(id, generation) => destroy_there(app, host, id, generation).await,
        Order::FinishDestroy(id) => {
            let cause = sandbox::Cause::system(Reason::Reconciled, REQUEST);
            sandbox::begin_destroy(app, id, cause).await
        }
        Order::Pause(id, reason) => {
            tracing::warn!(sandbox_id = %id, host_id = %host, "pausing a sandbox that should be paused");
            let begun = begin_pause(app, id, State::Paused, reason, &By::system(REQUEST)).await;
            begun.map(drop)
        }
        Order::Resume(id) => {
            let begun = begin_resume(app, id, &By::system(REUNION)).await;
            begun.map(drop)
        }
        Order::SetIdle(id, generation, seconds, on_idle) => {
            let change = UpdateSandboxRequest {
                idle_timeout_sec: Some(seconds),
                on_idle: on_idle.into(),
                ..UpdateSandboxRequest::default()
            };
            match policy::tell_agent(app, host, id, generation, change).await {
                // An agent of an older version: said once to who changed the policy, not each 5 s.
                Err(error) if error.code == ErrorCode::NotImplemented => Ok(()),
                outcome => outcome,
            }
        }
        Order::Quarantine(id, generation) => stop_there(app, host, id, generation).await,
        Order::DeleteCopy(id) => snapshot::delete_copy(app, host, id).await,
    };
    if let Err(error) = outcome {
        tracing::warn!(host_id = %host, cause = ?error, "a host does not agree with its rows yet");
    }
}

fn as_operation(why: &str, host: HostId, id: SandboxId, generation: i64) -> Operation {
    Operation {
        op_id: format!("{why}-{id}-{generation}"),
        generation: u64::try_from(generation).unwrap_or(0),
        host_id: host.to_string(),
        ..Operation::default()
    }
}

async fn stop_there(app: &App, host: HostId, id: SandboxId, generation: i64) -> Result<()> {
    let Some(client) = app.pool.client(host).await? else {
        return Ok(());
    };
    let request = PauseSandboxRequest {
        operation: Some(as_operation("quarantine", host, id, generation)).into(),
        sandbox_id: id.to_string(),
        reason: PauseReason::User.into(),
        ..PauseSandboxRequest::default()
    };
    let paused = client
        .pause_sandbox_with_options(request, within(LIMIT))
        .await;
    paused
        .map(drop)
        .map_err(|error| from_rpc(error, Call::Lifecycle))
}

async fn destroy_there(app: &App, host: HostId, id: SandboxId, generation: i64) -> Result<()> {
    let Some(client) = app.pool.client(host).await? else {
        return Ok(());
    };
    tracing::warn!(sandbox_id = %id, host_id = %host, "destroying a sandbox that should not be there");
    let request = DestroySandboxRequest {
        operation: Some(as_operation("reconcile", host, id, generation)).into(),
        sandbox_id: id.to_string(),
        ..DestroySandboxRequest::default()
    };
    match client
        .destroy_sandbox_with_options(request, within(LIMIT))
        .await
    {
        Ok(_) => Ok(()),
        Err(error) => match from_rpc(error, Call::Lifecycle) {
            error if error.code == ErrorCode::NotFound => Ok(()),
            error => Err::<(), Error>(error),
        },
    }
}
