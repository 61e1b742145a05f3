//! What a new installation needs before anybody can use it. Every call is repeatable: a second one changes
//! nothing and returns no secret.

use redis::aio::ConnectionManager;
use secrecy::{ExposeSecret, SecretString};
use wrenn_database::{
    Error as DbError, NewHost, PgPool, UserRow, admin_exists, api_key_exists, api_key_insert,
    host_get, host_insert, host_registration_insert, platform_team_exists, team_default_of_user,
    team_insert, team_member_insert, user_by_email, user_insert,
};
use wrenn_ids::{HostId, KeyId, TeamId, UserId};

use crate::auth::{
    NoRandomness, api_key,
    one_time::{self, OneTimeError},
    password::{self, HashError},
    random_hex,
};

/// Address of the administrator that [`ensure`] makes.
pub const ADMIN_EMAIL: &str = "admin@localhost";

/// Why an installation could not be prepared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BootstrapError {
    /// The database is away, or a statement fails.
    #[error("the database could not be prepared")]
    Database(#[from] DbError),
    /// The database is not migrated.
    #[error("the database is not migrated: it has no platform team")]
    NotMigrated,
    /// No randomness for a secret.
    #[error("a secret could not be made")]
    Random(#[from] NoRandomness),
    /// The password could not be hashed.
    #[error("the administrator's password could not be hashed")]
    Password(#[from] HashError),
    /// Redis is away.
    #[error("the registration token could not be issued")]
    Token(#[from] OneTimeError),
    /// The URL of Redis is unusable.
    #[error("REDIS_URL cannot be used")]
    Redis(#[source] redis::RedisError),
}

/// What was made; secrets are present only in the run that made them.
#[derive(Debug)]
pub struct Prepared {
    /// Password of [`ADMIN_EMAIL`].
    pub admin_password: Option<SecretString>,
    /// An API key of the administrator's team.
    pub api_key: Option<SecretString>,
    /// The administrator's team.
    pub team: TeamId,
}

/// A random short name of a team.
pub(crate) fn new_slug() -> Result<String, NoRandomness> {
    let digits = random_hex(6)?;
    Ok(format!("{}-{}", &digits[..6], &digits[6..]))
}

/// Makes the administrator, a team and an API key, unless they exist. The platform team and the template
/// `minimal` come with the migrations.
///
/// # Errors
/// The database is away or not migrated.
pub async fn ensure(db: &PgPool) -> Result<Prepared, BootstrapError> {
    if !platform_team_exists(db).await? {
        return Err(BootstrapError::NotMigrated);
    }
    // Hashed before the transaction: it takes a while, and locks should not.
    let password = random_hex(12)?;
    let hash = password::hash(password.clone()).await?;
    let mut tx = db.begin().await.map_err(DbError::from)?;
    let mut prepared = Prepared {
        admin_password: None,
        api_key: None,
        team: TeamId::ZERO,
    };
    // Takes a lock, so that two concurrent runs make one administrator.
    let exists = admin_exists(&mut tx).await?;
    let admin = match user_by_email(&mut *tx, ADMIN_EMAIL).await? {
        Some(admin) => admin,
        None => {
            let admin = UserRow {
                id: UserId::new(),
                email: ADMIN_EMAIL.to_owned(),
                name: "Administrator".to_owned(),
                is_admin: !exists,
            };
            user_insert(&mut *tx, &admin, Some(&hash)).await?;
            prepared.admin_password = Some(password.into());
            admin
        }
    };
    prepared.team = match team_default_of_user(&mut *tx, admin.id).await? {
        Some(team) => team,
        None => {
            let team = TeamId::new();
            team_insert(&mut *tx, team, "Administrator's team", &new_slug()?).await?;
            team_member_insert(&mut *tx, team, admin.id, "owner", true).await?;
            team
        }
    };
    if !api_key_exists(&mut *tx, prepared.team).await? {
        let key = api_key::generate()?;
        let (id, maker) = (KeyId::new(), Some(admin.id));
        api_key_insert(
            &mut *tx,
            id,
            prepared.team,
            "wrenn up",
            &key.hash,
            &key.prefix,
            maker,
        )
        .await?;
        prepared.api_key = Some(key.text.into());
    }
    tx.commit().await.map_err(DbError::from)?;
    Ok(prepared)
}

/// A further API key of the administrator's team, for whoever lost the first one.
///
/// # Errors
/// The database is away, or [`ensure`] has not run.
pub async fn another_key(db: &PgPool) -> Result<SecretString, BootstrapError> {
    let admin = user_by_email(db, ADMIN_EMAIL)
        .await?
        .ok_or(BootstrapError::NotMigrated)?;
    let team = team_default_of_user(db, admin.id)
        .await?
        .ok_or(BootstrapError::NotMigrated)?;
    let key = api_key::generate()?;
    let id = KeyId::new();
    api_key_insert(
        db,
        id,
        team,
        "wrenn up",
        &key.hash,
        &key.prefix,
        Some(admin.id),
    )
    .await?;
    Ok(key.text.into())
}

/// Asks the Redis at `redis_url` for an answer; the caller sets the deadline.
///
/// # Errors
/// The URL is none, or there is no Redis.
pub async fn redis_answers(redis_url: &SecretString) -> Result<(), BootstrapError> {
    let ping = async {
        let client = redis::Client::open(redis_url.expose_secret())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        redis::cmd("PING").query_async::<()>(&mut connection).await
    };
    ping.await.map_err(BootstrapError::Redis)
}

/// A host row and a one-time token for its agent, good for an hour; `None` when the host `known` is
/// registered already. `known` is the host that an earlier call made, as its agent remembers it.
///
/// # Errors
/// The database or Redis are away.
pub async fn host_token(
    db: &PgPool,
    redis_url: &SecretString,
    known: Option<HostId>,
) -> Result<Option<(HostId, SecretString)>, BootstrapError> {
    let row = match known {
        Some(id) => host_get(db, id).await?.map(|row| (id, row.status)),
        None => None,
    };
    let host = match row {
        Some((_, status)) if status != "pending" => return Ok(None),
        Some((id, _)) => id,
        None => {
            let id = HostId::new();
            let host = NewHost {
                id,
                team: None,
                provider: None,
                availability_zone: None,
                by: None,
            };
            host_insert(db, &host).await?;
            id
        }
    };
    let client = redis::Client::open(redis_url.expose_secret()).map_err(BootstrapError::Redis)?;
    let mut redis = ConnectionManager::new(client)
        .await
        .map_err(BootstrapError::Redis)?;
    let token = one_time::issue_registration(&mut redis, host).await?;
    host_registration_insert(db, host, None).await?;
    Ok(Some((host, token.into())))
}
