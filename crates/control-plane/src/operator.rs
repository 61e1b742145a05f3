//! What an operator does on the control plane's machine, through its database, when nobody can do it through
//! the API: make or repair administrators, let a team bring hosts, end sessions.
//!
//! Each use is a row of the audit log with the actor `system`, in the transaction of the change. Open streams
//! notice within 4 s; nothing here needs Redis.

use secrecy::{ExposeSecret, SecretString};
use wrenn_api::{
    Invalid,
    audit::{AuditAction, AuditActor, AuditResource, AuditScope, AuditStatus},
    grammar,
};
use wrenn_database::{
    AuditFacts, Error as DbError, NewAudit, PgConnection, PgPool, UserRow, admin_is_last,
    audit_insert, team_by_slug, team_insert, team_member_insert, team_set_byoc, user_by_email,
    user_insert, user_set_admin, user_void_tokens,
};
use wrenn_ids::{AuditId, TeamId, UserId};

use crate::{
    auth::{
        NoRandomness,
        password::{self, HashError},
    },
    bootstrap::new_slug,
};

/// Why an operator's command was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OperatorError {
    /// The database is away, or a statement fails.
    #[error("the database could not be changed")]
    Database(#[from] DbError),
    /// A value breaks its rule.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// No randomness for a name.
    #[error("a name could not be made")]
    Random(#[from] NoRandomness),
    /// The password could not be hashed.
    #[error("the password could not be hashed")]
    Password(#[from] HashError),
    /// There is no such account or team.
    #[error("there is no {0}")]
    Unknown(String),
    /// The address has an account.
    #[error("{0} has an account; promote it instead")]
    Taken(String),
    /// Nobody would administer the platform.
    #[error("this is the last active administrator")]
    Last,
}

type Result<T, E = OperatorError> = std::result::Result<T, E>;

/// Makes an account that administers the platform, with a team of its own.
///
/// # Errors
/// A value breaks its rule, the address is taken, or the database is away.
pub async fn admin_create(
    db: &PgPool,
    email: &str,
    name: &str,
    password: SecretString,
) -> Result<UserId> {
    grammar::email("email", email)?;
    grammar::display_name("name", name)?;
    grammar::password("password", password.expose_secret())?;
    // Hashed before the transaction: it takes a while, and locks should not.
    let hash = password::hash(password.expose_secret().to_owned()).await?;
    let mut tx = db.begin().await.map_err(DbError::from)?;
    let user = UserRow {
        id: UserId::new(),
        email: email.to_lowercase(),
        name: name.trim().to_owned(),
        is_admin: true,
    };
    user_insert(&mut *tx, &user, Some(&hash))
        .await
        .map_err(|error| match error {
            DbError::Duplicate { .. } => OperatorError::Taken(email.to_owned()),
            error => error.into(),
        })?;
    let team = TeamId::new();
    team_insert(&mut *tx, team, "Administrators", &new_slug()?).await?;
    team_member_insert(&mut *tx, team, user.id, "owner", true).await?;
    write_down(&mut tx, AuditAction::SetAdmin, user.id, "admin", "true").await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(user.id)
}

/// Makes an account an administrator of everything, or not any more.
///
/// # Errors
/// No such account, the last administrator, or the database is away.
pub async fn admin_set(db: &PgPool, email: &str, is_admin: bool) -> Result<()> {
    let mut tx = db.begin().await.map_err(DbError::from)?;
    let user = account(&mut tx, email).await?;
    // Takes the lock under which administrators change.
    if admin_is_last(&mut tx, user.id).await? && !is_admin && user.is_admin {
        return Err(OperatorError::Last);
    }
    user_set_admin(&mut *tx, user.id, is_admin).await?;
    let value = if is_admin { "true" } else { "false" };
    write_down(&mut tx, AuditAction::SetAdmin, user.id, "admin", value).await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(())
}

/// Ends every token and session of an account.
///
/// # Errors
/// No such account, or the database is away.
pub async fn sessions_revoke(db: &PgPool, email: &str) -> Result<()> {
    let mut tx = db.begin().await.map_err(DbError::from)?;
    let user = account(&mut tx, email).await?;
    user_void_tokens(&mut tx, user.id).await?;
    write_down(&mut tx, AuditAction::Revoke, user.id, "what", "sessions").await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(())
}

/// Lets a team, by id or slug, bring its own hosts, or not.
///
/// # Errors
/// No such team, or the database is away.
pub async fn byoc_set(db: &PgPool, team: &str, enabled: bool) -> Result<TeamId> {
    let mut tx = db.begin().await.map_err(DbError::from)?;
    let unknown = || OperatorError::Unknown(format!("team `{team}`"));
    let id = match team.parse() {
        Ok(id) => id,
        Err(_) => team_by_slug(&mut *tx, team).await?.ok_or_else(unknown)?,
    };
    if id == TeamId::ZERO || !team_set_byoc(&mut *tx, id, enabled).await? {
        return Err(unknown());
    }
    let text = id.to_string();
    let new = NewAudit {
        team: id,
        resource: AuditResource::Team,
        resource_id: Some(&text),
        ..row(AuditAction::SetByoc)
    };
    let facts = AuditFacts::from([("enabled".to_owned(), enabled.to_string())]);
    audit_insert(&mut *tx, &new, AuditStatus::Success, &facts).await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(id)
}

async fn account(tx: &mut PgConnection, email: &str) -> Result<UserRow> {
    let user = user_by_email(tx, email).await?;
    user.ok_or_else(|| OperatorError::Unknown(format!("account {email}")))
}

fn row<'a>(action: AuditAction) -> NewAudit<'a> {
    NewAudit {
        id: AuditId::new(),
        team: TeamId::ZERO,
        actor: AuditActor::System,
        actor_id: None,
        actor_name: Some("operator"),
        resource: AuditResource::User,
        resource_id: None,
        action,
        scope: AuditScope::Admin,
        request_id: "",
    }
}

async fn write_down(
    tx: &mut PgConnection,
    action: AuditAction,
    user: UserId,
    fact: &str,
    value: &str,
) -> Result<()> {
    let text = user.to_string();
    let new = NewAudit {
        resource_id: Some(&text),
        ..row(action)
    };
    let facts = AuditFacts::from([(fact.to_owned(), value.to_owned())]);
    Ok(audit_insert(tx, &new, AuditStatus::Success, &facts).await?)
}
