//! The end of a host.
//!
//! Under its lock it is seen to hold nothing and deleted in one transaction, so that nothing can be placed on it in
//! between. By force its sandboxes are destroyed first; those of a host that does not answer end with it.

use std::{sync::Arc, time::Duration};

use futures::StreamExt as _;
use tokio::time::Instant;
use wrenn_api::{ErrorCode, Reason};
use wrenn_database::{
    Error as DbError, HeldRow, HostChange, HostRow, PgConnection, State, host_change, host_delete,
    host_get, host_lock, host_sandboxes, ops_wake_host, sandbox_get,
};
use wrenn_ids::SandboxId;

use crate::{
    app::{
        Error, HostKeeper, Result,
        sandbox::{Cause, begin_destroy, settled},
    },
    auth::one_time,
    state::App,
};

/// Sandboxes that are destroyed at once.
const AT_ONCE: usize = 8;
/// How long the end of one of them is waited for.
const EACH_WITHIN: Duration = Duration::from_secs(60);
/// What the operations are written down with.
const REQUEST: &str = "host-deleted";

/// What becomes of the sandboxes of a host that is to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ItsSandboxes {
    /// They keep it.
    Keep,
    /// They are destroyed first.
    Destroy,
}

/// What the deletion of a host would take with it.
pub(crate) struct Preview {
    pub(crate) host: HostRow,
    pub(crate) sandboxes: Vec<SandboxId>,
    pub(crate) paused: Vec<SandboxId>,
}

/// What came of a deletion.
pub(crate) enum Removal {
    /// It is deleted.
    Done,
    /// These keep it.
    Kept(Vec<SandboxId>),
}

fn ids<'a>(rows: impl Iterator<Item = &'a HeldRow>) -> Vec<SandboxId> {
    rows.map(HeldRow::id).collect()
}

/// Whether a host answers, as far as is known.
pub(crate) fn answers(row: &HostRow) -> bool {
    matches!(row.status.as_str(), "online" | "draining")
}

/// What the deletion of a host would take with it.
///
/// # Errors
/// The database is away, or the host was deleted a moment ago.
pub(crate) async fn preview(app: &App, keeper: HostKeeper) -> Result<Preview> {
    let host = host_get(&app.db, keeper.host).await?;
    let rows = host_sandboxes(&app.db, keeper.host).await?;
    let paused = rows.iter().filter(|row| {
        matches!(
            row.status,
            State::Paused | State::SnapshottingPaused | State::Hibernating
        )
    });
    Ok(Preview {
        paused: ids(paused),
        sandboxes: ids(rows.iter()),
        host: host.ok_or_else(|| Error::not_found(format_args!("host {}", keeper.host)))?,
    })
}

/// Deletes a host, in a task that does not know its caller.
///
/// # Errors
/// 503 when some of what was to be destroyed would not go, or a service is away.
pub(crate) async fn remove(
    app: &Arc<App>,
    keeper: HostKeeper,
    theirs: ItsSandboxes,
) -> Result<Removal> {
    let removed = app.tasks.spawn({
        let app = Arc::clone(app);
        async move {
            if theirs == ItsSandboxes::Destroy {
                empty(&app, keeper).await?;
            }
            delete(&app, keeper, theirs).await
        }
    });
    removed.await.map_err(Error::internal)?
}

/// Destroys what a host holds, which takes nothing new from here on.
async fn empty(app: &Arc<App>, keeper: HostKeeper) -> Result<()> {
    let no_more = HostChange {
        draining: Some(true),
        ..HostChange::default()
    };
    host_change(&app.db, keeper.host, &no_more).await?;
    let host = host_get(&app.db, keeper.host).await?;
    let wait = host.as_ref().is_some_and(answers);
    let rows = host_sandboxes(&app.db, keeper.host).await?;
    let ended = futures::stream::iter(rows).map(|row| end(app, row.id(), wait));
    let mut ended = ended.buffer_unordered(AT_ONCE);
    while let Some(outcome) = ended.next().await {
        outcome?;
    }
    Ok(())
}

/// Destroys one sandbox, and waits for its end where the host answers.
async fn end(app: &Arc<App>, id: SandboxId, wait: bool) -> Result<()> {
    begin_destroy(app, id, Cause::system(Reason::HostDeleted, REQUEST)).await?;
    let row = sandbox_get(&app.db, id).await?;
    if let (true, Some(row)) = (wait, row) {
        let until = Instant::now() + EACH_WITHIN;
        settled(app, row, until, |row| row.status == State::Stopped).await?;
    }
    Ok(())
}

/// Whether a sandbox keeps a host that is deleted by force. One that is to be destroyed ends with a host that does not
/// answer: its operation finds that there is nobody to ask any more.
fn keeps(row: &HeldRow, theirs: ItsSandboxes, answers: bool) -> bool {
    theirs == ItsSandboxes::Keep || answers || row.status != State::Stopping
}

async fn kept(
    tx: &mut PgConnection,
    keeper: HostKeeper,
    theirs: ItsSandboxes,
) -> Result<Vec<SandboxId>> {
    host_lock(tx, keeper.host).await?;
    let host = host_get(&mut *tx, keeper.host).await?;
    let host = host.ok_or_else(|| Error::not_found(format_args!("host {}", keeper.host)))?;
    let rows = host_sandboxes(&mut *tx, keeper.host).await?;
    let answers = answers(&host);
    Ok(ids(rows.iter().filter(|row| keeps(row, theirs, answers))))
}

async fn delete(app: &Arc<App>, keeper: HostKeeper, theirs: ItsSandboxes) -> Result<Removal> {
    let id = keeper.host;
    let mut tx = app.db.begin().await.map_err(DbError::from)?;
    let left = kept(&mut tx, keeper, theirs).await?;
    match (left.is_empty(), theirs) {
        (true, _) => {}
        (false, ItsSandboxes::Keep) => return Ok(Removal::Kept(left)),
        (false, ItsSandboxes::Destroy) => {
            let text = format!(
                "{} of its sandboxes are not destroyed yet; that goes on, try again",
                left.len()
            );
            return Err(Error::new(ErrorCode::HostUnavailable, text));
        }
    }
    host_delete(&mut tx, id).await?;
    tx.commit().await.map_err(DbError::from)?;
    app.pool.forget(id);
    // What waited for the host waits no more.
    ops_wake_host(&app.db, id).await?;
    app.bus.ops_changed();
    // A token that is left is good for nothing: there is no host to register.
    if let Err(error) = one_time::void_registration(&mut app.bus.redis(), id).await {
        tracing::debug!(host_id = %id, cause = ?error, "the registration token of a deleted host is left to expire");
    }
    tracing::info!(host_id = %id, "a host was deleted");
    Ok(Removal::Done)
}
