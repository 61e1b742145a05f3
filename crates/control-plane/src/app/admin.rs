//! What platform administrators do to teams and people.
//!
//! At least one active administrator of everything remains: whoever takes that away from somebody holds the
//! lock under which administrators change, and looks.

use wrenn_api::{ErrorCode, team::ChangeQuota};
use wrenn_database::{
    AdminTeamRow, AdminUserRow, Error as DbError, admin_is_last, admin_teams, admin_users,
    team_delete, team_lock, team_set_byoc, team_set_quota, user_disable, user_enable,
    user_set_admin, user_set_permissions,
};
use wrenn_ids::{TeamId, UserId};

use super::{Caller, Error, Result, team};
use crate::state::App;

/// A page of all teams, and how many there are.
///
/// # Errors
/// The database is away.
pub(crate) async fn teams(app: &App, search: &str, page: i64) -> Result<(Vec<AdminTeamRow>, i64)> {
    let mut connection = app.db.acquire().await.map_err(DbError::from)?;
    Ok(admin_teams(&mut connection, search, page).await?)
}

/// A page of all people, and how many there are.
///
/// # Errors
/// The database is away.
pub(crate) async fn users(app: &App, search: &str, page: i64) -> Result<(Vec<AdminUserRow>, i64)> {
    let mut connection = app.db.acquire().await.map_err(DbError::from)?;
    Ok(admin_users(&mut connection, search, page).await?)
}

fn found(found: bool, what: &str) -> Result<()> {
    if found {
        Ok(())
    } else {
        Err(Error::not_found(what))
    }
}

fn not_the_platform(team: TeamId) -> Result<()> {
    if team == TeamId::ZERO {
        return Err(Error::new(
            ErrorCode::Forbidden,
            "the platform's own team stays as it is",
        ));
    }
    Ok(())
}

/// Lets a team bring its own hosts, or not.
///
/// # Errors
/// 403 for the platform's team, 404.
pub(crate) async fn set_byoc(app: &App, team: TeamId, enabled: bool) -> Result<()> {
    not_the_platform(team)?;
    found(team_set_byoc(&app.db, team, enabled).await?, "team")
}

/// Changes what a team may have.
///
/// # Errors
/// A number is out of range, 404.
pub(crate) async fn set_quota(app: &App, team: TeamId, request: &ChangeQuota) -> Result<()> {
    request.validate()?;
    let number = |value: Option<u32>| value.and_then(|value| i32::try_from(value).ok());
    let limits = [
        number(request.max_sandboxes),
        number(request.max_vcpus),
        number(request.max_memory_mb),
        number(request.max_disk_mb),
    ];
    found(team_set_quota(&app.db, team, limits).await?, "team")
}

/// Deletes a team, whoever owns it.
///
/// # Errors
/// 403 for the platform's team, 404.
pub(crate) async fn delete_team(app: &App, team: TeamId) -> Result<()> {
    not_the_platform(team)?;
    let mut tx = app.db.begin().await.map_err(DbError::from)?;
    found(team_lock(&mut tx, team).await?, "team")?;
    team_delete(&mut tx, team).await?;
    tx.commit().await.map_err(DbError::from)?;
    team::gone(app, team);
    Ok(())
}

/// Lets a person use their account, or shuts it: then every token and session of theirs ends.
///
/// # Errors
/// 404; 409 for oneself and for the last administrator.
pub(crate) async fn set_active(
    app: &App,
    caller: &Caller,
    user: UserId,
    active: bool,
) -> Result<()> {
    if active {
        return found(user_enable(&app.db, user).await?, "user");
    }
    not_oneself(caller, user)?;
    let mut tx = app.db.begin().await.map_err(DbError::from)?;
    not_the_last(&mut tx, user).await?;
    found(user_disable(&mut tx, user).await?, "user")?;
    tx.commit().await.map_err(DbError::from)?;
    app.bus.revoked(user);
    Ok(())
}

/// Makes a person an administrator of everything, or not any more.
///
/// # Errors
/// 404; 409 for oneself and for the last administrator.
pub(crate) async fn set_admin(app: &App, caller: &Caller, user: UserId, admin: bool) -> Result<()> {
    not_oneself(caller, user)?;
    let mut tx = app.db.begin().await.map_err(DbError::from)?;
    if !admin {
        not_the_last(&mut tx, user).await?;
    }
    found(user_set_admin(&mut *tx, user, admin).await?, "user")?;
    tx.commit().await.map_err(DbError::from)?;
    app.bus.revoked(user);
    Ok(())
}

/// Replaces the parts of the platform that a person administers.
///
/// # Errors
/// 404; 409 for oneself.
pub(crate) async fn set_permissions(
    app: &App,
    caller: &Caller,
    user: UserId,
    permissions: &[wrenn_api::Permission],
) -> Result<()> {
    not_oneself(caller, user)?;
    let mut tx = app.db.begin().await.map_err(DbError::from)?;
    found(
        user_set_permissions(&mut tx, user, permissions).await?,
        "user",
    )?;
    tx.commit().await.map_err(DbError::from)?;
    app.bus.revoked(user);
    Ok(())
}

fn not_oneself(caller: &Caller, user: UserId) -> Result<()> {
    if caller.id == user {
        return Err(Error::new(
            ErrorCode::Conflict,
            "administrators do not change their own rights; another one must",
        ));
    }
    Ok(())
}

async fn not_the_last(tx: &mut wrenn_database::PgConnection, user: UserId) -> Result<()> {
    if admin_is_last(tx, user).await? {
        return Err(Error::new(
            ErrorCode::Conflict,
            "this is the last active administrator",
        ));
    }
    Ok(())
}
