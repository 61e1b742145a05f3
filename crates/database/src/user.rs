//! People.

use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;
use wrenn_ids::UserId;

use crate::Result;

/// A person's account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRow {
    /// Identity.
    pub id: UserId,
    /// Address, lowercased.
    pub email: String,
    /// What people call them.
    pub name: String,
    /// Whether they administer the platform.
    pub is_admin: bool,
}

/// Adds an active account.
///
/// # Errors
/// [`crate::Error::Duplicate`] when the address has a live account.
pub async fn user_insert(
    executor: impl PgExecutor<'_>,
    user: &UserRow,
    password_hash: Option<&str>,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO users (id, email, password_hash, name, is_admin, status)
         VALUES ($1, lower($2), $3, $4, $5, 'active')",
    )
    .bind(user.id.as_uuid())
    .bind(&user.email)
    .bind(password_hash)
    .bind(&user.name)
    .bind(user.is_admin)
    .execute(executor)
    .await?;
    Ok(())
}

/// The live account with this address.
///
/// # Errors
/// The statement fails.
pub async fn user_by_email(executor: impl PgExecutor<'_>, email: &str) -> Result<Option<UserRow>> {
    let row: Option<(uuid::Uuid, String, String, bool)> = sqlx::query_as(
        "SELECT id, email, name, is_admin FROM users
         WHERE lower(email) = lower($1) AND status <> 'deleted'",
    )
    .bind(email)
    .fetch_optional(executor)
    .await?;
    Ok(row.map(|(id, email, name, is_admin)| UserRow {
        id: UserId::from_uuid(id),
        email,
        name,
        is_admin,
    }))
}

/// Whether an active platform administrator exists. Inside a transaction that makes one, callers hold
/// the advisory lock that this takes.
///
/// # Errors
/// The statement fails.
pub async fn admin_exists(connection: &mut sqlx::PgConnection) -> Result<bool> {
    sqlx::query("SELECT pg_advisory_xact_lock(hashtext('admins'))")
        .execute(&mut *connection)
        .await?;
    Ok(sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM users WHERE is_admin AND status = 'active')",
    )
    .fetch_one(connection)
    .await?)
}

/// What a login compares, and what it answers with.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Account {
    id: Uuid,
    /// Address, lowercased.
    pub email: String,
    /// What people call them.
    pub name: String,
    /// argon2id of the password, if they have one.
    pub password_hash: Option<String>,
    /// `inactive`, `active`, `disabled` or `deleted`.
    pub status: String,
    /// Whether they administer the platform.
    pub is_admin: bool,
    /// Tokens of another version are void.
    pub token_version: i32,
    /// Seconds since the account was last changed.
    pub age_sec: i64,
}

impl Account {
    /// Identity.
    #[must_use]
    pub const fn id(&self) -> UserId {
        UserId::from_uuid(self.id)
    }
}

macro_rules! account {
    ($condition:literal) => {
        concat!(
            "SELECT id, email, name, password_hash, status, is_admin, token_version,
                    extract(epoch FROM now() - updated_at)::bigint AS age_sec
             FROM users WHERE ",
            $condition
        )
    };
}

/// The account of an address, unless it was deleted.
///
/// # Errors
/// The statement fails.
pub async fn account_by_email(
    executor: impl PgExecutor<'_>,
    email: &str,
) -> Result<Option<Account>> {
    let query = account!("lower(email) = lower($1) AND status <> 'deleted'");
    Ok(sqlx::query_as(query)
        .bind(email)
        .fetch_optional(executor)
        .await?)
}

/// The account with this id.
///
/// # Errors
/// The statement fails.
pub async fn account_get(executor: impl PgExecutor<'_>, user: UserId) -> Result<Option<Account>> {
    Ok(sqlx::query_as(account!("id = $1"))
        .bind(user.as_uuid())
        .fetch_optional(executor)
        .await?)
}

/// As [`account_get`], the row locked until the transaction ends.
///
/// # Errors
/// The statement fails.
pub async fn account_lock(connection: &mut PgConnection, user: UserId) -> Result<Option<Account>> {
    Ok(sqlx::query_as(account!("id = $1 FOR UPDATE"))
        .bind(user.as_uuid())
        .fetch_optional(connection)
        .await?)
}

/// Adds an account that waits for its activation.
///
/// # Errors
/// [`crate::Error::Duplicate`] when the address has a live account.
pub async fn user_insert_inactive(
    executor: impl PgExecutor<'_>,
    id: UserId,
    email: &str,
    name: &str,
    password_hash: &str,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO users (id, email, password_hash, name, status)
         VALUES ($1, lower($2), $3, $4, 'inactive')",
    )
    .bind(id.as_uuid())
    .bind(email)
    .bind(password_hash)
    .bind(name)
    .execute(executor)
    .await?;
    Ok(())
}

/// Gives an account that still waits for its activation another name, and begins its wait anew; false when it does
/// not wait.
///
/// # Errors
/// The statement fails.
pub async fn user_renew_inactive(
    executor: impl PgExecutor<'_>,
    user: UserId,
    name: &str,
) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE users SET name = $2, updated_at = now() WHERE id = $1 AND status = 'inactive'",
    )
    .bind(user.as_uuid())
    .bind(name)
    .execute(executor)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Takes the password of an account that still waits for its activation; how long it has waited stays.
///
/// # Errors
/// The statement fails.
pub async fn user_void_inactive_password(
    executor: impl PgExecutor<'_>,
    user: UserId,
) -> Result<()> {
    sqlx::query("UPDATE users SET password_hash = NULL WHERE id = $1 AND status = 'inactive'")
        .bind(user.as_uuid())
        .execute(executor)
        .await?;
    Ok(())
}

/// Activates an account that waits for it; false when it does not.
///
/// # Errors
/// The statement fails.
pub async fn user_activate(executor: impl PgExecutor<'_>, user: UserId) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE users SET status = 'active', updated_at = now() WHERE id = $1 AND status = 'inactive'",
    )
    .bind(user.as_uuid())
    .execute(executor)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Renames a person.
///
/// # Errors
/// The statement fails.
pub async fn user_rename(executor: impl PgExecutor<'_>, user: UserId, name: &str) -> Result<()> {
    sqlx::query("UPDATE users SET name = $2, updated_at = now() WHERE id = $1")
        .bind(user.as_uuid())
        .bind(name)
        .execute(executor)
        .await?;
    Ok(())
}

/// Sets a password and voids every token and session made under the one before.
///
/// # Errors
/// The statement fails.
pub async fn user_set_password(
    connection: &mut PgConnection,
    user: UserId,
    password_hash: &str,
) -> Result<()> {
    sqlx::query("UPDATE users SET password_hash = $2, updated_at = now() WHERE id = $1")
        .bind(user.as_uuid())
        .bind(password_hash)
        .execute(&mut *connection)
        .await?;
    user_void_tokens(connection, user).await
}

/// Voids every token of a person and ends all their sessions.
///
/// # Errors
/// The statement fails.
pub async fn user_void_tokens(connection: &mut PgConnection, user: UserId) -> Result<()> {
    sqlx::query("UPDATE users SET token_version = token_version + 1 WHERE id = $1")
        .bind(user.as_uuid())
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "UPDATE user_sessions SET ended_at = now() WHERE user_id = $1 AND ended_at IS NULL",
    )
    .bind(user.as_uuid())
    .execute(connection)
    .await?;
    Ok(())
}

/// Marks an account as deleted; its tokens are void and its address is free.
///
/// # Errors
/// The statement fails.
pub async fn user_delete(connection: &mut PgConnection, user: UserId) -> Result<()> {
    sqlx::query(
        "UPDATE users SET status = 'deleted', deleted_at = now(), is_admin = false, updated_at = now()
         WHERE id = $1",
    )
    .bind(user.as_uuid())
    .execute(&mut *connection)
    .await?;
    for statement in [
        "DELETE FROM users_teams WHERE user_id = $1",
        "DELETE FROM admin_permissions WHERE user_id = $1",
    ] {
        sqlx::query(statement)
            .bind(user.as_uuid())
            .execute(&mut *connection)
            .await?;
    }
    user_void_tokens(connection, user).await
}

/// Erases what identifies accounts that were deleted `days` ago; answers whom, at most 100 at a time.
///
/// # Errors
/// The statement fails.
pub async fn users_purge(connection: &mut PgConnection, days: i32) -> Result<Vec<UserId>> {
    let gone: Vec<Uuid> = sqlx::query_scalar(
        "UPDATE users SET email = '', name = 'deleted user', password_hash = NULL
         WHERE id IN (SELECT id FROM users
                      WHERE status = 'deleted' AND email <> ''
                        AND deleted_at < now() - make_interval(days => $1)
                      ORDER BY deleted_at LIMIT 100 FOR UPDATE SKIP LOCKED)
         RETURNING id",
    )
    .bind(days)
    .fetch_all(&mut *connection)
    .await?;
    for statement in [
        "DELETE FROM oauth_identities WHERE user_id = ANY($1)",
        "DELETE FROM user_sessions WHERE user_id = ANY($1)",
    ] {
        sqlx::query(statement)
            .bind(&gone)
            .execute(&mut *connection)
            .await?;
    }
    Ok(gone.into_iter().map(UserId::from_uuid).collect())
}

/// Active people whose address begins with this text, at most `limit`.
///
/// # Errors
/// The statement fails.
pub async fn users_search(
    executor: impl PgExecutor<'_>,
    prefix: &str,
    limit: i64,
) -> Result<Vec<(UserId, String, String)>> {
    let escaped = prefix
        .to_lowercase()
        .replace('\\', "\\\\")
        .replace('%', "\\%")
        .replace('_', "\\_");
    let rows: Vec<(Uuid, String, String)> = sqlx::query_as(
        "SELECT id, email, name FROM users
         WHERE lower(email) LIKE $1 || '%' AND status = 'active' ORDER BY email LIMIT $2",
    )
    .bind(escaped)
    .bind(limit)
    .fetch_all(executor)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(id, email, name)| (UserId::from_uuid(id), email, name))
        .collect())
}

/// Whether nobody else administers the whole platform. Takes the lock under which administrators change.
///
/// # Errors
/// The statement fails.
pub async fn admin_is_last(connection: &mut PgConnection, user: UserId) -> Result<bool> {
    sqlx::query("SELECT pg_advisory_xact_lock(hashtext('admins'))")
        .execute(&mut *connection)
        .await?;
    let others: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM users WHERE is_admin AND status = 'active' AND id <> $1)",
    )
    .bind(user.as_uuid())
    .fetch_one(connection)
    .await?;
    Ok(!others)
}
