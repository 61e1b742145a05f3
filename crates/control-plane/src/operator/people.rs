//! Accounts and teams.

use secrecy::{ExposeSecret, SecretString};
use wrenn_api::{
    audit::{AuditAction, AuditResource, AuditStatus},
    grammar,
};
use wrenn_database::{
    AuditFacts, Error as DbError, NewAudit, PgPool, UserRow, account_by_email, admin_is_last,
    audit_insert, team_by_slug, team_insert, team_member_insert, team_set_byoc, user_insert,
    user_set_admin, user_void_tokens,
};
use wrenn_ids::{TeamId, UserId};

use super::{OperatorError, Result, account, redis, row, write_down};
use crate::{
    app::{mail::reset_link_at, password::Reset},
    auth::{
        one_time::{self, Purpose},
        password,
    },
    bootstrap::new_slug,
};

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

/// A link with which whoever holds it sets the account's password, good for 15 minutes. The password until now stays
/// good until then.
///
/// # Errors
/// No such account, one that is not active, or a service is away.
pub async fn reset_link(
    db: &PgPool,
    redis_url: &SecretString,
    public_url: &str,
    email: &str,
) -> Result<String> {
    let account = account_by_email(db, email).await?;
    let account = account.ok_or_else(|| OperatorError::Unknown(format!("account {email}")))?;
    if account.status != "active" {
        return Err(OperatorError::NotActive {
            email: account.email,
            status: account.status,
        });
    }
    let mut redis = redis(redis_url).await?;
    let reset = Reset {
        user: account.id(),
        token_version: account.token_version,
    };
    let mut tx = db.begin().await.map_err(DbError::from)?;
    let what = "reset_link";
    write_down(
        &mut tx,
        AuditAction::TokenIssued,
        account.id(),
        "what",
        what,
    )
    .await?;
    // Before the row is there for good: a token that nobody is told of harms nobody.
    let token = one_time::issue(&mut redis, Purpose::Reset, &reset).await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(reset_link_at(public_url, &token))
}
