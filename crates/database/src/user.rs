//! People.

use sqlx::PgExecutor;
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
