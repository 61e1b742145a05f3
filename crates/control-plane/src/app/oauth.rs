//! Signing in by a provider: out to its page, back with a code of its, and on to the dashboard with one of
//! ours that is good once, for a minute, in the browser that began.
//!
//! What the browser holds meanwhile is signed: nonce, PKCE verifier, and whom it links. A state is taken
//! once. An address that belongs to another account is never linked by itself.

mod state;

use serde::{Deserialize, Serialize};
use wrenn_api::{
    ErrorCode,
    audit::{AuditAction, AuditStatus},
};
use wrenn_database::{
    Account, Error as DbError, account_get, account_lock, oauth_identity_delete,
    oauth_identity_insert, oauth_identity_user, oauth_providers_of,
};
use wrenn_ids::UserId;

pub(crate) use self::state::STATE_SEC;
use self::state::State;
use super::{
    Caller, Error, Result,
    account::{existing, invalid_token},
    account_log::{self, Event},
    signin::{SignedIn, Visitor, sign_in},
    signup::{begin_proven, may_sign_up},
};
use crate::{
    auth::{
        one_time::{self, Purpose},
        random_hex, sha256,
    },
    oauth::{Identity, Provider, Returned},
    state::App,
};

/// Why the dashboard is told that a sign-in failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    AccessDenied,
    InvalidState,
    MissingCode,
    ExchangeFailed,
    EmailTaken,
    NoAccount,
    AccountDeactivated,
    InternalError,
}

impl Refusal {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::AccessDenied => "access_denied",
            Self::InvalidState => "invalid_state",
            Self::MissingCode => "missing_code",
            Self::ExchangeFailed => "exchange_failed",
            Self::EmailTaken => "email_taken",
            Self::NoAccount => "no_account",
            Self::AccountDeactivated => "account_deactivated",
            Self::InternalError => "internal_error",
        }
    }
}

impl<E: Into<Error>> From<E> for Refusal {
    fn from(error: E) -> Self {
        let error: Error = error.into();
        match error.code {
            ErrorCode::EmailTaken => Self::EmailTaken,
            ErrorCode::SignupDisabled => Self::NoAccount,
            _ => {
                tracing::warn!(cause = ?error, "a sign-in by a provider failed");
                Self::InternalError
            }
        }
    }
}

/// Where the browser goes, and what it holds meanwhile.
#[derive(Debug)]
pub(crate) struct Departure {
    pub(crate) url: String,
    pub(crate) cookie: String,
}

/// What the provider's page sent back.
#[derive(Debug, Default)]
pub(crate) struct Return<'a> {
    pub(crate) code: Option<&'a str>,
    pub(crate) state: Option<&'a str>,
    pub(crate) error: Option<&'a str>,
    /// What the browser held.
    pub(crate) cookie: Option<&'a str>,
}

/// What the dashboard takes on from there.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) code: String,
    /// Binds the code to the browser.
    pub(crate) cookie: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Handover {
    user: UserId,
    new_user: bool,
    browser: [u8; 32],
}

fn provider<'a>(app: &'a App, name: &str) -> Result<&'a dyn Provider> {
    app.providers.get(name).ok_or_else(|| {
        Error::new(
            ErrorCode::ProviderNotFound,
            "this server has no such provider",
        )
    })
}

fn redirect_uri(app: &App, provider: &str) -> String {
    format!("{}/v1/auth/oauth/{provider}/callback", app.public_url)
}

/// Sends a browser to a provider's page; with a caller, to link their account there.
///
/// # Errors
/// `provider_not_found`.
pub(crate) fn depart(
    app: &App,
    name: &str,
    intent: &str,
    link: Option<&Caller>,
) -> Result<Departure> {
    let provider = provider(app, name)?;
    let state = State::new(name, intent, link)?;
    let url = provider.page(&redirect_uri(app, name), &state.nonce, &state.challenge());
    let cookie = state.seal(app)?;
    Ok(Departure { url, cookie })
}

/// Takes a person back from a provider's page.
///
/// # Errors
/// What the dashboard is told.
pub(crate) async fn arrive(
    app: &App,
    name: &str,
    returned: Return<'_>,
    request_id: &str,
) -> Result<Arrival, Refusal> {
    let Ok(provider) = provider(app, name) else {
        return Err(Refusal::InvalidState);
    };
    let state = State::open(app, name, &returned).ok_or(Refusal::InvalidState)?;
    if !state.take(app).await? {
        return Err(Refusal::InvalidState);
    }
    if returned.error.is_some() {
        return Err(Refusal::AccessDenied);
    }
    let code = returned.code.ok_or(Refusal::MissingCode)?;
    let back = Returned {
        code,
        verifier: &state.verifier,
        redirect_uri: &redirect_uri(app, name),
    };
    let identity = provider.identify(back).await.map_err(|error| {
        tracing::warn!(provider = name, cause = ?error, "a provider told nobody's identity");
        Refusal::ExchangeFailed
    })?;
    let (user, new_user) = match state.link {
        Some((user, version)) => {
            link(app, name, &identity, user, version, request_id).await?;
            (user, false)
        }
        None => find_or_begin(app, name, &identity, request_id).await?,
    };
    let account = account_get(&app.db, user)
        .await?
        .ok_or(Refusal::InternalError)?;
    if account.status != "active" {
        return Err(Refusal::AccountDeactivated);
    }
    let cookie = random_hex(32)?;
    let handover = Handover {
        user,
        new_user,
        browser: sha256(cookie.as_bytes()),
    };
    let code = one_time::issue(&mut app.bus.redis(), Purpose::Oauth, &handover).await?;
    Ok(Arrival { code, cookie })
}

/// Whose the identity is; nobody's: a new account. Of two at once, the second finds what the first made.
async fn find_or_begin(
    app: &App,
    name: &str,
    identity: &Identity,
    request_id: &str,
) -> Result<(UserId, bool), Refusal> {
    if let Some(user) = oauth_identity_user(&app.db, name, &identity.id).await? {
        return Ok((user, false));
    }
    may_sign_up(app, &identity.email)?;
    match make(app, name, identity, request_id).await {
        Ok(user) => Ok((user, true)),
        Err(error) if error.code == ErrorCode::EmailTaken => {
            let found = oauth_identity_user(&app.db, name, &identity.id).await?;
            found.map(|user| (user, false)).ok_or(Refusal::EmailTaken)
        }
        Err(error) => Err(error.into()),
    }
}

/// A person's name as far as it is one here.
fn display_name(identity: &Identity) -> String {
    let kept = identity.name.trim().chars().filter(|c| !c.is_control());
    kept.take(100).collect()
}

async fn make(app: &App, name: &str, identity: &Identity, request_id: &str) -> Result<UserId> {
    let mut tx = app.db.begin().await.map_err(DbError::from)?;
    let person = display_name(identity);
    let user = begin_proven(app, &mut tx, &identity.email, &person).await?;
    insert(&mut tx, name, identity, user).await?;
    let row = (AuditAction::Signup, user, person.as_str());
    write(&mut tx, row, name, request_id).await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(user)
}

async fn insert(
    tx: &mut wrenn_database::PgConnection,
    name: &str,
    identity: &Identity,
    user: UserId,
) -> Result<()> {
    oauth_identity_insert(tx, name, &identity.id, user, &identity.email)
        .await
        .map_err(|error| match error {
            DbError::Duplicate { .. } => Error::new(
                ErrorCode::EmailTaken,
                "this account of the provider belongs to somebody else",
            ),
            error => error.into(),
        })
}

async fn link(
    app: &App,
    name: &str,
    identity: &Identity,
    user: UserId,
    version: i32,
    request_id: &str,
) -> Result<(), Refusal> {
    if oauth_identity_user(&app.db, name, &identity.id).await? == Some(user) {
        return Ok(());
    }
    let mut tx = app.db.begin().await.map_err(DbError::from)?;
    let account = account_lock(&mut tx, user).await?;
    let account = account
        .filter(|account| account.status == "active" && account.token_version == version)
        .ok_or(Refusal::InvalidState)?;
    insert(&mut tx, name, identity, user).await?;
    let row = (AuditAction::ProviderLink, user, account.name.as_str());
    write(&mut tx, row, name, request_id).await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(())
}

async fn write(
    tx: &mut wrenn_database::PgConnection,
    (action, user, person): (AuditAction, UserId, &str),
    provider: &str,
    request_id: &str,
) -> Result<()> {
    let event = Event {
        user,
        name: Some(person),
        action,
        status: AuditStatus::Success,
        fact: ("provider", provider.to_owned()),
        request_id,
    };
    account_log::write(tx, event).await
}

/// Signs a browser in by the code that it arrived with.
///
/// # Errors
/// `invalid_token`, or a service is away.
pub(crate) async fn exchange(
    app: &App,
    code: &str,
    cookie: Option<&str>,
    visitor: &Visitor,
) -> Result<SignedIn> {
    let found: Option<Handover> =
        one_time::consume(&mut app.bus.redis(), Purpose::Oauth, code).await?;
    let found = found.ok_or_else(invalid_token)?;
    if cookie.map(|cookie| sha256(cookie.as_bytes())) != Some(found.browser) {
        return Err(invalid_token());
    }
    let account = existing(app, found.user).await?;
    if account.status != "active" {
        return Err(invalid_token());
    }
    let mut signed_in = sign_in(app, &account, None, visitor).await?;
    signed_in.answer.new_user = Some(found.new_user);
    Ok(signed_in)
}

/// Takes a provider's account away from the caller's.
///
/// # Errors
/// `not_found`, `last_login_method`, or the database is away.
pub(crate) async fn unlink(app: &App, caller: &Caller, name: &str) -> Result<()> {
    let mut tx = app.db.begin().await.map_err(DbError::from)?;
    // Under the lock of the row: of two at once, one is the last.
    let account: Option<Account> = account_lock(&mut tx, caller.id).await?;
    let account = account.ok_or_else(|| Error::internal("an account vanished"))?;
    let linked = oauth_providers_of(&mut *tx, caller.id).await?;
    if !linked.iter().any(|linked| linked == name) {
        return Err(Error::not_found("provider of your account"));
    }
    if account.password_hash.is_none() && linked.len() == 1 {
        return Err(Error::new(
            ErrorCode::LastLoginMethod,
            "you could not sign in any more; set a password first",
        ));
    }
    oauth_identity_delete(&mut *tx, caller.id, name).await?;
    Ok(tx.commit().await.map_err(DbError::from)?)
}
