//! API keys of a team: made once, shown once, revoked for good.

use wrenn_api::{
    ErrorCode, Role,
    api_key::{ApiKeyFormat, CreateApiKey},
};
use wrenn_database::{
    ApiKeyRow, Error as DbError, api_key_insert, api_key_list, api_key_revoke, team_lock,
};
use wrenn_ids::{KeyId, TeamId, UserId};

use super::{Error, Member, Result};
use crate::{auth::api_key, state::App};

/// Keys that a team may have.
const MOST: usize = 100;

/// A key that was made, and its text, which is not kept.
pub(crate) struct Made {
    pub(crate) row: ApiKeyRow,
    pub(crate) text: String,
}

/// Makes a key of the member's team.
///
/// # Errors
/// A bad name, too many keys, or the database is away.
pub(crate) async fn create(app: &App, member: &Member, request: &CreateApiKey) -> Result<Made> {
    request.validate()?;
    let (team, user) = (member.team, member.caller.id);
    make(app, team, Some(user), request.name.trim(), request.format).await
}

async fn make(
    app: &App,
    team: TeamId,
    by: Option<UserId>,
    name: &str,
    format: Option<ApiKeyFormat>,
) -> Result<Made> {
    let key = match format.unwrap_or(ApiKeyFormat::Wrenn) {
        ApiKeyFormat::Wrenn => api_key::generate(),
        ApiKeyFormat::E2b => api_key::generate_e2b(),
    };
    let key = key.map_err(|error| Error::internal(error.to_string()))?;
    let mut tx = app.db.begin().await.map_err(DbError::from)?;
    // A team that is being deleted gets none, and two requests at once do not pass the limit.
    if !team_lock(&mut tx, team).await? {
        return Err(Error::new(ErrorCode::Forbidden, "the team was deleted"));
    }
    if api_key_list(&mut *tx, team, None).await?.len() >= MOST {
        return Err(Error::new(
            ErrorCode::Conflict,
            format!("a team has at most {MOST} keys; revoke one first"),
        ));
    }
    let id = KeyId::new();
    api_key_insert(&mut *tx, id, team, name, &key.hash, &key.prefix, by).await?;
    let row = api_key_list(&mut *tx, team, Some(id)).await?.pop();
    tx.commit().await.map_err(DbError::from)?;
    Ok(Made {
        row: row.ok_or_else(|| Error::internal("a key that was made is not there"))?,
        text: key.text,
    })
}

/// The keys of the member's team.
///
/// # Errors
/// The database is away.
pub(crate) async fn list(app: &App, member: &Member) -> Result<Vec<ApiKeyRow>> {
    Ok(api_key_list(&app.db, member.team, None).await?)
}

/// Revokes a key; one that is not there is revoked already.
///
/// # Errors
/// 403 when a member would revoke somebody else's.
pub(crate) async fn revoke(app: &App, member: &Member, id: KeyId) -> Result<()> {
    let Some(key) = api_key_list(&app.db, member.team, Some(id)).await?.pop() else {
        return Ok(());
    };
    if member.role < Role::Admin && key.created_by != Some(member.caller.id.as_uuid()) {
        return Err(Error::new(
            ErrorCode::Forbidden,
            "members revoke their own keys only",
        ));
    }
    if api_key_revoke(&app.db, member.team, id).await? {
        app.bus.revoked(id);
    }
    Ok(())
}
