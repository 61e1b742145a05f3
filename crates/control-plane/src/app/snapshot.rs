//! Snapshots: sandboxes kept as templates, and templates deleted from every host that holds them.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use uuid::Uuid;
use wrenn_api::{CreateSnapshot, ErrorCode, Reason, grammar, template::TemplateType};
use wrenn_database::{
    Error as DbError, Generation, NewOp, OpActor, OpKind, OpParams, OpProgress, State,
    TemplateView, idempotency_insert, op_insert, op_live, sandbox_get_of_team, sandbox_lock,
    snapshot_insert, template_begin_delete, template_copy_delete, template_find, template_forget,
    template_list, template_restore, transition,
};
use wrenn_ids::{HostId, SandboxId, TeamId, TemplateId};
use wrenn_rpc::{connectrpc::ErrorCode as RpcCode, hostagent::DeleteSnapshotRequest};

use super::{
    Error, Result, TeamActor,
    idempotency::{Idempotency, remembered},
    pause::{failure, wait, wrong_state},
};
use crate::{
    auth::random_hex,
    background::snapshot,
    bus::LOOK_AGAIN,
    hosts::{
        error::{Call, from_rpc},
        pool::within,
    },
    state::App,
};

/// How long a snapshot waits for its outcome; its route ends a second later.
const SNAPSHOT_WITHIN: Duration = Duration::from_secs(54);
/// How long a host may take to delete one.
const DELETE_WITHIN: Duration = Duration::from_secs(20);

/// What becomes of a template that has the name already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    /// It stays, and the request is refused.
    Keep,
    /// It is deleted first.
    Replace,
}

/// The ready templates of the team and of the platform.
///
/// # Errors
/// The database is away.
pub(crate) async fn list(
    app: &App,
    actor: &TeamActor,
    kind: Option<TemplateType>,
) -> Result<Vec<TemplateView>> {
    Ok(template_list(&app.db, actor.team(), kind).await?)
}

/// A template that a request led to.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) template: TemplateView,
    /// An earlier request with the same key made it.
    pub(crate) replayed: bool,
}

const CREATE_ROUTE: &str = "POST /v1/snapshots";

/// Makes a template of a sandbox that runs or is paused, and waits until it is durable.
///
/// # Errors
/// Bad fields, no such sandbox, 409, the host's failure, or it takes too long and goes on.
pub(crate) async fn create(
    app: &Arc<App>,
    actor: &TeamActor,
    request: CreateSnapshot,
    existing: Existing,
    idempotency: Option<Idempotency>,
    request_id: String,
) -> Result<Made> {
    let deadline = Instant::now() + SNAPSHOT_WITHIN;
    request.validate()?;
    let (team, source) = (actor.team(), request.sandbox_id);
    let row = sandbox_get_of_team(&app.db, source, team).await?;
    let row = row.ok_or_else(|| Error::not_found(format_args!("sandbox {source}")))?;
    let again = idempotency.clone();
    let replay = async || replay(app, team, source, again.as_ref(), deadline).await;
    if let Some(template) = replay().await? {
        return Ok(Made {
            template,
            replayed: true,
        });
    }
    // Asked before anything is deleted in favour of it; asked again under the lock.
    if !matches!(row.status, State::Running | State::Paused) {
        return Err(wrong_state(&row));
    }
    let name = match request.name {
        Some(name) => name,
        None => {
            let random = random_hex(4).map_err(|error| Error::internal(error.to_string()))?;
            format!("template-{random}")
        }
    };
    let by = actor.as_op_actor();
    let begun = app.tasks.spawn({
        let app = Arc::clone(app);
        let pause = request.pause_source.unwrap_or(false);
        async move {
            if existing == Existing::Replace
                && let Some(old) = template_find(&app.db, team, &name).await?
                && old.team_id == team.as_uuid()
            {
                delete_everywhere(&app, TemplateId::from_uuid(old.id)).await?;
            }
            let new = New {
                team,
                source,
                name: &name,
                pause,
                actor: by,
                request_id: &request_id,
            };
            begin(&app, &new, idempotency.as_ref()).await
        }
    });
    let Some((op, template)) = begun.await.map_err(Error::internal)?? else {
        let template = replay().await?;
        return Ok(Made {
            template: template.ok_or_else(|| Error::internal("a repeated request left nothing"))?,
            replayed: true,
        });
    };
    match wait(app, source, op, deadline).await? {
        Some(progress) if progress.is_live() => Err(still_being_made()),
        Some(progress) if progress.state == "done" => {
            let made = template_find(&app.db, team, &template.to_string()).await?;
            Ok(Made {
                template: made.ok_or_else(|| Error::not_found("template"))?,
                replayed: false,
            })
        }
        Some(OpProgress { state, error_code }) if state == "failed" => Err(Error::new(
            failure(error_code),
            "the snapshot could not be made",
        )),
        _ => Err(Error::new(
            ErrorCode::InvalidState,
            "the sandbox was deleted while its snapshot was made",
        )),
    }
}

/// What an earlier request with the same key made, waiting for it while it is being made; `None` when there was
/// none, or it failed.
async fn replay(
    app: &Arc<App>,
    team: TeamId,
    source: SandboxId,
    idempotency: Option<&Idempotency>,
    deadline: Instant,
) -> Result<Option<TemplateView>> {
    let Some(request) = idempotency else {
        return Ok(None);
    };
    let watch = app.bus.watch(source);
    loop {
        let changed = watch.changed(LOOK_AGAIN);
        let Some(id) = remembered(app, team, CREATE_ROUTE, request).await? else {
            return Ok(None);
        };
        let id = TemplateId::from_uuid(id).to_string();
        if let Some(made) = template_find(&app.db, team, &id).await? {
            return Ok(Some(made));
        }
        if tokio::time::timeout_at(deadline, changed).await.is_err() {
            return Err(still_being_made());
        }
    }
}

fn still_being_made() -> Error {
    Error::new(
        ErrorCode::DeadlineExceeded,
        "the snapshot is still being made, which goes on",
    )
}

/// A snapshot to make.
struct New<'a> {
    team: TeamId,
    source: SandboxId,
    name: &'a str,
    pause: bool,
    actor: OpActor,
    request_id: &'a str,
}

/// Commits the template and the operation; `None` when a request with the same key was faster.
async fn begin(
    app: &Arc<App>,
    new: &New<'_>,
    idempotency: Option<&Idempotency>,
) -> Result<Option<(Uuid, TemplateId)>> {
    let New { source, name, .. } = *new;
    let mut tx = app.db.begin().await.map_err(DbError::from)?;
    let Some(row) = sandbox_lock(&mut tx, source).await? else {
        return Err(Error::not_found(format_args!("sandbox {source}")));
    };
    let template = TemplateId::new();
    // Before its status is judged: the same request, made before, may have changed that.
    if let Some(request) = idempotency {
        let (route, key, hash) = request.at(CREATE_ROUTE);
        let id = template.as_uuid();
        if !idempotency_insert(&mut *tx, new.team, route, key, &hash, id).await? {
            return Ok(None);
        }
    }
    let (to, step, reason) = match row.status {
        State::Running if new.pause => (
            State::Snapshotting,
            snapshot::PAUSE_FIRST,
            Some(Reason::User),
        ),
        State::Running => (State::Snapshotting, snapshot::FIRST_STEP, None),
        State::Paused => (
            State::SnapshottingPaused,
            snapshot::FIRST_STEP,
            row.reason.as_deref().and_then(|reason| reason.parse().ok()),
        ),
        _ => return Err(wrong_state(&row)),
    };
    if op_live(&mut tx, source).await?.is_some() {
        return Err(wrong_state(&row));
    }
    let inserted = snapshot_insert(&mut *tx, template, name, source).await;
    inserted.map_err(|error| match error {
        DbError::Duplicate { constraint, .. }
            if constraint == "templates_reserved_name" && new.team != TeamId::ZERO =>
        {
            Error::new(
                ErrorCode::NameReserved,
                format!("`{name}` is a name of the platform"),
            )
        }
        DbError::Duplicate { .. } => Error::new(
            ErrorCode::TemplateNameTaken,
            format!("there is a template `{name}`"),
        ),
        error => error.into(),
    })?;
    let (from, keep, generation) = ([row.status], Generation::Keep, row.generation);
    transition(&mut *tx, source, &from, to, generation, keep, None)
        .await?
        .ok_or_else(|| Error::internal("a locked row changed"))?;
    let op = NewOp {
        sandbox: source,
        kind: OpKind::Snapshot,
        generation,
        step,
        params: OpParams {
            reason,
            template: Some(template.as_uuid()),
            ..OpParams::default()
        },
        actor: &new.actor,
        request_id: new.request_id,
        owner: app.replica,
        deadline_sec: Some(snapshot::DEADLINE_SEC),
    };
    let op = op_insert(&mut *tx, &op).await?;
    tx.commit().await.map_err(DbError::from)?;
    app.checkpoint("snapshot.committed").await;
    app.bus.sandbox_changed(source);
    let begun = op.id;
    app.ops.start(app, op);
    Ok(Some((begun, template)))
}

/// Deletes a template of the team from every holder that can be reached; the others follow when they are
/// back.
///
/// # Errors
/// 403 for one of the platform, 404, 409 when a paused sandbox needs it, or a holder's failure; then it
/// stays.
pub(crate) async fn delete(app: &Arc<App>, actor: &TeamActor, name_or_id: &str) -> Result<()> {
    if name_or_id.parse::<TemplateId>().is_err() {
        grammar::template_name("name", name_or_id)?;
    }
    let found = template_find(&app.db, actor.team(), name_or_id).await?;
    let found = found.ok_or_else(|| Error::not_found("template"))?;
    if found.team_id == TeamId::ZERO.as_uuid() {
        return Err(Error::new(
            ErrorCode::Forbidden,
            "the template is the platform's",
        ));
    }
    let id = TemplateId::from_uuid(found.id);
    let deleted = app.tasks.spawn({
        let app = Arc::clone(app);
        async move { delete_everywhere(&app, id).await }
    });
    deleted.await.map_err(Error::internal)?
}

/// Deletes a template on every holder that can be reached; the others follow when they are back.
///
/// # Errors
/// 404, 409 when a paused sandbox needs it, or a holder's failure; then it stays.
pub(crate) async fn delete_everywhere(app: &App, id: TemplateId) -> Result<()> {
    let mut tx = app.db.begin().await.map_err(DbError::from)?;
    let Some(holders) = template_begin_delete(&mut tx, id).await? else {
        return Err(Error::not_found("template"));
    };
    tx.commit().await.map_err(DbError::from)?;
    for (host, online) in holders {
        if !online {
            continue;
        }
        let error = match delete_copy(app, host, id).await {
            Ok(()) => continue,
            Err(error) => error,
        };
        tracing::warn!(template_id = %id, host_id = %host, cause = ?error, "a host did not delete a template");
        // It went away meanwhile, and does it when it is back.
        if error.code == ErrorCode::HostUnavailable {
            continue;
        }
        let mut tx = app.db.begin().await.map_err(DbError::from)?;
        template_restore(&mut tx, id).await?;
        tx.commit().await.map_err(DbError::from)?;
        return Err(match error.code {
            ErrorCode::TemplateInUse => error,
            _ => Error::new(
                ErrorCode::AgentError,
                "a host that holds the template did not delete it",
            )
            .because(error),
        });
    }
    Ok(template_forget(&app.db, id).await?)
}

/// Has a host delete its copy of a template that is being deleted.
///
/// # Errors
/// The host is away, or refuses.
pub(crate) async fn delete_copy(app: &App, host: HostId, id: TemplateId) -> Result<()> {
    if let Some(client) = app.pool.client(host).await? {
        let request = DeleteSnapshotRequest {
            template_id: id.to_string(),
            ..Default::default()
        };
        let deleted = client.delete_snapshot_with_options(request, within(DELETE_WITHIN));
        match deleted.await {
            Ok(_) => {}
            Err(error) if error.code == RpcCode::NotFound => {}
            Err(error) => return Err(from_rpc(error, Call::Lifecycle)),
        }
    }
    template_copy_delete(&app.db, id, host).await?;
    Ok(template_forget(&app.db, id).await?)
}
