//! Registration tokens, refresh tokens and certificates of hosts.
//!
//! Tokens are hashes here. A refresh token belongs to a family; what its use means is decided by the
//! control plane's `auth/`.

use sqlx::{FromRow, PgConnection, PgExecutor};
use uuid::Uuid;
use wrenn_ids::{HostId, UserId};

use crate::{HostFacts, Result};

/// Records a registration token issued for an hour, and who asked for it.
///
/// # Errors
/// The statement fails.
pub async fn host_registration_insert(
    executor: impl PgExecutor<'_>,
    host: HostId,
    by: Option<UserId>,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO host_registrations (id, host_id, created_by, expires_at)
         VALUES ($1, $2, $3, now() + interval '1 hour')",
    )
    .bind(Uuid::now_v7())
    .bind(host.as_uuid())
    .bind(by.map(UserId::as_uuid))
    .execute(executor)
    .await?;
    Ok(())
}

/// Records that the host's newest registration token was used.
///
/// # Errors
/// The statement fails.
pub async fn host_registration_use(executor: impl PgExecutor<'_>, host: HostId) -> Result<()> {
    sqlx::query(
        "UPDATE host_registrations SET used_at = now()
         WHERE id = (SELECT id FROM host_registrations WHERE host_id = $1 AND used_at IS NULL
                     ORDER BY created_at DESC LIMIT 1)",
    )
    .bind(host.as_uuid())
    .execute(executor)
    .await?;
    Ok(())
}

/// Writes what a registering agent says about its machine, and voids what proved the host before. Answers the version
/// of its tokens from now on; `None` when the host is deleted or does not wait for an agent.
///
/// # Errors
/// A statement fails.
pub async fn host_register(
    connection: &mut PgConnection,
    host: HostId,
    facts: &HostFacts<'_>,
) -> Result<Option<i32>> {
    let version = sqlx::query_scalar(
        "UPDATE hosts SET address = $2, arch = $3, cpu_cores = $4, memory_mb = $5, disk_gb = $6,
                agent_version = $7, token_version = token_version + 1, updated_at = now()
         WHERE id = $1 AND status = 'pending' AND deleted_at IS NULL RETURNING token_version",
    )
    .bind(host.as_uuid())
    .bind(facts.address)
    .bind(facts.arch)
    .bind(facts.cpu_cores)
    .bind(facts.memory_mb)
    .bind(facts.disk_gb)
    .bind(facts.agent_version)
    .fetch_optional(&mut *connection)
    .await?;
    refresh_tokens_revoke(connection, host).await?;
    Ok(version)
}

/// Revokes every refresh token of a host.
///
/// # Errors
/// The statement fails.
async fn refresh_tokens_revoke(executor: impl PgExecutor<'_>, host: HostId) -> Result<()> {
    sqlx::query(
        "UPDATE host_refresh_tokens SET revoked_at = now()
         WHERE host_id = $1 AND revoked_at IS NULL",
    )
    .bind(host.as_uuid())
    .execute(executor)
    .await?;
    Ok(())
}

/// A freshly signed certificate.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// SHA-256 of its DER form.
    pub fingerprint: [u8; 32],
}

/// Pins a new certificate, valid for 7 days from now; the one before stays accepted for 10 minutes.
///
/// # Errors
/// The statement fails.
pub async fn host_certificate_set(
    executor: impl PgExecutor<'_>,
    host: HostId,
    certificate: &Certificate,
) -> Result<()> {
    sqlx::query(
        "UPDATE hosts SET prev_cert_fingerprint = cert_fingerprint, cert_fingerprint = $2,
                cert_expires_at = now() + interval '7 days', updated_at = now()
         WHERE id = $1",
    )
    .bind(host.as_uuid())
    .bind(certificate.fingerprint.as_slice())
    .execute(executor)
    .await?;
    Ok(())
}

/// A refresh token to store.
#[derive(Debug, Clone)]
pub struct NewRefreshToken {
    /// Identity.
    pub id: Uuid,
    /// Whose.
    pub host: HostId,
    /// All tokens that descend from one registration.
    pub family: Uuid,
    /// SHA-256 of the token.
    pub hash: [u8; 32],
}

/// Stores a refresh token for 60 days.
///
/// # Errors
/// The statement fails.
pub async fn refresh_token_insert(
    executor: impl PgExecutor<'_>,
    token: &NewRefreshToken,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO host_refresh_tokens (id, host_id, family, token_hash, expires_at)
         VALUES ($1, $2, $3, $4, now() + interval '60 days')",
    )
    .bind(token.id)
    .bind(token.host.as_uuid())
    .bind(token.family)
    .bind(token.hash.as_slice())
    .execute(executor)
    .await?;
    Ok(())
}

/// A stored refresh token.
#[derive(Debug, Clone, FromRow)]
pub struct RefreshTokenRow {
    /// Identity.
    pub id: Uuid,
    /// Whose.
    pub host_id: Uuid,
    /// Its family.
    pub family: Uuid,
    /// Not expired, and its host is not deleted.
    pub live: bool,
    /// It, or its family, was revoked, or it was replaced.
    pub revoked: bool,
    /// The token issued for it.
    pub successor_id: Option<Uuid>,
    /// Whether that one has been used.
    pub successor_used: bool,
}

/// The token with this hash, locked until the transaction ends.
///
/// # Errors
/// The statement fails.
pub async fn refresh_token_by_hash(
    connection: &mut PgConnection,
    hash: &[u8],
) -> Result<Option<RefreshTokenRow>> {
    Ok(sqlx::query_as(
        "SELECT r.id, r.host_id, r.family,
                r.expires_at > now() AND h.deleted_at IS NULL AS live,
                r.revoked_at IS NOT NULL AS revoked,
                r.successor_id,
                coalesce((SELECT s.used_at IS NOT NULL FROM host_refresh_tokens s
                          WHERE s.id = r.successor_id), false) AS successor_used
         FROM host_refresh_tokens r JOIN hosts h ON h.id = r.host_id
         WHERE r.token_hash = $1 FOR UPDATE OF r",
    )
    .bind(hash)
    .fetch_optional(connection)
    .await?)
}

/// Records the use of a token.
///
/// # Errors
/// The statement fails.
pub async fn refresh_token_use(executor: impl PgExecutor<'_>, id: Uuid) -> Result<()> {
    sqlx::query("UPDATE host_refresh_tokens SET used_at = coalesce(used_at, now()) WHERE id = $1")
        .bind(id)
        .execute(executor)
        .await?;
    Ok(())
}

/// Makes `successor` the one that follows `id`; a successor that was never used is revoked.
///
/// # Errors
/// The statement fails.
pub async fn refresh_token_set_successor(
    connection: &mut PgConnection,
    id: Uuid,
    successor: Uuid,
) -> Result<()> {
    sqlx::query(
        "UPDATE host_refresh_tokens SET revoked_at = now()
         WHERE id = (SELECT successor_id FROM host_refresh_tokens WHERE id = $1)",
    )
    .bind(id)
    .execute(&mut *connection)
    .await?;
    sqlx::query("UPDATE host_refresh_tokens SET successor_id = $2 WHERE id = $1")
        .bind(id)
        .bind(successor)
        .execute(connection)
        .await?;
    Ok(())
}

/// Revokes every token of a family; false when none was left.
///
/// # Errors
/// The statement fails.
pub async fn refresh_family_revoke(executor: impl PgExecutor<'_>, family: Uuid) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE host_refresh_tokens SET revoked_at = now()
         WHERE family = $1 AND revoked_at IS NULL",
    )
    .bind(family)
    .execute(executor)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Voids every credential of a host, which is pending from then on; false when there is no such host.
///
/// # Errors
/// A statement fails.
pub async fn host_revoke(connection: &mut PgConnection, host: HostId) -> Result<bool> {
    // Without a certificate nobody dials it; with another version its token is none, also when it registers anew.
    let done = sqlx::query(
        "UPDATE hosts SET status = 'pending', cert_fingerprint = NULL, prev_cert_fingerprint = NULL,
                cert_expires_at = NULL, token_version = token_version + 1, updated_at = now()
         WHERE id = $1 AND deleted_at IS NULL",
    )
    .bind(host.as_uuid())
    .execute(&mut *connection)
    .await?;
    refresh_tokens_revoke(connection, host).await?;
    Ok(done.rows_affected() == 1)
}

/// Removes refresh tokens that expired a week ago.
///
/// # Errors
/// The statement fails.
pub async fn host_tokens_prune(executor: impl PgExecutor<'_>) -> Result<u64> {
    Ok(
        sqlx::query("DELETE FROM host_refresh_tokens WHERE expires_at < now() - interval '7 days'")
            .execute(executor)
            .await?
            .rows_affected(),
    )
}
