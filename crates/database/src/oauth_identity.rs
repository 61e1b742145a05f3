//! Accounts at OAuth providers that people sign in with.

use sqlx::PgExecutor;
use uuid::Uuid;
use wrenn_ids::UserId;

use crate::Result;

/// Whose the provider's account is; people who were deleted are nobody.
///
/// # Errors
/// The statement fails.
pub async fn oauth_identity_user(
    executor: impl PgExecutor<'_>,
    provider: &str,
    provider_id: &str,
) -> Result<Option<UserId>> {
    let id: Option<Uuid> = sqlx::query_scalar(
        "SELECT o.user_id FROM oauth_identities o JOIN users u ON u.id = o.user_id
         WHERE o.provider = $1 AND o.provider_id = $2 AND u.status <> 'deleted'",
    )
    .bind(provider)
    .bind(provider_id)
    .fetch_optional(executor)
    .await?;
    Ok(id.map(UserId::from_uuid))
}

/// Links a provider's account to a person. A link of somebody who was deleted gives way.
///
/// # Errors
/// [`crate::Error::Duplicate`] when it is linked already, or the person has another of that provider.
pub async fn oauth_identity_insert(
    connection: &mut sqlx::PgConnection,
    provider: &str,
    provider_id: &str,
    user: UserId,
    email: &str,
) -> Result<()> {
    sqlx::query(
        "DELETE FROM oauth_identities o USING users u
         WHERE o.provider = $1 AND o.provider_id = $2 AND u.id = o.user_id AND u.status = 'deleted'",
    )
    .bind(provider)
    .bind(provider_id)
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "INSERT INTO oauth_identities (provider, provider_id, user_id, email) VALUES ($1, $2, $3, $4)",
    )
    .bind(provider)
    .bind(provider_id)
    .bind(user.as_uuid())
    .bind(email)
    .execute(connection)
    .await?;
    Ok(())
}

/// The providers that a person can sign in with.
///
/// # Errors
/// The statement fails.
pub async fn oauth_providers_of(
    executor: impl PgExecutor<'_>,
    user: UserId,
) -> Result<Vec<String>> {
    Ok(
        sqlx::query_scalar("SELECT provider FROM oauth_identities WHERE user_id = $1 ORDER BY 1")
            .bind(user.as_uuid())
            .fetch_all(executor)
            .await?,
    )
}

/// Unlinks a provider; false when it was not linked.
///
/// # Errors
/// The statement fails.
pub async fn oauth_identity_delete(
    executor: impl PgExecutor<'_>,
    user: UserId,
    provider: &str,
) -> Result<bool> {
    let done = sqlx::query("DELETE FROM oauth_identities WHERE user_id = $1 AND provider = $2")
        .bind(user.as_uuid())
        .bind(provider)
        .execute(executor)
        .await?;
    Ok(done.rows_affected() == 1)
}
