//! Sandboxes that hosts have and of which there is no row.

use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;
use wrenn_ids::{HostId, SandboxId};

use crate::Result;

/// What a report changes of a host's unknown sandboxes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Quarantined {
    /// Those that were not in the report before.
    pub new: Vec<SandboxId>,
    /// Those whose time is over.
    pub due: Vec<SandboxId>,
}

/// Makes the unknown sandboxes of a host exactly those of its report.
///
/// # Errors
/// A statement fails.
pub async fn quarantine_replace(
    connection: &mut PgConnection,
    host: HostId,
    unknown: &[SandboxId],
) -> Result<Quarantined> {
    let ids: Vec<Uuid> = unknown.iter().map(|id| id.as_uuid()).collect();
    let sandboxes = |ids: Vec<Uuid>| ids.into_iter().map(SandboxId::from_uuid).collect();
    sqlx::query("DELETE FROM quarantined_sandboxes WHERE host_id = $1 AND sandbox_id <> ALL($2)")
        .bind(host.as_uuid())
        .bind(&ids)
        .execute(&mut *connection)
        .await?;
    if ids.is_empty() {
        return Ok(Quarantined::default());
    }
    let new: Vec<Uuid> = sqlx::query_scalar(
        "INSERT INTO quarantined_sandboxes (host_id, sandbox_id) SELECT $1, unnest($2::uuid[])
         ON CONFLICT DO NOTHING RETURNING sandbox_id",
    )
    .bind(host.as_uuid())
    .bind(&ids)
    .fetch_all(&mut *connection)
    .await?;
    let due: Vec<Uuid> = sqlx::query_scalar(
        "SELECT sandbox_id FROM quarantined_sandboxes WHERE host_id = $1 AND destroy_at <= now()",
    )
    .bind(host.as_uuid())
    .fetch_all(connection)
    .await?;
    Ok(Quarantined {
        new: sandboxes(new),
        due: sandboxes(due),
    })
}

/// Ends the time of every unknown sandbox: its host is told to destroy it after its next report. Answers how many
/// there are.
///
/// # Errors
/// The statement fails.
pub async fn quarantine_purge(executor: impl PgExecutor<'_>) -> Result<u64> {
    Ok(
        sqlx::query("UPDATE quarantined_sandboxes SET destroy_at = least(destroy_at, now())")
            .execute(executor)
            .await?
            .rows_affected(),
    )
}
