//! How accounts begin: by sign-up, by the link in a mail, and the first administrator's.
//!
//! Until the mail is opened nobody knows whose address it is: an account that waits gives no rights to whoever made
//! it.

use secrecy::ExposeSecret;
use wrenn_api::{
    ErrorCode,
    account::{Message, Setup, Signup},
};
use wrenn_database::{
    Account, Error as DbError, PgConnection, UserRow, account_by_email, admin_exists,
    team_default_of_user, team_insert, team_member_insert, team_rename, user_activate, user_insert,
    user_insert_inactive, user_renew_inactive, user_set_password, user_void_inactive_password,
};
use wrenn_ids::{TeamId, UserId};

use super::{
    Error, Result,
    account::{existing, invalid_token},
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
    let waits = app.mail.is_some();
    if let Some(known) = &known
        && waits
    {
        contest(app, known, request.password.clone()).await?;
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
    let id = match known {
        Some(known) => {
            renew(&mut tx, known.id(), name).await?;
            if !waits {
                user_set_password(&mut tx, known.id(), &hash).await?;
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

/// Somebody signs up with the address of an account that waits for its activation. With the same password it is the
/// same person. With another one nobody can know who will open the mail: neither password is kept, and whoever opens
/// it chooses one. So whoever signs up with an address that is not theirs gains nothing.
async fn contest(app: &App, known: &Account, password: String) -> Result<()> {
    if !password::verify(password, known.password_hash.clone()).await? {
        user_void_inactive_password(&app.db, known.id()).await?;
    }
    Ok(())
}

/// Gives an account that waits, and the team that was named after whoever signed up before, another name.
async fn renew(tx: &mut PgConnection, user: UserId, name: &str) -> Result<()> {
    if !user_renew_inactive(&mut *tx, user, name).await? {
        return Err(taken());
    }
    if let Some(team) = team_default_of_user(&mut *tx, user).await? {
        team_rename(&mut *tx, team, &team_name(name)).await?;
    }
    Ok(())
}

/// Takes over the account that waits at an address which a provider says is this person's, or adds one. A password
/// that was chosen there is not theirs.
pub(super) async fn begin_proven(
    app: &App,
    tx: &mut PgConnection,
    email: &str,
    name: &str,
) -> Result<UserId> {
    let known = account_by_email(&mut *tx, email).await?;
    match known.filter(|known| known.status == "inactive") {
        Some(known) => {
            renew(tx, known.id(), name).await?;
            user_void_inactive_password(&mut *tx, known.id()).await?;
            user_activate(&mut *tx, known.id()).await?;
            Ok(known.id())
        }
        None => begin(app, tx, email, name, None, false).await,
    }
}

/// Adds a person and their team.
async fn begin(
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

#[cfg(test)]
mod tests {
    use wrenn_api::grammar;

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
