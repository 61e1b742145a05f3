//! Waits between attempts: doubling, bounded, with jitter so that many hosts do not ask at once.

use std::time::Duration;

/// A growing wait.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    /// Waits from `first`, doubling, up to `most`.
    #[must_use]
    pub fn new(first: Duration, most: Duration) -> Self {
        Self {
            first,
            most,
            next: first,
        }
    }

    /// The next wait, ± 10 %.
    #[expect(
        clippy::should_implement_trait,
        reason = "a wait that never ends is no iterator"
    )]
    pub fn next(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(self.most);
        jittered(wait)
    }

    /// Starts again from the first wait.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

/// `period` ± 10 %.
#[must_use]
pub fn jittered(period: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or(u32::MAX / 2);
    period.mul_f64(0.9 + 0.2 * f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_bound_and_start_again() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        let waits: Vec<_> = (0..8).map(|_| backoff.next().as_secs_f64()).collect();
        for (wait, expected) in waits
            .iter()
            .zip([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0])
        {
            assert!(
                (wait - expected).abs() <= expected * 0.101,
                "{wait} is not about {expected}"
            );
        }
        backoff.reset();
        assert!(backoff.next() < Duration::from_secs(2));
    }
}
