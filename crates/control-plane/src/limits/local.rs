//! Buckets of one replica, for while Redis is away.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{Allowance, Rate};

/// Buckets at most; past it those that are full are forgotten, and where none is, all.
const MOST: usize = 65_536;

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
    /// When it is full, or its window ends.
    forget: Instant,
}

/// Buckets by name.
#[derive(Debug, Default)]
pub(super) struct LocalBuckets(Mutex<HashMap<String, Bucket>>);

impl LocalBuckets {
    fn with<T>(
        &self,
        name: String,
        now: Instant,
        fresh: f64,
        change: impl FnOnce(&mut Bucket) -> T,
    ) -> T {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MOST {
            buckets.retain(|_, bucket| bucket.forget > now);
            if buckets.len() >= MOST {
                buckets.clear();
            }
        }
        change(buckets.entry(name).or_insert(Bucket {
            tokens: fresh,
            at: now,
            forget: now,
        }))
    }

    /// As the script: takes a token if there is one.
    pub(super) fn take(&self, name: String, rate: Rate, now: Instant) -> Allowance {
        let burst = f64::from(rate.burst);
        self.with(name, now, burst, |bucket| {
            let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
            let tokens = (bucket.tokens + passed * rate.per_sec).min(burst);
            let taken = tokens >= 1.0;
            let left = if taken { tokens - 1.0 } else { tokens };
            let reset = Duration::from_secs_f64((burst - left) / rate.per_sec);
            *bucket = Bucket {
                tokens: left,
                at: now,
                forget: now + reset,
            };
            Allowance {
                limit: rate.burst,
                remaining: left as u32,
                reset,
                refused_for: (!taken).then(|| Duration::from_secs_f64((1.0 - left) / rate.per_sec)),
            }
        })
    }

    /// Adds to the count of a window; answers it and how long the window lasts.
    pub(super) fn count(
        &self,
        name: String,
        window: Duration,
        more: u32,
        now: Instant,
    ) -> (u32, Duration) {
        self.with(name, now, 0.0, |bucket| {
            if bucket.forget <= now {
                bucket.tokens = 0.0;
                bucket.forget = now + window;
            }
            bucket.tokens += f64::from(more);
            (bucket.tokens as u32, bucket.forget - now)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        per_sec: 2.0,
        burst: 3,
    };

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let (buckets, start) = (LocalBuckets::default(), Instant::now());
        let take = |after_ms| {
            let now = start + Duration::from_millis(after_ms);
            buckets.take("a".to_owned(), RATE, now)
        };
        let left: Vec<_> = (0..3).map(|_| take(0).remaining).collect();
        assert_eq!(left, [2, 1, 0]);
        let refused = take(0);
        assert_eq!(refused.refused_for, Some(Duration::from_millis(500)));
        assert_eq!(refused.reset, Duration::from_millis(1500));
        assert!(take(400).refused_for.is_some());
        assert!(take(500).refused_for.is_none());
        assert_eq!(take(60_000).remaining, 2);
    }

    #[test]
    fn a_window_counts_and_ends() {
        let (buckets, start) = (LocalBuckets::default(), Instant::now());
        let window = Duration::from_secs(900);
        let count = |after_sec, more| {
            let now = start + Duration::from_secs(after_sec);
            buckets.count("a".to_owned(), window, more, now)
        };
        assert_eq!(count(0, 0), (0, window));
        assert_eq!(count(10, 1).0, 1);
        assert_eq!(count(100, 1), (2, Duration::from_secs(800)));
        assert_eq!(count(900, 0).0, 0);
    }

    #[test]
    fn buckets_do_not_pile_up() {
        let (buckets, start) = (LocalBuckets::default(), Instant::now());
        for n in 0..=MOST {
            let now = start + Duration::from_millis(n as u64);
            buckets.take(n.to_string(), RATE, now);
        }
        assert!(buckets.0.lock().unwrap().len() <= MOST);
    }
}
