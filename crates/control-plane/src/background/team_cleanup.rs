//! What deleted teams leave behind: their sandboxes are destroyed, then their snapshots.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use wrenn_api::Reason;
use wrenn_database::{Error as DbError, teams_leftovers};

use crate::{
    app::{
        Result,
        sandbox::{Cause, begin_destroy},
        snapshot::delete_everywhere,
    },
    state::App,
};

const PERIOD: Duration = Duration::from_secs(30);
/// And while there is something left.
const BUSY: Duration = Duration::from_secs(2);
/// Sandboxes and snapshots of one pass.
const BATCH: i64 = 200;
/// What the operations are written down with.
const REQUEST: &str = "team-deleted";

/// Runs at once, each 30 s, and whenever a team is deleted here, until shutdown.
pub(super) async fn clean_for_ever(app: Arc<App>) {
    loop {
        let left = AtomicBool::new(false);
        super::supervise("team clean-up", pass(&app, &left)).await;
        let pause = if left.into_inner() { BUSY } else { PERIOD };
        tokio::select! {
            () = app.stop.cancelled() => return,
            () = app.team_gone.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn pass(app: &Arc<App>, left: &AtomicBool) -> Result<()> {
    let mut connection = app.db.acquire().await.map_err(DbError::from)?;
    let (sandboxes, templates) = teams_leftovers(&mut connection, BATCH).await?;
    drop(connection);
    let none_left = sandboxes.is_empty();
    left.store(!none_left || !templates.is_empty(), Ordering::Relaxed);
    for id in sandboxes {
        let cause = Cause::system(Reason::TeamDeleted, REQUEST);
        begin_destroy(app, id, cause).await?;
    }
    if !none_left {
        // Snapshots are needed by what sleeps; their turn comes when that is gone.
        return Ok(());
    }
    for id in templates {
        // One that a host cannot delete now stays, and does not keep the others.
        if let Err(error) = delete_everywhere(app, id).await {
            tracing::warn!(template_id = %id, cause = ?error, "a snapshot of a deleted team stays for now");
        }
    }
    Ok(())
}
