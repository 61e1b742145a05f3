//! Operations: the durable record of work on a sandbox, and the lease of whoever does it.
//!
//! `queued` → `running` → `done` | `failed` | `superseded`. A lease that ran out makes an operation
//! claimable again. Every write of a holder compares `lease_owner`, so that one who lost the lease stops
//! at the next write.

use sqlx::{FromRow, PgConnection, PgExecutor, types::Json};
use uuid::Uuid;
use wrenn_ids::SandboxId;

use crate::{OpActor, Result};

/// What is done to the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum OpKind {
    /// It is made.
    Create,
    /// It is put to sleep, with its memory.
    Pause,
    /// It is woken.
    Resume,
    /// Others are made from it as it is.
    Fork,
    /// It is kept as a template.
    Snapshot,
    /// It is destroyed.
    Destroy,
}

impl OpKind {
    /// The text in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Fork => "fork",
            Self::Snapshot => "snapshot",
            Self::Destroy => "destroy",
        }
    }
}

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpState {
    /// It did what it was for.
    Done,
    /// It was undone.
    Failed,
}

impl OpState {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

/// An operation as its holder sees it.
#[derive(Debug, Clone, FromRow)]
pub struct OpRow {
    /// Identity; every call to an agent carries it.
    pub id: Uuid,
    /// What it is about.
    pub sandbox_id: Uuid,
    /// What is done.
    pub kind: OpKind,
    /// Generation it works in.
    pub generation: i64,
    /// The step that runs next.
    pub step: String,
    /// What it remembers between steps.
    pub params: Json<OpParams>,
    /// Request that began it, for the log.
    pub request_id: String,
    /// How often it was claimed.
    pub attempts: i32,
    /// Milliseconds until its deadline; negative when past, `None` without one.
    pub remaining_ms: Option<i64>,
}

/// What an operation remembers between steps.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct OpParams {
    /// Hosts that refused already.
    pub refused: Vec<Uuid>,
    /// Reason that it leaves in the row: why it is destroyed or paused. Of a
    /// resume or a snapshot: why it was paused.
    pub reason: Option<wrenn_api::Reason>,
    /// What a fork makes.
    pub children: Vec<Uuid>,
    /// What a snapshot makes.
    pub template: Option<Uuid>,
}

impl OpRow {
    /// What it is about.
    #[must_use]
    pub fn sandbox_id(&self) -> SandboxId {
        SandboxId::from_uuid(self.sandbox_id)
    }
}

/// Seconds that a lease lasts; it is renewed each 10 s.
pub const LEASE_SEC: i32 = 30;

macro_rules! columns {
    () => {
        "id, sandbox_id, kind, generation, step, params, request_id, attempts,
         (extract(epoch FROM deadline_at - clock_timestamp()) * 1000)::bigint AS remaining_ms"
    };
}

/// An operation to begin, leased to its maker at once.
#[derive(Debug, Clone)]
pub struct NewOp<'a> {
    /// What it is about.
    pub sandbox: SandboxId,
    /// What is done.
    pub kind: OpKind,
    /// Generation it works in.
    pub generation: i64,
    /// Its first step.
    pub step: &'a str,
    /// What it remembers.
    pub params: OpParams,
    /// Who asked.
    pub actor: &'a OpActor,
    /// Request that began it.
    pub request_id: &'a str,
    /// Replica that works on it.
    pub owner: Uuid,
    /// Seconds until it is undone; `None` = never.
    pub deadline_sec: Option<i32>,
}

/// Adds an operation.
///
/// # Errors
/// [`crate::Error::Duplicate`] when one is live on the sandbox.
pub async fn op_insert(executor: impl PgExecutor<'_>, op: &NewOp<'_>) -> Result<OpRow> {
    Ok(sqlx::query_as(concat!(
        "INSERT INTO sandbox_ops (id, sandbox_id, kind, generation, state, step, params, actor,
             request_id, lease_owner, lease_until, attempts, deadline_at)
         VALUES ($1, $2, $3, $4, 'running', $5, $6, $7, $8, $9,
             clock_timestamp() + make_interval(secs => $10), 1,
             clock_timestamp() + make_interval(secs => $11))
         RETURNING ",
        columns!()
    ))
    .bind(Uuid::now_v7())
    .bind(op.sandbox.as_uuid())
    .bind(op.kind.as_str())
    .bind(op.generation)
    .bind(op.step)
    .bind(Json(&op.params))
    .bind(Json(op.actor))
    .bind(op.request_id)
    .bind(op.owner)
    .bind(f64::from(LEASE_SEC))
    .bind(op.deadline_sec.map(f64::from))
    .fetch_one(executor)
    .await?)
}

/// Claims operations that nobody works on, oldest first.
///
/// # Errors
/// The statement fails.
pub async fn op_claim(
    executor: impl PgExecutor<'_>,
    owner: Uuid,
    limit: i64,
) -> Result<Vec<OpRow>> {
    Ok(sqlx::query_as(concat!(
        "UPDATE sandbox_ops SET state = 'running', lease_owner = $1, attempts = attempts + 1,
             lease_until = clock_timestamp() + make_interval(secs => $2)
         WHERE id IN (
             SELECT id FROM sandbox_ops
             WHERE state IN ('queued', 'running')
               AND (lease_until IS NULL OR lease_until < clock_timestamp())
             ORDER BY created_at LIMIT $3 FOR UPDATE SKIP LOCKED)
         RETURNING ",
        columns!()
    ))
    .bind(owner)
    .bind(f64::from(LEASE_SEC))
    .bind(limit)
    .fetch_all(executor)
    .await?)
}

/// Renews the leases of `owner` on these operations and answers which it still holds.
///
/// # Errors
/// The statement fails.
pub async fn op_renew(
    executor: impl PgExecutor<'_>,
    owner: Uuid,
    ops: &[Uuid],
) -> Result<Vec<Uuid>> {
    Ok(sqlx::query_scalar(
        "UPDATE sandbox_ops SET lease_until = clock_timestamp() + make_interval(secs => $3)
         WHERE id = ANY($1) AND lease_owner = $2 AND state = 'running' RETURNING id",
    )
    .bind(ops)
    .bind(owner)
    .bind(f64::from(LEASE_SEC))
    .fetch_all(executor)
    .await?)
}

/// Commits which step runs next; false when the lease is lost.
///
/// # Errors
/// The statement fails.
pub async fn op_set_step(
    executor: impl PgExecutor<'_>,
    op: Uuid,
    owner: Uuid,
    step: &str,
) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE sandbox_ops SET step = $3
         WHERE id = $1 AND lease_owner = $2 AND state = 'running'",
    )
    .bind(op)
    .bind(owner)
    .bind(step)
    .execute(executor)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Commits what the operation remembers; false when the lease is lost.
///
/// # Errors
/// The statement fails.
pub async fn op_set_params(
    executor: impl PgExecutor<'_>,
    op: Uuid,
    owner: Uuid,
    params: &OpParams,
) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE sandbox_ops SET params = $3
         WHERE id = $1 AND lease_owner = $2 AND state = 'running'",
    )
    .bind(op)
    .bind(owner)
    .bind(Json(params))
    .execute(executor)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Ends the operation; false when the lease is lost.
///
/// # Errors
/// The statement fails.
pub async fn op_finish(
    executor: impl PgExecutor<'_>,
    op: Uuid,
    owner: Uuid,
    state: OpState,
    error_code: Option<&str>,
) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE sandbox_ops SET state = $3, error_code = $4, lease_owner = NULL, lease_until = NULL
         WHERE id = $1 AND lease_owner = $2 AND state = 'running'",
    )
    .bind(op)
    .bind(owner)
    .bind(state.as_str())
    .bind(error_code)
    .execute(executor)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Gives the lease back: anybody may claim the operation after `after_ms`.
///
/// # Errors
/// The statement fails.
pub async fn op_release(
    executor: impl PgExecutor<'_>,
    op: Uuid,
    owner: Uuid,
    after_ms: i64,
) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE sandbox_ops SET state = 'queued', lease_owner = NULL,
                lease_until = clock_timestamp() + make_interval(secs => $3)
         WHERE id = $1 AND lease_owner = $2 AND state = 'running'",
    )
    .bind(op)
    .bind(owner)
    .bind(after_ms as f64 / 1000.0)
    .execute(executor)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Ends the live operation of a sandbox in favour of a greater one.
///
/// # Errors
/// The statement fails.
pub async fn op_supersede(executor: impl PgExecutor<'_>, sandbox: SandboxId) -> Result<()> {
    sqlx::query(
        "UPDATE sandbox_ops SET state = 'superseded', lease_owner = NULL, lease_until = NULL
         WHERE sandbox_id = $1 AND state IN ('queued', 'running')",
    )
    .bind(sandbox.as_uuid())
    .execute(executor)
    .await?;
    Ok(())
}

/// The live operation of a sandbox.
#[derive(Debug, Clone, FromRow)]
pub struct LiveOp {
    /// Identity.
    pub id: Uuid,
    /// What is done.
    pub kind: OpKind,
}

/// The live operation of a sandbox, its row locked until the transaction ends.
///
/// # Errors
/// The statement fails.
pub async fn op_live(connection: &mut PgConnection, sandbox: SandboxId) -> Result<Option<LiveOp>> {
    Ok(sqlx::query_as(
        "SELECT id, kind FROM sandbox_ops
         WHERE sandbox_id = $1 AND state IN ('queued', 'running') FOR UPDATE",
    )
    .bind(sandbox.as_uuid())
    .fetch_optional(connection)
    .await?)
}

/// How far an operation is, for who waits for it.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct OpProgress {
    /// `queued`, `running`, `done`, `failed` or `superseded`.
    pub state: String,
    /// Code of what made it fail.
    pub error_code: Option<String>,
}

impl OpProgress {
    /// Whether somebody works on it or will.
    #[must_use]
    pub fn is_live(&self) -> bool {
        matches!(self.state.as_str(), "queued" | "running")
    }
}

/// How far an operation is; `None` when its sandbox's row is gone.
///
/// # Errors
/// The statement fails.
pub async fn op_progress(executor: impl PgExecutor<'_>, op: Uuid) -> Result<Option<OpProgress>> {
    Ok(
        sqlx::query_as("SELECT state, error_code FROM sandbox_ops WHERE id = $1")
            .bind(op)
            .fetch_optional(executor)
            .await?,
    )
}

/// How many operations are live, and how many of them were claimed more than once.
///
/// # Errors
/// The statement fails.
pub async fn ops_live_count(executor: impl PgExecutor<'_>) -> Result<(i64, i64)> {
    Ok(sqlx::query_as(
        "SELECT count(*), count(*) FILTER (WHERE attempts > 1) FROM sandbox_ops
         WHERE state IN ('queued', 'running')",
    )
    .fetch_one(executor)
    .await?)
}

/// Makes waiting operations of a host's sandboxes claimable at once: the host is back.
///
/// # Errors
/// The statement fails.
pub async fn ops_wake_host(executor: impl PgExecutor<'_>, host: wrenn_ids::HostId) -> Result<()> {
    sqlx::query(
        "UPDATE sandbox_ops o SET lease_until = NULL FROM sandboxes s
         WHERE s.id = o.sandbox_id AND s.host_id = $1 AND o.state = 'queued'",
    )
    .bind(host.as_uuid())
    .execute(executor)
    .await?;
    Ok(())
}
