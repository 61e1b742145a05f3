//! Requests that may be repeated: the first outcome is answered again.

use uuid::Uuid;
use wrenn_api::ErrorCode;
use wrenn_database::idempotency_get;
use wrenn_ids::TeamId;

use super::{Error, Result};
use crate::state::App;

/// A repeatable request.
#[derive(Debug, Clone)]
pub(crate) struct Idempotency {
    pub(crate) key: String,
    pub(crate) body_hash: [u8; 32],
}

impl Idempotency {
    /// Route, key and SHA-256 of the body.
    pub(super) fn at<'a>(&'a self, route: &'a str) -> (&'a str, &'a str, [u8; 32]) {
        (route, &self.key, self.body_hash)
    }
}

/// What an earlier request with the same key made.
///
/// # Errors
/// 409 when its body was another, or the database is away.
pub(super) async fn remembered(
    app: &App,
    team: TeamId,
    route: &str,
    request: &Idempotency,
) -> Result<Option<Uuid>> {
    let Some(known) = idempotency_get(&app.db, team, route, &request.key).await? else {
        return Ok(None);
    };
    if known.body_hash != request.body_hash {
        return Err(Error::new(
            ErrorCode::IdempotencyConflict,
            "this idempotency key was used with another body",
        ));
    }
    Ok(known.resource_id)
}
