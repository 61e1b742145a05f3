//! Chance that a seed repeats: SplitMix64, printed when it begins.

use std::time::{Duration, SystemTime};

#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// From the environment variable, or from the clock.
    pub(crate) fn seeded(variable: &str) -> Self {
        let given = std::env::var(variable).ok();
        let seed = given.map_or_else(from_clock, |text| text.parse().expect("a seed is a number"));
        tracing::warn!("{variable}={seed}");
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// Less than `end`; none when that is nothing.
    pub(crate) fn below(&mut self, end: usize) -> Option<usize> {
        let word = usize::try_from(self.next()).expect("64 bits");
        word.checked_rem(end)
    }

    pub(crate) fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == Some(0)
    }

    /// Between two commands: often none, so that they meet.
    pub(crate) fn gap(&mut self) -> Duration {
        match self.one_in(3) {
            true => Duration::ZERO,
            false => Duration::from_millis(self.next() % 3000),
        }
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            let other = self.below(at + 1).unwrap_or(0);
            items.swap(at, other);
        }
    }
}

fn from_clock() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(1, |since| since.as_nanos() as u64)
}
