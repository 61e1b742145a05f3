//! What the database knows of a host that presents a token.

use sqlx::{FromRow, PgExecutor};
use wrenn_ids::HostId;

use crate::Result;

/// Facts of one moment about a host that is not deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromRow)]
pub struct HostProof {
    /// Tokens of another version are void.
    pub token_version: i32,
    /// Whether it has a certificate.
    pub registered: bool,
}

/// The host; `None` when it is deleted or never was.
///
/// # Errors
/// The statement fails.
pub async fn host_proof(executor: impl PgExecutor<'_>, id: HostId) -> Result<Option<HostProof>> {
    Ok(sqlx::query_as(
        "SELECT token_version, cert_fingerprint IS NOT NULL AS registered
         FROM hosts WHERE id = $1 AND deleted_at IS NULL",
    )
    .bind(id.as_uuid())
    .fetch_optional(executor)
    .await?)
}
