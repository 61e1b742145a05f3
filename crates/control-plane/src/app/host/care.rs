//! What people do with hosts: they add them, change them and label them.

use std::sync::Arc;

use futures::StreamExt as _;
use wrenn_api::{
    ErrorCode, Reason, Role, grammar,
    host::{AddHost, AddTag, HostType, MAX_TAGS, UpdateHost},
};
use wrenn_database::{
    Error as DbError, HostChange, HostRow, NewHost, State, host_change, host_get, host_insert,
    host_lock, host_registration_insert, host_sandboxes, host_tag_remove, host_tags, host_tags_add,
    team_brings_hosts,
};
use wrenn_ids::{HostId, TeamId, UserId};

use crate::{
    app::{
        Error, HostAdder, HostKeeper, Result,
        pause::{By, begin_pause},
    },
    auth::one_time,
    state::App,
};

/// Sandboxes of a draining host that are told to pause at once; the host paces itself besides.
const PAUSES_AT_ONCE: usize = 8;
/// What the pauses of a draining host are written down with.
const DRAIN: &str = "host-drain";

/// A host that waits for its agent, and the token for it.
pub(crate) struct Added {
    pub(crate) host: HostRow,
    pub(crate) registration_token: String,
}

fn forbidden(text: &str) -> Error {
    Error::new(ErrorCode::Forbidden, text)
}

fn gone(host: HostId) -> Error {
    Error::not_found(format_args!("host {host}"))
}

/// The team that brings the host, if one does.
async fn team_of(app: &App, adder: &HostAdder, request: &AddHost) -> Result<Option<TeamId>> {
    match (adder, request.r#type) {
        (HostAdder::Platform(_), HostType::Regular) => Ok(None),
        (HostAdder::Team(_), HostType::Regular) => Err(forbidden(
            "hosts for all teams are added by administrators of the platform",
        )),
        (HostAdder::Platform(caller), HostType::Byoc) => {
            let team = request.team_id.or(caller.team);
            let team = team.ok_or_else(|| Error::not_found("team"))?;
            match team_brings_hosts(&app.db, team).await? {
                None => Err(Error::not_found("team")),
                Some(false) => Err(Error::new(
                    ErrorCode::Conflict,
                    "the team does not bring hosts; let it first",
                )),
                Some(true) => Ok(Some(team)),
            }
        }
        (HostAdder::Team(member), HostType::Byoc) => {
            if request.team_id.is_some_and(|team| team != member.team) {
                return Err(forbidden("you act for another team"));
            }
            if member.role < Role::Admin {
                return Err(forbidden("this needs the role admin"));
            }
            if !member.is_byoc {
                return Err(forbidden("the team may not bring hosts"));
            }
            Ok(Some(member.team))
        }
    }
}

/// Adds a host and issues the token that its agent registers with.
///
/// # Errors
/// Bad fields, no right to, or a service is away.
pub(crate) async fn add(app: &App, adder: &HostAdder, request: &AddHost) -> Result<Added> {
    request.validate()?;
    let team = team_of(app, adder, request).await?;
    let by = match adder {
        HostAdder::Platform(caller) => caller.id,
        HostAdder::Team(member) => member.caller.id,
    };
    let id = HostId::new();
    let host = NewHost {
        id,
        team,
        provider: request.provider.as_deref(),
        availability_zone: request.availability_zone.as_deref(),
        by: Some(by),
    };
    let tags = request.tags.as_deref().unwrap_or_default();
    let mut tx = app.db.begin().await.map_err(DbError::from)?;
    host_insert(&mut *tx, &host).await?;
    host_tags_add(&mut tx, id, tags, limit()).await?;
    tx.commit().await.map_err(DbError::from)?;
    issue(app, id, by).await
}

async fn issue(app: &App, id: HostId, by: UserId) -> Result<Added> {
    let registration_token = one_time::issue_registration(&mut app.bus.redis(), id).await?;
    host_registration_insert(&app.db, id, Some(by)).await?;
    Ok(Added {
        host: host_get(&app.db, id).await?.ok_or_else(|| gone(id))?,
        registration_token,
    })
}

/// Another token for a host that waits for its agent; the one before is void.
///
/// # Errors
/// 409 unless it waits, or a service is away.
pub(crate) async fn token(app: &App, keeper: HostKeeper) -> Result<Added> {
    let row = host_get(&app.db, keeper.host).await?;
    let row = row.ok_or_else(|| gone(keeper.host))?;
    if row.status != "pending" {
        return Err(Error::new(
            ErrorCode::Conflict,
            "the host is registered; a token is for one that waits for its agent",
        ));
    }
    issue(app, keeper.host, keeper.by).await
}

/// Changes a host. One that is to be emptied is, in the background.
///
/// # Errors
/// Bad fields, or the database is away.
pub(crate) async fn change(
    app: &Arc<App>,
    keeper: HostKeeper,
    request: &UpdateHost,
) -> Result<HostRow> {
    request.validate()?;
    let id = keeper.host;
    let change = HostChange {
        draining: request.draining,
        provider: request.provider.as_deref(),
        availability_zone: request.availability_zone.as_deref(),
    };
    if !host_change(&app.db, id, &change).await? {
        return Err(gone(id));
    }
    if request.pause_sandboxes == Some(true) {
        let app = Arc::clone(app);
        app.clone()
            .tasks
            .spawn(async move { pause_all(&app, id).await });
    }
    host_get(&app.db, id).await?.ok_or_else(|| gone(id))
}

/// Pauses what runs on a host. Each pause is durable once it is begun; whoever asks again begins those that are left.
async fn pause_all(app: &Arc<App>, host: HostId) {
    let rows = match host_sandboxes(&app.db, host).await {
        Ok(rows) => rows,
        Err(error) => {
            tracing::warn!(host_id = %host, cause = ?error, "a draining host is not emptied");
            return;
        }
    };
    let running = rows.into_iter().filter(|row| row.status == State::Running);
    futures::stream::iter(running)
        .for_each_concurrent(PAUSES_AT_ONCE, |row| async move {
            let (id, by) = (row.id(), By::system(DRAIN));
            let begun = begin_pause(app, id, State::Running, Reason::HostDrain, &by).await;
            if let Err(error) = begun {
                tracing::warn!(sandbox_id = %id, host_id = %host, cause = ?error, "a sandbox of a draining host runs on");
            }
        })
        .await;
}

/// Labels that a host may have.
fn limit() -> i64 {
    i64::try_from(MAX_TAGS).unwrap_or(i64::MAX)
}

/// The labels of a host.
///
/// # Errors
/// The database is away.
pub(crate) async fn tags(app: &App, keeper: HostKeeper) -> Result<Vec<String>> {
    Ok(host_tags(&app.db, keeper.host).await?)
}

/// Labels a host. Repeatable.
///
/// # Errors
/// A bad label, or too many of them.
pub(crate) async fn tag(app: &App, keeper: HostKeeper, request: AddTag) -> Result<()> {
    grammar::host_tag("tag", &request.tag)?;
    let mut tx = app.db.begin().await.map_err(DbError::from)?;
    // One at a time, so that the count holds.
    host_lock(&mut tx, keeper.host).await?;
    if !host_tags_add(&mut tx, keeper.host, &[request.tag], limit()).await? {
        let text = format!("a host has at most {MAX_TAGS} tags");
        return Err(Error::new(ErrorCode::Conflict, text));
    }
    tx.commit().await.map_err(DbError::from)?;
    Ok(())
}

/// Takes a label off a host.
///
/// # Errors
/// 404 when it has none such.
pub(crate) async fn untag(app: &App, keeper: HostKeeper, tag: &str) -> Result<()> {
    if host_tag_remove(&app.db, keeper.host, tag).await? {
        Ok(())
    } else {
        Err(Error::not_found("tag"))
    }
}
