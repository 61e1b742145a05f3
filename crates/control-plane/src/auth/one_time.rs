//! One-time tokens in Redis, as hashes, consumed by one atomic GETDEL.

use redis::AsyncCommands;
use wrenn_ids::HostId;

use super::{NoRandomness, random_hex, sha256};

/// Seconds that a registration token is good for.
const REGISTRATION_LIFE_SEC: u64 = 3600;

/// Why a token could not be issued.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OneTimeError {
    /// Redis is away.
    #[error("Redis cannot be reached for a one-time token")]
    Redis(#[from] redis::RedisError),
    /// No randomness.
    #[error("a one-time token cannot be made")]
    Random(#[from] NoRandomness),
}

fn key(token: &str) -> String {
    format!(
        "wrenn:token:hostreg:{}",
        hex::encode(sha256(token.as_bytes()))
    )
}

fn current(host: HostId) -> String {
    format!("wrenn:token:hostreg:current:{host}")
}

/// Issues a registration token for a host; an earlier one is void from now on.
pub(crate) async fn issue_registration(
    redis: &mut impl AsyncCommands,
    host: HostId,
) -> Result<String, OneTimeError> {
    let token = random_hex(32)?;
    let key = key(&token);
    let earlier: Option<String> = redis.get(current(host)).await?;
    if let Some(earlier) = earlier {
        let _: () = redis.del(earlier).await?;
    }
    let _: () = redis
        .set_ex(&key, host.to_string(), REGISTRATION_LIFE_SEC)
        .await?;
    let _: () = redis
        .set_ex(current(host), &key, REGISTRATION_LIFE_SEC)
        .await?;
    Ok(token)
}

/// Consumes a registration token: of two concurrent calls exactly one gets the host.
pub(crate) async fn consume_registration(
    redis: &mut impl AsyncCommands,
    token: &str,
) -> Result<Option<HostId>, OneTimeError> {
    let host: Option<String> = redis.get_del(key(token)).await?;
    Ok(host.and_then(|text| text.parse().ok()))
}
