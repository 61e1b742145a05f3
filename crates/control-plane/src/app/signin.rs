//! How a person who proved who they are is signed in: by a token, and in a browser or command line by a
//! session that renews it.
//!
//! A refresh token is good once. Its successor is derived from it, so that a retry within 10 s, when the
//! first answer was lost or a second tab asked too, gets the same one. Its use later than that means that
//! somebody copied it: the session ends.

use wrenn_api::{
    AuthResponse, ErrorCode, Role, SessionKind,
    audit::{AuditAction, AuditStatus},
};
use wrenn_database::{
    Account, Error as DbError, NewSession, account_get, session_end, session_insert,
    session_lock_by_token, session_rotate, session_set_team, team_default_of_user, team_role,
};
use wrenn_ids::{SessionId, TeamId, UserId};

use super::{
    Caller, Error, Result,
    account_log::{self, Event},
};
use crate::{
    auth::{random_hex, sha256, user_token::UserClaims},
    state::App,
};

/// Days without use after which a session ends.
pub(crate) const SESSION_DAYS: i32 = 30;
/// How long the token before is taken for a retry.
const RETRY_MS: i64 = 10_000;

/// Who asks to be signed in, as far as the request says.
#[derive(Debug, Clone)]
pub(crate) struct Visitor {
    /// What holds the session; `None`: there is none, the token alone is asked for.
    pub(crate) kind: Option<SessionKind>,
    /// What the client calls itself.
    pub(crate) client: String,
    /// Where it comes from.
    pub(crate) ip: String,
    /// Of the request.
    pub(crate) request_id: String,
}

/// A person who is signed in.
#[derive(Debug)]
pub(crate) struct SignedIn {
    pub(crate) answer: AuthResponse,
    /// For the cookie of a browser.
    pub(crate) cookie: Option<String>,
}

/// Signs an active account in, into this team, or its default one.
///
/// # Errors
/// The database is away.
pub(crate) async fn sign_in(
    app: &App,
    account: &Account,
    team: Option<TeamId>,
    visitor: &Visitor,
) -> Result<SignedIn> {
    let place = place(app, account.id(), team).await?;
    let Some(kind) = visitor.kind else {
        return signed_in(app, account, place, None);
    };
    let (session, refresh) = (SessionId::new(), random_hex(32)?);
    let new = NewSession {
        id: session,
        user: account.id(),
        kind: kind.as_str(),
        client: &visitor.client,
        ip: &visitor.ip,
        team: place.map(|(team, _)| team),
        refresh_hash: &sha256(refresh.as_bytes()),
        days: SESSION_DAYS,
    };
    session_insert(&app.db, &new).await?;
    signed_in(app, account, place, Some((session, kind, refresh)))
}

/// Another token for somebody who is signed in: the same session, another team or name.
///
/// # Errors
/// The database is away.
pub(crate) async fn reissue(
    app: &App,
    account: &Account,
    session: Option<SessionId>,
    team: Option<TeamId>,
) -> Result<AuthResponse> {
    let place = place(app, account.id(), team).await?;
    issue(app, account, place, session)
}

/// The team, if the person is in it; without a team asked for, their default one.
async fn place(app: &App, user: UserId, team: Option<TeamId>) -> Result<Option<(TeamId, Role)>> {
    if let Some(team) = team
        && let Some(role) = team_role(&app.db, team, user).await?
    {
        return Ok(Some((team, role)));
    }
    let Some(team) = team_default_of_user(&app.db, user).await? else {
        return Ok(None);
    };
    let role = team_role(&app.db, team, user).await?;
    Ok(role.map(|role| (team, role)))
}

fn signed_in(
    app: &App,
    account: &Account,
    place: Option<(TeamId, Role)>,
    session: Option<(SessionId, SessionKind, String)>,
) -> Result<SignedIn> {
    let id = session.as_ref().map(|(id, _, _)| *id);
    let mut answer = issue(app, account, place, id)?;
    let mut cookie = None;
    match session {
        Some((_, SessionKind::Browser, refresh)) => cookie = Some(refresh),
        Some((_, SessionKind::Cli, refresh)) => answer.refresh_token = Some(refresh),
        None => {}
    }
    Ok(SignedIn { answer, cookie })
}

fn issue(
    app: &App,
    account: &Account,
    place: Option<(TeamId, Role)>,
    session: Option<SessionId>,
) -> Result<AuthResponse> {
    let claims = UserClaims {
        sub: account.id(),
        sid: session,
        team_id: place.map(|(team, _)| team),
        role: place.map(|(_, role)| role),
        email: account.email.clone(),
        name: account.name.clone(),
        is_admin: account.is_admin,
        tv: account.token_version,
    };
    Ok(AuthResponse {
        token: app.user_tokens.issue(&claims).map_err(Error::internal)?,
        user_id: claims.sub,
        team_id: claims.team_id,
        email: claims.email,
        name: claims.name,
        refresh_token: None,
        new_user: None,
    })
}

fn unauthorized() -> Error {
    Error::new(
        ErrorCode::Unauthorized,
        "the session has ended; sign in again",
    )
}

/// Renews a session by its refresh token.
///
/// # Errors
/// `unauthorized`, or the database is away.
pub(crate) async fn refresh(app: &App, token: &str, request_id: &str) -> Result<SignedIn> {
    let hash = sha256(token.as_bytes());
    let mut tx = app.db.begin().await.map_err(DbError::from)?;
    let session = session_lock_by_token(&mut tx, &hash)
        .await?
        .ok_or_else(unauthorized)?;
    let mut successors = app.refresh_tokens.all(token.as_bytes()).map(hex::encode);
    let successor = if session.refresh_hash == hash {
        let successor = successors.next().ok_or_else(unauthorized)?;
        let hash = sha256(successor.as_bytes());
        session_rotate(&mut *tx, session.id(), &hash, SESSION_DAYS).await?;
        Some(successor)
    } else if session.rotated_ms_ago <= RETRY_MS {
        successors.find(|token| sha256(token.as_bytes())[..] == session.refresh_hash)
    } else {
        None
    };
    let Some(successor) = successor else {
        session_end(&mut *tx, session.user(), session.id()).await?;
        // Somebody copied it: whoever reads the log should know.
        let event = Event {
            user: session.user(),
            name: None,
            action: AuditAction::CredentialReuse,
            status: AuditStatus::Error,
            fact: ("session", session.id().to_string()),
            request_id,
        };
        account_log::write(&mut tx, event).await?;
        tx.commit().await.map_err(DbError::from)?;
        app.bus.revoked(session.user());
        return Err(unauthorized());
    };
    tx.commit().await.map_err(DbError::from)?;
    let account = account_get(&app.db, session.user()).await?;
    let account = account
        .filter(|account| account.status == "active")
        .ok_or_else(unauthorized)?;
    let kind = session.kind.parse().map_err(Error::internal)?;
    let place = place(app, account.id(), session.team()).await?;
    signed_in(app, &account, place, Some((session.id(), kind, successor)))
}

/// Ends the session of a refresh token, if it has one.
///
/// # Errors
/// The database is away.
pub(crate) async fn end_by_token(app: &App, token: &str) -> Result<()> {
    let hash = sha256(token.as_bytes());
    let mut tx = app.db.begin().await.map_err(DbError::from)?;
    if let Some(session) = session_lock_by_token(&mut tx, &hash).await? {
        session_end(&mut *tx, session.user(), session.id()).await?;
        tx.commit().await.map_err(DbError::from)?;
        app.bus.revoked(session.user());
    }
    Ok(())
}

/// A token for another team of the caller; their session moves too.
///
/// # Errors
/// `forbidden` when it is not theirs, or the database is away.
pub(crate) async fn switch_team(app: &App, caller: &Caller, team: TeamId) -> Result<AuthResponse> {
    let Some(role) = team_role(&app.db, team, caller.id).await? else {
        return Err(Error::new(
            ErrorCode::Forbidden,
            "you are not a member of this team",
        ));
    };
    if let Some(session) = caller.session {
        session_set_team(&app.db, session, team).await?;
    }
    let account = account_get(&app.db, caller.id).await?;
    let account = account.ok_or_else(unauthorized)?;
    issue(app, &account, Some((team, role)), caller.session)
}
