//! How many requests each class admits, as `WRENN_RATE_LIMITS` says.

use std::{str::FromStr, time::Duration};

/// What kind of load a request is; the text names its buckets and its setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RateClass {
    /// Requests that carry or make credentials, by address of the client.
    Credential,
    /// Refused logins, by address of the account.
    Account,
    /// Lives of sandboxes, by team.
    Lifecycle,
    /// Programs and files, by team.
    Data,
    /// All other reads, by who reads.
    Read,
    /// Search for people, by who searches.
    Search,
    /// Trials of channels, by team.
    Test,
    /// Signs of life, by host.
    Host,
    /// Paths of E2B, by key.
    E2b,
    /// The port proxy, by sandbox.
    Proxy,
}

impl RateClass {
    /// Every class.
    pub const ALL: [Self; 10] = [
        Self::Credential,
        Self::Account,
        Self::Lifecycle,
        Self::Data,
        Self::Read,
        Self::Search,
        Self::Test,
        Self::Host,
        Self::E2b,
        Self::Proxy,
    ];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Credential => "credential",
            Self::Account => "account",
            Self::Lifecycle => "lifecycle",
            Self::Data => "data",
            Self::Read => "read",
            Self::Search => "search",
            Self::Test => "test",
            Self::Host => "host",
            Self::E2b => "e2b",
            Self::Proxy => "proxy",
        }
    }

    const fn default_rate(self) -> Rate {
        let (per_sec, burst) = match self {
            Self::Credential => (10.0 / 60.0, 10),
            Self::Account => (5.0 / 900.0, 5),
            Self::Lifecycle => (10.0, 50),
            Self::Data => (100.0, 200),
            Self::Read => (50.0, 100),
            Self::Search => (30.0 / 60.0, 30),
            Self::Test => (6.0 / 60.0, 6),
            Self::Host => (1.0 / 5.0, 10),
            Self::E2b => (50.0, 200),
            Self::Proxy => (500.0, 1000),
        };
        Rate { per_sec, burst }
    }
}

/// A bucket's size and how fast it fills.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Requests per second in the long run.
    pub per_sec: f64,
    /// Requests at once.
    pub burst: u32,
}

impl Rate {
    /// How long an empty bucket takes to fill.
    #[must_use]
    pub fn window(self) -> Duration {
        Duration::from_secs_f64(f64::from(self.burst) / self.per_sec)
    }
}

/// The rates in effect.
#[derive(Debug, Clone, PartialEq)]
pub enum RateLimits {
    /// Nothing is limited.
    Off,
    /// By class, in the order of [`RateClass::ALL`].
    On([Rate; 10]),
}

impl RateLimits {
    /// The rate of a class; `None`: it is not limited.
    #[must_use]
    pub fn of(&self, class: RateClass) -> Option<Rate> {
        match self {
            Self::Off => None,
            Self::On(rates) => rates.get(class as usize).copied(),
        }
    }
}

/// What `WRENN_RATE_LIMITS` must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be on, off, or a list such as lifecycle=10/50,read=50/100 (requests per second/at once)"
)]
pub struct BadRates;

impl FromStr for RateLimits {
    type Err = BadRates;

    fn from_str(text: &str) -> Result<Self, BadRates> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let mut rates = RateClass::ALL.map(RateClass::default_rate);
        if text == "on" {
            return Ok(Self::On(rates));
        }
        for item in text.split(',') {
            let (name, value) = item.trim().split_once('=').ok_or(BadRates)?;
            let (per_sec, burst) = value.split_once('/').ok_or(BadRates)?;
            let class = RateClass::ALL
                .iter()
                .position(|class| class.as_str() == name);
            let rate = Rate {
                per_sec: per_sec.parse().map_err(|_| BadRates)?,
                burst: burst.parse().map_err(|_| BadRates)?,
            };
            let sane = rate.burst > 0 && (0.000_1..=1_000_000.0).contains(&rate.per_sec);
            match class {
                Some(class) if sane => rates[class] = rate,
                _ => return Err(BadRates),
            }
        }
        Ok(Self::On(rates))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, class: RateClass, expected: Option<(f64, u32)>) {
        let rate = text.parse::<RateLimits>().unwrap().of(class);
        assert_eq!(
            rate.map(|rate| (rate.per_sec, rate.burst)),
            expected,
            "{text}"
        );
    }

    #[test]
    fn classes_are_changed_one_by_one() {
        check("off", RateClass::Read, None);
        check("on", RateClass::Read, Some((50.0, 100)));
        check("read=1/2", RateClass::Read, Some((1.0, 2)));
        check("read=0.5/2, data=3/4", RateClass::Data, Some((3.0, 4)));
        check("read=1/2", RateClass::Lifecycle, Some((10.0, 50)));
        for bad in [
            "",
            "yes",
            "read",
            "read=1",
            "read=0/1",
            "read=1/0",
            "odd=1/1",
            "read=NaN/1",
        ] {
            assert_eq!(bad.parse::<RateLimits>(), Err(BadRates), "{bad}");
        }
    }

    #[test]
    fn the_index_of_a_class_is_its_place_in_the_list() {
        for (place, class) in RateClass::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, place);
        }
    }

    #[test]
    fn five_refused_logins_are_forgotten_after_fifteen_minutes() {
        let rate = "on".parse::<RateLimits>().unwrap().of(RateClass::Account);
        assert_eq!(rate.map(|rate| rate.window().as_secs()), Some(900));
    }
}
