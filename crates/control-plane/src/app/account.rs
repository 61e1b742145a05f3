//! Accounts: how people log in to them, and how they end.

use wrenn_api::{
    ErrorCode, Invalid,
    account::Login,
    audit::{AuditAction, AuditStatus},
    grammar,
};
use wrenn_database::{
    Account, Error as DbError, account_by_email, account_get, account_lock, admin_is_last,
    team_delete, teams_owned_lock, user_delete, user_rename, user_void_tokens,
};
use wrenn_ids::UserId;

use super::{
    Caller, Error, Result,
    account_log::{self, Event},
    signin::{SignedIn, Visitor, sign_in},
};
use crate::{auth::password, state::App};

pub(crate) async fn existing(app: &App, id: UserId) -> Result<Account> {
    let account = account_get(&app.db, id).await?;
    account.ok_or_else(|| Error::internal("an account vanished"))
}

pub(super) fn invalid_token() -> Error {
    Error::new(
        ErrorCode::InvalidToken,
        "the token is unknown, used or expired",
    )
}

/// Logs in by address and password.
///
/// # Errors
/// One `unauthorized` for everything that does not fit; after a right password `account_not_activated` or
/// `account_disabled`; `rate_limited` after too many failures.
pub(crate) async fn login(app: &App, request: Login, visitor: &Visitor) -> Result<SignedIn> {
    let email = request.email.to_lowercase();
    let turn = app.limits.login_turn(&email).await;
    let turn = turn.map_err(Error::rate_limited)?;
    // What no account can have is looked up all the same: no time tells what was wrong.
    let account = account_by_email(&app.db, &email).await?;
    let hash = account
        .as_ref()
        .and_then(|account| account.password_hash.clone());
    let right = password::verify(request.password, hash).await?;
    let Some(account) = account.filter(|_| right) else {
        let after = app.limits.login_failed(&email).await;
        drop(turn);
        write_failure(app, &email, visitor);
        return Err(match after {
            Some(after) => Error::rate_limited(after),
            None => Error::new(
                ErrorCode::Unauthorized,
                "the address or the password is wrong",
            ),
        });
    };
    drop(turn);
    match account.status.as_str() {
        "active" => sign_in(app, &account, None, visitor).await,
        "inactive" => Err(Error::new(
            ErrorCode::AccountNotActivated,
            "open the link in the mail that we sent you first",
        )),
        _ => Err(Error::new(
            ErrorCode::AccountDisabled,
            "this account is disabled; ask the platform's administrator",
        )),
    }
}

/// Writes a refused login down, in a task: nobody can tell by the time whether the address is known.
fn write_failure(app: &App, email: &str, visitor: &Visitor) {
    let (db, email, visitor) = (app.db.clone(), email.to_owned(), visitor.clone());
    app.tasks.spawn(async move {
        let written = async {
            let mut connection = db.acquire().await.map_err(DbError::from)?;
            let Some(account) = account_by_email(&mut *connection, &email).await? else {
                return Ok(());
            };
            let event = Event {
                user: account.id(),
                name: Some(&account.name),
                action: AuditAction::LoginFailed,
                status: AuditStatus::Warning,
                fact: ("ip", visitor.ip),
                request_id: &visitor.request_id,
            };
            account_log::write(&mut connection, event).await
        };
        if let Err(error) = written.await {
            tracing::warn!(cause = ?error, "a refused login was not written down");
        }
    });
}

/// Renames the caller.
///
/// # Errors
/// The name is none, or the database is away.
pub(crate) async fn rename(app: &App, caller: &Caller, name: &str) -> Result<Account> {
    let name = name.trim();
    grammar::display_name("name", name)?;
    user_rename(&app.db, caller.id, name).await?;
    existing(app, caller.id).await
}

/// Ends the caller's account: its tokens are void, teams that only they are in go with it.
///
/// # Errors
/// The confirmation is not their address, `owns_team_with_members`, `conflict` for the last administrator.
pub(crate) async fn delete(app: &App, caller: &Caller, confirmation: &str) -> Result<()> {
    if confirmation.trim().to_lowercase() != caller.email {
        return Err(Invalid::new("confirmation", "must be the address of your account").into());
    }
    let mut tx = app.db.begin().await.map_err(DbError::from)?;
    // Before the row, as whoever else changes administrators does.
    if caller.is_admin && admin_is_last(&mut tx, caller.id).await? {
        return Err(Error::new(
            ErrorCode::Conflict,
            "you are the last administrator of the platform; make another one first",
        ));
    }
    account_lock(&mut tx, caller.id).await?;
    let owned = teams_owned_lock(&mut tx, caller.id).await?;
    if owned.iter().any(|(_, others)| *others) {
        return Err(Error::new(
            ErrorCode::OwnsTeamWithMembers,
            "you own a team with other members; transfer or delete it first",
        ));
    }
    for (team, _) in &owned {
        team_delete(&mut tx, *team).await?;
    }
    user_delete(&mut tx, caller.id).await?;
    tx.commit().await.map_err(DbError::from)?;
    app.team_gone.notify_one();
    app.bus.revoked(caller.id);
    Ok(())
}

/// Voids every token of the caller and ends all their sessions.
///
/// # Errors
/// The database is away.
pub(crate) async fn logout_all(app: &App, caller: &Caller) -> Result<()> {
    let mut tx = app.db.begin().await.map_err(DbError::from)?;
    user_void_tokens(&mut tx, caller.id).await?;
    tx.commit().await.map_err(DbError::from)?;
    app.bus.revoked(caller.id);
    Ok(())
}
