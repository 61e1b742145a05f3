//! One-time tokens in Redis, as hashes, consumed by one atomic GETDEL.

use redis::AsyncCommands;
use serde::{Serialize, de::DeserializeOwned};
use wrenn_ids::HostId;

use super::{NoRandomness, random_hex, sha256};

/// What a token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To register a host.
    Registration,
    /// To activate an account.
    Activation,
    /// To set a password.
    Reset,
    /// To take a sign-in at a provider over into the dashboard.
    Oauth,
    /// A provider's answer that was taken already.
    OauthState,
    /// To take a browser's person over into a command line.
    Cli,
    /// For a command line to ask whether it was let in.
    Device,
    /// For a person to find the command line that asks.
    DeviceUser,
}

impl Purpose {
    const fn name(self) -> &'static str {
        match self {
            Self::Registration => "hostreg",
            Self::Activation => "activation",
            Self::Reset => "reset",
            Self::Oauth => "oauth",
            Self::OauthState => "oauth-state",
            Self::Cli => "cli",
            Self::Device => "device",
            Self::DeviceUser => "device-user",
        }
    }

    /// Seconds that it is good for.
    pub(crate) const fn life_sec(self) -> u64 {
        match self {
            Self::Registration => 3600,
            Self::Activation => 30 * 60,
            Self::Reset => 15 * 60,
            Self::Oauth | Self::Cli => 60,
            Self::OauthState | Self::Device | Self::DeviceUser => 600,
        }
    }

    /// Where the value of a token is.
    pub(crate) fn key(self, token: &str) -> String {
        let hash = hex::encode(sha256(token.as_bytes()));
        format!("wrenn:token:{}:{hash}", self.name())
    }
}

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
    /// The value cannot be written; a defect.
    #[error("the value of a one-time token cannot be written")]
    Value(#[from] serde_json::Error),
}

/// Issues a token that stands for `value`.
pub(crate) async fn issue(
    redis: &mut impl AsyncCommands,
    purpose: Purpose,
    value: &impl Serialize,
) -> Result<String, OneTimeError> {
    let token = random_hex(32)?;
    keep(redis, purpose, &token, value).await?;
    Ok(token)
}

/// Has a token of the caller's stand for `value`.
pub(crate) async fn keep(
    redis: &mut impl AsyncCommands,
    purpose: Purpose,
    token: &str,
    value: &impl Serialize,
) -> Result<(), OneTimeError> {
    let value = serde_json::to_string(value)?;
    let _: () = redis
        .set_ex(purpose.key(token), value, purpose.life_sec())
        .await?;
    Ok(())
}

/// What a token stands for, once: of two concurrent calls exactly one gets it.
pub(crate) async fn consume<T: DeserializeOwned>(
    redis: &mut impl AsyncCommands,
    purpose: Purpose,
    token: &str,
) -> Result<Option<T>, OneTimeError> {
    let value: Option<String> = redis.get_del(purpose.key(token)).await?;
    Ok(value.and_then(|text| serde_json::from_str(&text).ok()))
}

/// What a token stands for; it stays good.
pub(crate) async fn look<T: DeserializeOwned>(
    redis: &mut impl AsyncCommands,
    purpose: Purpose,
    token: &str,
) -> Result<Option<T>, OneTimeError> {
    let value: Option<String> = redis.get(purpose.key(token)).await?;
    Ok(value.and_then(|text| serde_json::from_str(&text).ok()))
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
    let (key, life) = (
        Purpose::Registration.key(&token),
        Purpose::Registration.life_sec(),
    );
    let earlier: Option<String> = redis.get(current(host)).await?;
    if let Some(earlier) = earlier {
        let _: () = redis.del(earlier).await?;
    }
    let _: () = redis.set_ex(&key, host.to_string(), life).await?;
    let _: () = redis.set_ex(current(host), &key, life).await?;
    Ok(token)
}

/// Voids the registration token that waits for a host, if one does.
pub(crate) async fn void_registration(
    redis: &mut impl AsyncCommands,
    host: HostId,
) -> Result<(), OneTimeError> {
    let waiting: Option<String> = redis.get_del(current(host)).await?;
    if let Some(token) = waiting {
        let _: () = redis.del(token).await?;
    }
    Ok(())
}

/// Consumes a registration token: of two concurrent calls exactly one gets the host.
pub(crate) async fn consume_registration(
    redis: &mut impl AsyncCommands,
    token: &str,
) -> Result<Option<HostId>, OneTimeError> {
    let host: Option<String> = redis.get_del(Purpose::Registration.key(token)).await?;
    Ok(host.and_then(|text| text.parse().ok()))
}
