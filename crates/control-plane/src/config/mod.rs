//! Settings: one table, four sources, all faults at once.
//!
//! Flag > environment > `.env` in the working directory > state file of `wrenn up`. A secret has no flag
//! and may be given as `<NAME>_FILE`. [`Config::load`] reports every bad or missing setting together;
//! nothing has started by then. Unknown `WRENN_*` variables are warnings, because a misspelt one must not
//! go unnoticed and a newer one must not stop an older server.

mod networks;
mod origins;
mod parse;
mod people;
mod settings;
mod sources;

use std::{fmt, net::SocketAddr};

use secrecy::SecretString;

pub use networks::Networks;
pub use people::{GithubSettings, MailSettings, PeopleSettings, SignupPolicy};
pub use settings::{SETTINGS, Setting};
pub use sources::{Origin, Sources};

pub use crate::limits::{Rate, RateClass, RateLimits};
use crate::{ca::CertificateAuthority, sealing::SealingKeys};

/// One thing wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The variable.
    pub name: &'static str,
    /// What it must be, as a sentence that follows the name.
    pub problem: String,
}

/// Everything wrong with the settings; never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{} {}", fault.name, fault.problem)?;
        }
        Ok(())
    }
}

/// How hosts are ranked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchedulerKind {
    /// The host with the lowest load first.
    LeastLoaded,
    /// One host after the other.
    RoundRobin,
}

/// Limits of new teams; absent ones are the built-in ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QuotaDefaults {
    /// Sandboxes.
    pub sandboxes: Option<i32>,
    /// Virtual CPUs.
    pub vcpus: Option<i32>,
    /// MiB.
    pub memory_mb: Option<i32>,
    /// MiB.
    pub disk_mb: Option<i32>,
}

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// A setting as it is in effect, for `wrenn config check`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// The variable.
    pub name: &'static str,
    /// Its value; secrets are masked.
    pub value: String,
    /// Where it came from.
    pub origin: Origin,
}

/// Everything a control plane needs to know.
#[derive(Debug)]
pub struct Config {
    /// PostgreSQL.
    pub database_url: SecretString,
    /// Redis.
    pub redis_url: SecretString,
    /// Where it listens.
    pub listen: SocketAddr,
    /// How people reach it.
    pub public_url: Option<String>,
    /// Domain in sandbox URLs that the API hands out.
    pub sandbox_domain: String,
    /// Master secret; the keys of every token kind derive from it.
    pub secret: SecretString,
    /// The one before, for verification only.
    pub secret_previous: Option<SecretString>,
    /// Keys that seal values in the database.
    pub sealing: SealingKeys,
    /// Signs hosts and replicas.
    pub ca: CertificateAuthority,
    /// How hosts are ranked.
    pub scheduler: SchedulerKind,
    /// Virtual CPUs promised per processor.
    pub cpu_overcommit: f64,
    /// MiB promised per MiB.
    pub mem_overcommit: f64,
    /// How many requests are admitted.
    pub rate_limits: RateLimits,
    /// Limits of teams that are made, where they are not the database's own.
    pub quota_defaults: QuotaDefaults,
    /// Proxies whose word on the client's address counts.
    pub trusted_proxies: Networks,
    /// Origins whose pages may call from a browser, beside that of `public_url`.
    pub cors_origins: Vec<String>,
    /// Accounts.
    pub people: PeopleSettings,
    /// Opens `/metrics` to others than the loopback address.
    pub metrics_token: Option<SecretString>,
    /// Log filter.
    pub log: String,
    /// Form of log lines; `None` = text on a terminal, else JSON.
    pub log_format: Option<LogFormat>,
    /// Connections to PostgreSQL per replica.
    pub db_max_connections: u32,
    /// What is in effect, secrets masked.
    pub effective: Vec<Effective>,
    /// Oddities that do not stop the start.
    pub warnings: Vec<String>,
}

impl Config {
    /// What links begin with: how people reach this server, else how this machine does.
    #[must_use]
    pub fn base_of_links(&self) -> String {
        let here = || format!("http://localhost:{}", self.listen.port());
        self.public_url.clone().unwrap_or_else(here)
    }

    /// Reads and checks every setting.
    ///
    /// # Errors
    /// All faults at once.
    pub fn load(sources: &Sources) -> Result<Self, Faults> {
        let mut values = sources.resolve();
        let config = parse::config(&mut values);
        match config {
            Some(config) if values.faults.is_empty() => Ok(Self {
                effective: values.effective(),
                warnings: values.warnings,
                ..config
            }),
            _ => Err(Faults(values.faults)),
        }
    }

    /// What is in effect and what is wrong, for `wrenn config check`, which shows both.
    #[must_use]
    pub fn check(sources: &Sources) -> (Vec<Effective>, Vec<String>, Vec<Fault>) {
        let mut values = sources.resolve();
        let _ = parse::config(&mut values);
        (values.effective(), values.warnings, values.faults)
    }
}
