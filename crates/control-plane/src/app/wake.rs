//! Using a sandbox that sleeps: it is woken first, once for all who ask at a time.
//!
//! A sandbox that was created with auto-resume off is never woken by use: its users get 409.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use wrenn_api::ErrorCode;
use wrenn_database::{OpProgress, SandboxRow, State};
use wrenn_rpc::{connectrpc::ConnectError, hostagent::error_detail::Reason};

use super::{
    Error, Result,
    pause::{Begun, By, outcome, spawn_resume, wait},
    sandbox::{ANSWER_WITHIN, running_client, settled, touch},
};
use crate::{
    hosts::{
        Client,
        error::{Call, from_rpc, reason},
    },
    state::App,
};

/// How long a program waits for its sandbox.
pub(crate) const FOR_A_PROGRAM: Duration = Duration::from_secs(30);
/// How long a file transfer does; clients give up at 5 s.
pub(crate) const FOR_A_FILE: Duration = ANSWER_WITHIN;

/// The request that a resume by use is written down with.
pub(super) const REQUEST: &str = "auto-resume";

/// Refuses what [`client`] would refuse at once, without waking anything.
///
/// # Errors
/// 409 unless the sandbox runs or may be woken.
pub(crate) fn check(row: &SandboxRow) -> Result<()> {
    match row.status {
        State::Running | State::Snapshotting => Ok(()),
        State::Paused | State::Pausing | State::Resuming if row.auto_resume => Ok(()),
        State::Pausing => Ok(()),
        status => {
            let hint = match status {
                State::Paused => " and auto_resume is off",
                _ => "",
            };
            Err(Error::new(
                ErrorCode::InvalidState,
                format!("the sandbox is {}{hint}", status.wire()),
            ))
        }
    }
}

/// The client of the host of a sandbox that runs, or does so within `patience`.
///
/// # Errors
/// 409 when it may not be woken, 503 when it does not wake in time, or the failure of its resume.
pub(crate) async fn client(app: &Arc<App>, row: &SandboxRow, patience: Duration) -> Result<Client> {
    let deadline = Instant::now() + patience;
    let id = row.id();
    let mut row = row.clone();
    loop {
        check(&row)?;
        row = match row.status {
            State::Paused => match spawn_resume(app, id, By::system(REQUEST)).await? {
                Begun::Already(row) => *row,
                Begun::Op(op) => {
                    let progress = wait(app, id, op, deadline).await?;
                    if progress.as_ref().is_some_and(OpProgress::is_live) {
                        return Err(still_asleep());
                    }
                    outcome(app, id, progress, "resumed").await?
                }
            },
            before @ (State::Pausing | State::Resuming) => {
                let next = settled(app, row, deadline, |row| row.status != before).await?;
                // What somebody else's resume failed with is theirs; it is not tried for each waiter.
                if next.status == before
                    || (before == State::Resuming && next.status == State::Paused)
                {
                    return Err(still_asleep());
                }
                next
            }
            _ => return running_client(app, &row).await,
        };
    }
}

/// [`client`] for what cannot be said twice: a sandbox that its host pauses when idle is first told that it is in
/// use, so that it does not fall asleep before what follows has arrived.
///
/// # Errors
/// As [`client`], and when its host does not answer.
pub(crate) async fn awake(app: &Arc<App>, row: &SandboxRow, patience: Duration) -> Result<Client> {
    if row.timeout_sec == 0 {
        return client(app, row, patience).await;
    }
    let told = call(app, row, patience, |client: Client| async move {
        touch(&client, row.id()).await?;
        Ok(client)
    });
    told.await?
        .map_err(|error| from_rpc(error, Call::Lifecycle))
}

/// Calls the agent of a sandbox that runs, or does so within `patience`; once more when the agent had just
/// paused it by itself and the news of that was on its way.
///
/// # Errors
/// As [`client`]; the inner result is the agent's.
pub(crate) async fn call<T, F, Fut>(
    app: &Arc<App>,
    row: &SandboxRow,
    patience: Duration,
    call: F,
) -> Result<Result<T, ConnectError>>
where
    F: Fn(Client) -> Fut,
    Fut: Future<Output = Result<T, ConnectError>>,
{
    let deadline = Instant::now() + patience;
    let answer = call(client(app, row, patience).await?).await;
    let refused = match answer {
        Err(error) if reason(&error) == Some(Reason::WrongState) => error,
        answer => return Ok(answer),
    };
    let running = |row: &SandboxRow| row.status == State::Running;
    let known = settled(app, row.clone(), deadline, |row| !running(row)).await?;
    if running(&known) {
        return Ok(Err(refused));
    }
    let left = deadline.saturating_duration_since(Instant::now());
    Ok(call(client(app, &known, left).await?).await)
}

fn still_asleep() -> Error {
    Error::new(
        ErrorCode::HostUnavailable,
        "the sandbox did not wake in time; try again",
    )
}
