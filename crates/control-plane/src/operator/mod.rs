//! What an operator does on the control plane's machine, through its database, when nobody can do it through
//! the API: make or repair administrators, let a team bring hosts, end sessions and hosts' credentials, seal values
//! again, remove what has served its time.
//!
//! Each use is a row of the audit log with the actor `system`, in the transaction of the change. Open streams
//! notice within 4 s. Redis is needed only where one-time tokens are.

mod hosts;
mod people;
mod upkeep;

use std::time::Duration;

use redis::aio::ConnectionManager;
use secrecy::{ExposeSecret, SecretString};
use wrenn_api::{
    Invalid,
    audit::{AuditAction, AuditActor, AuditResource, AuditScope, AuditStatus},
};
use wrenn_database::{
    AuditEnd, AuditFacts, Error as DbError, NewAudit, PgConnection, PgPool, UserRow,
    audit_complete, audit_insert, audit_start, user_by_email,
};
use wrenn_ids::{AuditId, TeamId, UserId};

pub use self::{
    hosts::{host_revoke, unknown_purge},
    people::{admin_create, admin_set, byoc_set, reset_link, sessions_revoke},
    upkeep::{Collect, Resealed, collect, reseal},
};
use crate::{
    auth::{NoRandomness, one_time::OneTimeError, password::HashError},
    sealing::SealError,
};

/// How long Redis may take to answer.
const REDIS_LIMIT: Duration = Duration::from_secs(10);

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
    /// The account cannot be used, so a password would not help it.
    #[error("{email} is {status}: only an active account can be given a password")]
    NotActive {
        /// Address of the account.
        email: String,
        /// What it is instead.
        status: String,
    },
    /// Redis is away.
    #[error("Redis, where one-time tokens are, cannot be reached")]
    Redis(#[source] redis::RedisError),
    /// Redis does not answer in time.
    #[error("Redis, where one-time tokens are, did not answer within {} s", REDIS_LIMIT.as_secs())]
    RedisSlow,
    /// A token could not be issued.
    #[error(transparent)]
    Token(#[from] OneTimeError),
    /// A value could not be sealed.
    #[error("a value could not be sealed")]
    Seal(#[from] SealError),
    /// Nobody would administer the platform.
    #[error("this is the last active administrator")]
    Last,
}

type Result<T, E = OperatorError> = std::result::Result<T, E>;

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

/// A use that changes the installation as a whole and takes a while: begun before it is done, so that none is
/// missing from the log.
///
/// # Errors
/// The database is away.
pub async fn begin(db: &PgPool, action: AuditAction) -> Result<AuditId> {
    let new = NewAudit {
        resource: AuditResource::Platform,
        ..row(action)
    };
    audit_start(db, &new).await?;
    Ok(new.id)
}

/// What became of what was begun.
///
/// # Errors
/// The database is away.
pub async fn end(db: &PgPool, id: AuditId, status: AuditStatus, facts: AuditFacts) -> Result<()> {
    let end = AuditEnd {
        status,
        facts: &completed(facts),
        resource_id: None,
        actor: None,
        team: None,
    };
    audit_complete(db, id, &end).await?;
    Ok(())
}

/// Writes down a use that is done.
///
/// # Errors
/// The database is away.
pub async fn record(db: &PgPool, action: AuditAction, facts: AuditFacts) -> Result<()> {
    let new = NewAudit {
        resource: AuditResource::Platform,
        ..row(action)
    };
    Ok(audit_insert(db, &new, AuditStatus::Success, &completed(facts)).await?)
}

fn completed(mut facts: AuditFacts) -> AuditFacts {
    facts.insert("phase".to_owned(), "completed".to_owned());
    facts
}

async fn redis(url: &SecretString) -> Result<ConnectionManager> {
    let client = redis::Client::open(url.expose_secret()).map_err(OperatorError::Redis)?;
    let connecting = tokio::time::timeout(REDIS_LIMIT, ConnectionManager::new(client));
    let connected = connecting.await.map_err(|_| OperatorError::RedisSlow)?;
    connected.map_err(OperatorError::Redis)
}
