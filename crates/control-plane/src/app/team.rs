//! Teams: made, renamed, handed over, left and deleted.
//!
//! A live team has exactly one owner, who cannot be removed, demoted or leave; nobody changes their own role.
//! Whoever changes a membership locks the team first and reads their own role again under that lock, so that
//! of two changes at once the second is judged by what the first left.

use wrenn_api::{
    ErrorCode, Role, grammar,
    team::{ChangeRole, TeamName},
};
use wrenn_database::{
    Error as DbError, MemberRow, PgConnection, QuotaUse, TeamQuota, TeamRow, api_keys_revoke_of,
    member_candidate, member_delete, member_list, member_set_role, team_count_of_user, team_delete,
    team_get, team_insert, team_list_of_user, team_lock, team_member_insert, team_quota,
    team_quota_use, team_rename, team_role, team_set_quota,
};
use wrenn_ids::{TeamId, UserId};

use super::{Caller, Error, Member, Result};
use crate::{bootstrap::new_slug, config::QuotaDefaults, state::App};

/// What becomes of the keys of somebody who is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TheirKeys {
    /// They go on.
    Keep,
    /// They are revoked.
    Revoke,
}

fn forbidden(message: &str) -> Error {
    Error::new(ErrorCode::Forbidden, message)
}

fn not_a_member() -> Error {
    forbidden("you are not a member of this team")
}

/// The teams that a person is in.
///
/// # Errors
/// The database is away.
pub(crate) async fn list(app: &App, caller: &Caller) -> Result<Vec<TeamRow>> {
    Ok(team_list_of_user(&app.db, caller.id).await?)
}

/// Makes a team; the caller owns it.
///
/// # Errors
/// A bad name, or the database is away.
pub(crate) async fn create(app: &App, caller: &Caller, request: &TeamName) -> Result<TeamRow> {
    let name = request.checked()?;
    let team = TeamId::new();
    let mut tx = app.db.begin().await.map_err(DbError::from)?;
    team_insert(&mut *tx, team, name, &slug()?).await?;
    apply_defaults(&mut tx, team, &app.quota_defaults).await?;
    team_member_insert(&mut *tx, team, caller.id, Role::Owner.as_str(), false).await?;
    let row = team_get(&mut *tx, team, caller.id).await?;
    tx.commit().await.map_err(DbError::from)?;
    row.ok_or_else(|| Error::internal("a team that was made is not there"))
}

/// A random short name.
///
/// # Errors
/// There is no randomness.
fn slug() -> Result<String> {
    new_slug().map_err(|error| Error::internal(error.to_string()))
}

/// Gives a new team the limits of this server, where those are not the built-in ones.
///
/// # Errors
/// The database is away.
pub(crate) async fn apply_defaults(
    tx: &mut PgConnection,
    team: TeamId,
    defaults: &QuotaDefaults,
) -> Result<()> {
    let limits = [
        defaults.sandboxes,
        defaults.vcpus,
        defaults.memory_mb,
        defaults.disk_mb,
    ];
    if limits.iter().any(Option::is_some) {
        team_set_quota(tx, team, limits).await?;
    }
    Ok(())
}

/// A team and who is in it.
///
/// # Errors
/// The database is away, or the team was deleted a moment ago.
pub(crate) async fn get(app: &App, member: &Member) -> Result<(TeamRow, Vec<MemberRow>)> {
    let team = team_get(&app.db, member.team, member.caller.id).await?;
    let team = team.ok_or_else(not_a_member)?;
    Ok((team, member_list(&app.db, member.team).await?))
}

/// Who is in a team.
///
/// # Errors
/// The database is away.
pub(crate) async fn members(app: &App, member: &Member) -> Result<Vec<MemberRow>> {
    Ok(member_list(&app.db, member.team).await?)
}

/// Renames a team.
///
/// # Errors
/// A bad name, or the team was deleted a moment ago.
pub(crate) async fn rename(app: &App, member: &Member, request: &TeamName) -> Result<()> {
    let name = request.checked()?;
    if team_rename(&app.db, member.team, name).await? {
        Ok(())
    } else {
        Err(not_a_member())
    }
}

/// Deletes a team at once; what it holds is destroyed in the background.
///
/// # Errors
/// 409 when it is the owner's only team, 403 when it is not theirs any more.
pub(crate) async fn delete(app: &App, member: &Member) -> Result<()> {
    let mut tx = app.db.begin().await.map_err(DbError::from)?;
    require(&mut tx, member, Role::Owner).await?;
    if team_count_of_user(&mut tx, member.caller.id).await? <= 1 {
        return Err(Error::new(
            ErrorCode::Conflict,
            "this is your only team; make another one first",
        ));
    }
    team_delete(&mut tx, member.team).await?;
    tx.commit().await.map_err(DbError::from)?;
    gone(app, member.team);
    Ok(())
}

/// Tells everybody that a team is gone.
pub(crate) fn gone(app: &App, team: TeamId) {
    app.bus.revoked(team);
    app.team_gone.notify_one();
}

/// Takes somebody into a team, as a member.
///
/// # Errors
/// 404 when no active account has the address, 409 when they are in it.
pub(crate) async fn add(app: &App, member: &Member, email: &str) -> Result<MemberRow> {
    grammar::email("email", email)?;
    let mut tx = app.db.begin().await.map_err(DbError::from)?;
    require(&mut tx, member, Role::Admin).await?;
    let user = member_candidate(&mut tx, email).await?;
    let user = user.ok_or_else(|| Error::not_found("active account with this address"))?;
    let role = Role::Member.as_str();
    let added = team_member_insert(&mut *tx, member.team, user, role, false).await;
    added.map_err(|error| match error {
        DbError::Duplicate { .. } => {
            Error::new(ErrorCode::Conflict, "they are in the team already")
        }
        error => error.into(),
    })?;
    let rows = member_list(&mut *tx, member.team).await?;
    tx.commit().await.map_err(DbError::from)?;
    rows.into_iter()
        .find(|row| row.user_id == user.as_uuid())
        .ok_or_else(|| Error::internal("a member that was added is not there"))
}

/// Changes the role of a member.
///
/// # Errors
/// 403 for the owner, oneself or the role owner; 404 when they are not in the team.
pub(crate) async fn change_role(
    app: &App,
    member: &Member,
    target: UserId,
    request: &ChangeRole,
) -> Result<()> {
    if request.role == Role::Owner {
        return Err(forbidden("a team has one owner; transfer it instead"));
    }
    if target == member.caller.id {
        return Err(forbidden("nobody changes their own role"));
    }
    let mut tx = app.db.begin().await.map_err(DbError::from)?;
    require(&mut tx, member, Role::Admin).await?;
    not_the_owner(&mut tx, member.team, target).await?;
    member_set_role(&mut *tx, member.team, target, request.role).await?;
    tx.commit().await.map_err(DbError::from)?;
    app.bus.revoked(target);
    Ok(())
}

/// Removes a member, and what they may do by keys.
///
/// # Errors
/// 403 for the owner, 404 when they are not in the team.
pub(crate) async fn remove(
    app: &App,
    member: &Member,
    target: UserId,
    keys: TheirKeys,
) -> Result<()> {
    let mut tx = app.db.begin().await.map_err(DbError::from)?;
    require(&mut tx, member, Role::Admin).await?;
    not_the_owner(&mut tx, member.team, target).await?;
    member_delete(&mut *tx, member.team, target).await?;
    if keys == TheirKeys::Revoke {
        api_keys_revoke_of(&mut *tx, member.team, target).await?;
    }
    tx.commit().await.map_err(DbError::from)?;
    app.bus.revoked(target);
    Ok(())
}

/// Leaves a team.
///
/// # Errors
/// 403 for the owner, 409 when it is the caller's only team.
pub(crate) async fn leave(app: &App, member: &Member) -> Result<()> {
    let mut tx = app.db.begin().await.map_err(DbError::from)?;
    if require(&mut tx, member, Role::Member).await? == Role::Owner {
        return Err(forbidden("the owner cannot leave; transfer the team first"));
    }
    if team_count_of_user(&mut tx, member.caller.id).await? <= 1 {
        return Err(Error::new(
            ErrorCode::Conflict,
            "this is your only team; make another one first",
        ));
    }
    member_delete(&mut *tx, member.team, member.caller.id).await?;
    api_keys_revoke_of(&mut *tx, member.team, member.caller.id).await?;
    tx.commit().await.map_err(DbError::from)?;
    app.bus.revoked(member.caller.id);
    Ok(())
}

/// Hands a team to one of its members; its owner becomes an administrator of it.
///
/// # Errors
/// 404 when they are not in the team, 409 when it is the owner already.
pub(crate) async fn transfer(app: &App, member: &Member, target: UserId) -> Result<()> {
    let mut tx = app.db.begin().await.map_err(DbError::from)?;
    require(&mut tx, member, Role::Owner).await?;
    if target == member.caller.id {
        return Err(Error::new(ErrorCode::Conflict, "you own the team already"));
    }
    if team_role(&mut *tx, member.team, target).await?.is_none() {
        return Err(Error::not_found("member"));
    }
    // In this order: there are never two owners.
    member_set_role(&mut *tx, member.team, member.caller.id, Role::Admin).await?;
    member_set_role(&mut *tx, member.team, target, Role::Owner).await?;
    tx.commit().await.map_err(DbError::from)?;
    app.bus.revoked(member.caller.id);
    Ok(())
}

/// What a team may have and has.
///
/// # Errors
/// The database is away, or the team was deleted a moment ago.
pub(crate) async fn quota(app: &App, member: &Member) -> Result<(TeamQuota, QuotaUse)> {
    let limits = team_quota(&app.db, member.team).await?;
    let limits = limits.ok_or_else(not_a_member)?;
    Ok((limits, team_quota_use(&app.db, member.team).await?))
}

/// Locks the team, and judges the caller by their role of this moment.
async fn require(tx: &mut PgConnection, member: &Member, least: Role) -> Result<Role> {
    if !team_lock(tx, member.team).await? {
        return Err(not_a_member());
    }
    let role = team_role(tx, member.team, member.caller.id).await?;
    let role = role.ok_or_else(not_a_member)?;
    if role < least {
        return Err(forbidden(&format!("this needs the role {least}")));
    }
    Ok(role)
}

async fn not_the_owner(tx: &mut PgConnection, team: TeamId, target: UserId) -> Result<()> {
    match team_role(tx, team, target).await? {
        None => Err(Error::not_found("member")),
        Some(Role::Owner) => Err(forbidden(
            "the owner stays what they are; transfer the team first",
        )),
        Some(_) => Ok(()),
    }
}
