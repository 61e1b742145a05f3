//! Rate limits: token buckets in Redis that all replicas share; while Redis is away each replica counts by
//! itself.
//!
//! One script takes a token and says what is left. Buckets are `wrenn:rl:{class}:{key}` and expire when they
//! are full. Refused logins are not a bucket but a window: five, and then none until it ends.

mod local;
mod rates;
mod turns;

use std::{
    fmt::Display,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

pub use rates::{Rate, RateClass, RateLimits};
use redis::Script;

pub(crate) use self::turns::Turn;
use self::{local::LocalBuckets, turns::Turns};
use crate::{auth::sha256, bus::Bus};

/// How long a request waits for Redis before it is counted here.
const PATIENCE: Duration = Duration::from_millis(150);
/// How long Redis is then not asked.
const BREAK_MS: u64 = 1000;

/// Takes a token: in rate per ms and burst; out 1 or 0, tokens left, ms until full, ms until the next token.
const TAKE: &str = r"
local rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local state = redis.call('HMGET', KEYS[1], 'n', 'at')
local n = tonumber(state[1]) or burst
local at = tonumber(state[2]) or now
n = math.min(burst, n + math.max(0, now - at) * rate)
local taken = 0
if n >= 1 then n, taken = n - 1, 1 end
redis.call('HSET', KEYS[1], 'n', tostring(n), 'at', tostring(now))
redis.call('PEXPIRE', KEYS[1], math.ceil((burst - n) / rate) + 1000)
local wait = 0
if taken == 0 then wait = math.ceil((1 - n) / rate) end
return {taken, math.floor(n), math.ceil((burst - n) / rate), wait}
";

/// Counts one in a window of ARGV[1] ms: out the count and ms until the window ends.
const COUNT: &str = r"
local n = redis.call('INCRBY', KEYS[1], ARGV[2])
if redis.call('PTTL', KEYS[1]) < 0 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return {n, redis.call('PTTL', KEYS[1])}
";

/// What a limited request is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Allowance {
    /// Size of the bucket.
    pub(crate) limit: u32,
    /// What is left in it.
    pub(crate) remaining: u32,
    /// Until it is full again.
    pub(crate) reset: Duration,
    /// Set when the request is refused: until there is a token.
    pub(crate) refused_for: Option<Duration>,
}

/// The limits of a replica.
pub(crate) struct Limiter {
    rates: RateLimits,
    bus: Arc<Bus>,
    take: Script,
    count: Script,
    local: LocalBuckets,
    logins: Turns,
    started: Instant,
    /// Milliseconds after `started` until which Redis is not asked.
    break_until: AtomicU64,
}

impl std::fmt::Debug for Limiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limiter")
            .field("rates", &self.rates)
            .finish_non_exhaustive()
    }
}

impl Limiter {
    pub(crate) fn new(rates: RateLimits, bus: Arc<Bus>) -> Self {
        Self {
            rates,
            bus,
            take: Script::new(TAKE),
            count: Script::new(COUNT),
            local: LocalBuckets::default(),
            logins: Turns::default(),
            started: Instant::now(),
            break_until: AtomicU64::new(0),
        }
    }

    /// Takes a token of `key` in its class; `None`: the class is not limited.
    pub(crate) async fn take(&self, class: RateClass, key: impl Display) -> Option<Allowance> {
        let rate = self.rates.of(class)?;
        let name = format!("wrenn:rl:{}:{key}", class.as_str());
        let per_ms = rate.per_sec / 1000.0;
        let shared = self
            .ask(async |redis| {
                let mut call = self.take.key(&name);
                call.arg(per_ms).arg(rate.burst);
                call.invoke_async::<(u8, u32, u64, u64)>(redis).await
            })
            .await;
        let Some((taken, remaining, full, wait)) = shared else {
            return Some(self.local.take(name, rate, Instant::now()));
        };
        Some(Allowance {
            limit: rate.burst,
            remaining,
            reset: Duration::from_millis(full),
            refused_for: (taken == 0).then(|| Duration::from_millis(wait)),
        })
    }

    /// The turn of a login to an account, held while its password is judged: of a thousand guesses at once no
    /// more are judged than one after the other would be. `None`: logins are not limited.
    ///
    /// # Errors
    /// The account takes no logins now; after this time it may.
    pub(crate) async fn login_turn(&self, email: &str) -> Result<Option<Turn>, Duration> {
        /// For whoever finds too many before them.
        const SOON: Duration = Duration::from_secs(1);
        let blocked = async || match self.count_logins(email, 0).await {
            Some((count, left, most)) if count >= most => Err(left),
            counted => Ok(counted.is_some()),
        };
        if !blocked().await? {
            return Ok(None);
        }
        let turn = self.logins.take(email.to_owned()).await.ok_or(SOON)?;
        // Those before may have used up what there was.
        blocked().await?;
        Ok(Some(turn))
    }

    /// Counts a refused login; answers until when the account takes none, if this one was too many.
    pub(crate) async fn login_failed(&self, email: &str) -> Option<Duration> {
        let (count, left, most) = self.count_logins(email, 1).await?;
        (count > most).then_some(left)
    }

    async fn count_logins(&self, email: &str, more: u32) -> Option<(u32, Duration, u32)> {
        let rate = self.rates.of(RateClass::Account)?;
        // Addresses are of people: Redis sees their hashes.
        let address = hex::encode(sha256(email.trim().to_lowercase().as_bytes()));
        let name = format!("wrenn:rl:{}:{address}", RateClass::Account.as_str());
        let window = rate.window();
        let shared = self
            .ask(async |redis| {
                let mut call = self.count.key(&name);
                call.arg(window.as_millis() as u64).arg(more);
                call.invoke_async::<(u32, u64)>(redis).await
            })
            .await;
        let (count, left) = match shared {
            Some((count, left)) => (count, Duration::from_millis(left)),
            None => self.local.count(name, window, more, Instant::now()),
        };
        Some((count, left, rate.burst))
    }

    /// Redis's answer, unless it is away or late; then it has a break.
    async fn ask<T>(
        &self,
        call: impl AsyncFnOnce(&mut redis::aio::ConnectionManager) -> redis::RedisResult<T>,
    ) -> Option<T> {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        if now < self.break_until.load(Ordering::Relaxed) {
            return None;
        }
        let mut redis = self.bus.redis();
        match tokio::time::timeout(PATIENCE, call(&mut redis)).await {
            Ok(Ok(answer)) => Some(answer),
            failed => {
                let cause = failed.map(|failed| failed.err());
                tracing::debug!(?cause, "rate limits are counted by this replica alone");
                self.break_until.store(now + BREAK_MS, Ordering::Relaxed);
                None
            }
        }
    }
}
