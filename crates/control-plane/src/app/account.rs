//! Accounts: how they begin, how people log in to them, and how they end.

use secrecy::ExposeSecret;
use wrenn_api::{
    ErrorCode, Invalid,
    account::{Login, Message, Setup, Signup},
    audit::{AuditAction, AuditStatus},
    grammar,
};
use wrenn_database::{
    Account, Error as DbError, PgConnection, UserRow, account_by_email, account_get, account_lock,
    admin_exists, admin_is_last, team_delete, team_insert, team_member_insert, teams_owned_lock,
    user_activate, user_delete, user_insert, user_insert_inactive, user_rename,
    user_renew_inactive, user_void_tokens,
};
use wrenn_ids::{TeamId, UserId};

use super::{
    Caller, Error, Result,
    account_log::{self, Event},
    mail,
    signin::{SignedIn, Visitor, sign_in},
    team::apply_defaults,
};
use crate::{
    auth::{
        one_time::{self, Purpose},
        password, random_hex, sha256,
    },
    config::SignupPolicy,
    state::App,
};

/// Seconds before the same address may sign up again, while it waits for its activation.
const COOLDOWN_SEC: i64 = 30 * 60;

/// What became of a sign-up.
#[derive(Debug)]
pub(crate) enum SignedUp {
    Active(Box<SignedIn>),
    Waiting(UserId, Message),
}

fn taken() -> Error {
    Error::new(
        ErrorCode::EmailTaken,
        "this address has an account; log in, or reset its password",
    )
}

/// Whether this address may have an account here.
pub(super) fn may_sign_up(app: &App, email: &str) -> Result<()> {
    let domain = email.rsplit('@').next().unwrap_or_default();
    let open = match &app.signup {
        SignupPolicy::Open => true,
        SignupPolicy::Closed => false,
        SignupPolicy::Domains(domains) => domains
            .iter()
            .any(|known| known.eq_ignore_ascii_case(domain)),
    };
    if open {
        return Ok(());
    }
    Err(Error::new(
        ErrorCode::SignupDisabled,
        "sign-up is closed on this server; ask its administrator",
    ))
}

/// Makes an account, its team, and where the server sends no mail signs it in.
///
/// # Errors
/// Bad fields, `signup_disabled`, `email_taken`, `signup_cooldown`, or a service is away.
pub(crate) async fn signup(app: &App, request: Signup, visitor: &Visitor) -> Result<SignedUp> {
    request.validate()?;
    let email = request.email.to_lowercase();
    may_sign_up(app, &email)?;
    let known = account_by_email(&app.db, &email).await?;
    if known
        .as_ref()
        .is_some_and(|known| known.status != "inactive")
    {
        return Err(taken());
    }
    if known
        .as_ref()
        .is_some_and(|known| known.age_sec < COOLDOWN_SEC)
    {
        return Err(Error::new(
            ErrorCode::SignupCooldown,
            "a mail to this address is on its way; try again in half an hour",
        ));
    }
    let hash = password::hash(request.password).await?;
    let name = request.name.trim();
    let mut tx = app.db.begin().await.map_err(DbError::from)?;
    let waits = app.mail.is_some();
    let id = match known {
        Some(known) => {
            if !user_renew_inactive(&mut *tx, known.id(), name, &hash).await? {
                return Err(taken());
            }
            known.id()
        }
        None => begin(app, &mut tx, &email, name, Some(&hash), waits).await?,
    };
    if waits {
        let token = one_time::issue(&mut app.bus.redis(), Purpose::Activation, &id).await?;
        mail::activation(app, &mut tx, &email, &token).await?;
        tx.commit().await.map_err(DbError::from)?;
        let message = "open the link in the mail that we sent you".to_owned();
        return Ok(SignedUp::Waiting(id, Message { message }));
    }
    // Whoever waited for a mail while the server still sent some is let in without.
    user_activate(&mut *tx, id).await?;
    tx.commit().await.map_err(DbError::from)?;
    let account = existing(app, id).await?;
    let signed_in = sign_in(app, &account, None, visitor).await?;
    Ok(SignedUp::Active(Box::new(signed_in)))
}

/// Adds a person and their team.
pub(super) async fn begin(
    app: &App,
    tx: &mut PgConnection,
    email: &str,
    name: &str,
    hash: Option<&str>,
    waits: bool,
) -> Result<UserId> {
    let row = UserRow {
        id: UserId::new(),
        email: email.to_owned(),
        name: name.to_owned(),
        is_admin: false,
    };
    let inserted = match (waits, hash) {
        (true, Some(hash)) => user_insert_inactive(&mut *tx, row.id, email, name, hash).await,
        _ => user_insert(&mut *tx, &row, hash).await,
    };
    inserted.map_err(|error| match error {
        DbError::Duplicate { .. } => taken(),
        error => error.into(),
    })?;
    first_team(app, tx, row.id, name).await?;
    Ok(row.id)
}

async fn first_team(app: &App, tx: &mut PgConnection, user: UserId, name: &str) -> Result<()> {
    let team = TeamId::new();
    let slug = random_hex(6)?;
    let slug = format!("{}-{}", &slug[..6], &slug[6..]);
    team_insert(&mut *tx, team, &team_name(name), &slug).await?;
    team_member_insert(&mut *tx, team, user, "owner", true).await?;
    apply_defaults(tx, team, &app.quota_defaults).await?;
    Ok(())
}

/// The name of somebody's first team: theirs, without what team names cannot hold.
fn team_name(person: &str) -> String {
    let fits = |c: &char| c.is_ascii_alphanumeric() || " _-@'".contains(*c);
    let kept: String = person.chars().filter(fits).collect();
    let kept = kept.split_whitespace().collect::<Vec<_>>().join(" ");
    if kept.is_empty() {
        return "My team".to_owned();
    }
    format!("{kept}'s team")
}

pub(crate) async fn existing(app: &App, id: UserId) -> Result<Account> {
    let account = account_get(&app.db, id).await?;
    account.ok_or_else(|| Error::internal("an account vanished"))
}

/// Makes the first administrator of the platform.
///
/// # Errors
/// `invalid_token`, `conflict` when there is one, bad fields, or a service is away.
pub(crate) async fn setup(app: &App, request: Setup, visitor: &Visitor) -> Result<SignedIn> {
    let right = app.setup_token.as_ref().is_some_and(|token| {
        // Compared as hashes, so that no time tells how much of it fits.
        sha256(token.expose_secret().as_bytes()) == sha256(request.setup_token.as_bytes())
    });
    if !right {
        return Err(invalid_token());
    }
    let account = request.account;
    account.validate()?;
    let hash = password::hash(account.password).await?;
    let email = account.email.to_lowercase();
    let mut tx = app.db.begin().await.map_err(DbError::from)?;
    // Takes a lock, so that two at once make one administrator.
    if admin_exists(&mut tx).await? {
        return Err(Error::new(
            ErrorCode::Conflict,
            "this platform has an administrator already",
        ));
    }
    let row = UserRow {
        id: UserId::new(),
        email,
        name: account.name.trim().to_owned(),
        is_admin: true,
    };
    user_insert(&mut *tx, &row, Some(&hash))
        .await
        .map_err(|error| match error {
            DbError::Duplicate { .. } => taken(),
            error => error.into(),
        })?;
    first_team(app, &mut tx, row.id, &row.name).await?;
    tx.commit().await.map_err(DbError::from)?;
    sign_in(app, &existing(app, row.id).await?, None, visitor).await
}

pub(super) fn invalid_token() -> Error {
    Error::new(
        ErrorCode::InvalidToken,
        "the token is unknown, used or expired",
    )
}

/// Activates the account that a mail's token names, and signs it in.
///
/// # Errors
/// `invalid_token`, `already_activated`, or a service is away.
pub(crate) async fn activate(app: &App, token: &str, visitor: &Visitor) -> Result<SignedIn> {
    let user: Option<UserId> =
        one_time::consume(&mut app.bus.redis(), Purpose::Activation, token).await?;
    let user = user.ok_or_else(invalid_token)?;
    if !user_activate(&app.db, user).await? {
        return Err(Error::new(
            ErrorCode::AlreadyActivated,
            "this account is active already; log in",
        ));
    }
    sign_in(app, &existing(app, user).await?, None, visitor).await
}

/// Logs in by address and password.
///
/// # Errors
/// One `unauthorized` for everything that does not fit; after a right password `account_not_activated` or
/// `account_disabled`; `rate_limited` after too many failures.
pub(crate) async fn login(app: &App, request: Login, visitor: &Visitor) -> Result<SignedIn> {
    let email = request.email.to_lowercase();
    if let Some(after) = app.limits.login_blocked(&email).await {
        return Err(Error::rate_limited(after));
    }
    // What no account can have is looked up all the same: no time tells what was wrong.
    let account = account_by_email(&app.db, &email).await?;
    let hash = account
        .as_ref()
        .and_then(|account| account.password_hash.clone());
    let right = password::verify(request.password, hash).await?;
    let Some(account) = account.filter(|_| right) else {
        let after = app.limits.login_failed(&email).await;
        write_failure(app, &email, visitor);
        return Err(match after {
            Some(after) => Error::rate_limited(after),
            None => Error::new(
                ErrorCode::Unauthorized,
                "the address or the password is wrong",
            ),
        });
    };
    // Guesses that were under way when the limit was reached gain nothing.
    if let Some(after) = app.limits.login_blocked(&email).await {
        return Err(Error::rate_limited(after));
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_team_is_named_after_its_person() {
        let check = |person: &str, expected: &str| {
            let name = team_name(person);
            assert_eq!(name, expected);
            assert!(grammar::team_name("name", &name).is_ok(), "{name}");
        };
        check("Ada Lovelace", "Ada Lovelace's team");
        check("  <Ada>  Löve ", "Ada Lve's team");
        check("李", "My team");
        check(&"a".repeat(100), &format!("{}'s team", "a".repeat(100)));
    }
}
