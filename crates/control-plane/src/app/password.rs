//! Passwords: change, and reset by mail. Either voids every token made before.

use serde::{Deserialize, Serialize};
use wrenn_api::{
    ErrorCode, Invalid,
    account::{ChangePassword, ConfirmReset},
    grammar,
};
use wrenn_database::{
    Account, Error as DbError, account_by_email, account_get, account_lock, user_set_password,
};
use wrenn_ids::UserId;

use super::{
    Caller, Error, Result,
    account::{existing, invalid_token},
    mail,
};
use crate::{
    auth::{
        one_time::{self, Purpose},
        password,
    },
    state::App,
};

/// What a reset token stands for: the password has not changed since.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Reset {
    pub(crate) user: UserId,
    pub(crate) token_version: i32,
}

/// Changes the caller's password, or gives them a first one.
///
/// # Errors
/// `wrong_password`, a bad field, or the database is away.
pub(crate) async fn change(app: &App, caller: &Caller, request: ChangePassword) -> Result<Account> {
    grammar::password("new_password", &request.new_password)?;
    let account = existing(app, caller.id).await?;
    if account.password_hash.is_some() {
        let current = request
            .current_password
            .ok_or_else(|| Invalid::new("current_password", "is needed"))?;
        // Guesses count as those of a login do.
        let turn = app.limits.login_turn(&account.email).await;
        let _turn = turn.map_err(Error::rate_limited)?;
        if !password::verify(current, account.password_hash.clone()).await? {
            app.limits.login_failed(&account.email).await;
            return Err(Error::new(
                ErrorCode::WrongPassword,
                "the current password is wrong",
            ));
        }
    } else if request.confirm_password.as_deref() != Some(&*request.new_password) {
        return Err(Invalid::new("confirm_password", "must be the new password again").into());
    }
    let hash = password::hash(request.new_password).await?;
    let mut tx = app.db.begin().await.map_err(DbError::from)?;
    let locked = account_lock(&mut tx, caller.id).await?;
    // Of two changes at once, the one that knew the password until now.
    if locked.is_none_or(|now| now.password_hash != account.password_hash) {
        return Err(Error::new(
            ErrorCode::WrongPassword,
            "the password was changed a moment ago",
        ));
    }
    user_set_password(&mut tx, caller.id, &hash).await?;
    tx.commit().await.map_err(DbError::from)?;
    app.bus.revoked(caller.id);
    existing(app, caller.id).await
}

/// Sends a link to set another password, if the address has an account. The work is done in a task, so
/// that no time tells whether it has.
pub(crate) fn ask_reset(app: &std::sync::Arc<App>, email: &str) {
    if app.mail.is_none() {
        return;
    }
    let (app, email) = (std::sync::Arc::clone(app), email.to_lowercase());
    app.clone().tasks.spawn(async move {
        if let Err(error) = send_reset(&app, &email).await {
            tracing::warn!(cause = ?error, "a link to reset a password was not made");
        }
    });
}

async fn send_reset(app: &App, email: &str) -> Result<()> {
    let account = account_by_email(&app.db, email).await?;
    let Some(account) = account.filter(|account| account.status == "active") else {
        return Ok(());
    };
    let token = reset_token(app, &account).await?;
    let mut tx = app.db.begin().await.map_err(DbError::from)?;
    mail::reset(app, &mut tx, &account.email, &token).await?;
    Ok(tx.commit().await.map_err(DbError::from)?)
}

async fn reset_token(app: &App, account: &Account) -> Result<String> {
    let reset = Reset {
        user: account.id(),
        token_version: account.token_version,
    };
    Ok(one_time::issue(&mut app.bus.redis(), Purpose::Reset, &reset).await?)
}

/// Sets the password of the account that a mail's token names.
///
/// # Errors
/// `invalid_token`, a bad password, or a service is away.
pub(crate) async fn confirm_reset(app: &App, request: ConfirmReset) -> Result<Account> {
    // Before the token is used up.
    grammar::password("new_password", &request.new_password)?;
    let reset: Option<Reset> =
        one_time::consume(&mut app.bus.redis(), Purpose::Reset, &request.token).await?;
    let reset = reset.ok_or_else(invalid_token)?;
    let hash = password::hash(request.new_password).await?;
    let mut tx = app.db.begin().await.map_err(DbError::from)?;
    let account = account_lock(&mut tx, reset.user).await?;
    let account = account.filter(|account| {
        account.status == "active" && account.token_version == reset.token_version
    });
    let account = account.ok_or_else(invalid_token)?;
    user_set_password(&mut tx, account.id(), &hash).await?;
    tx.commit().await.map_err(DbError::from)?;
    app.bus.revoked(account.id());
    let account = account_get(&app.db, reset.user).await?;
    account.ok_or_else(|| Error::internal("an account vanished"))
}
