//! A PostgreSQL and a Redis of the operator's own, instead of the private ones.
//!
//! `DATABASE_URL` and `REDIS_URL` name them. Named once they are remembered in the state file, so that a later
//! `wrenn up` without the variables goes on with the same data.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use wrenn_control_plane::bootstrap;

use super::{postgres::Postgres, redis::Redis, state::StateDir};
use crate::{
    cmd::migrate,
    error::{CliError, Exit, chain},
};

/// How long one of them may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// The addresses that replace the private services. They may hold passwords.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct External {
    pub(crate) database: Option<String>,
    pub(crate) redis: Option<String>,
}

impl std::fmt::Debug for External {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("External")
            .field("database", &self.database.is_some())
            .field("redis", &self.redis.is_some())
            .finish()
    }
}

impl External {
    /// From the environment, else from the last `up` of `state`.
    pub(crate) fn find(state: &StateDir) -> Self {
        // What cannot be read belongs to another user's instance.
        let remembered = std::fs::read_to_string(state.at("control-plane.env")).unwrap_or_default();
        let address = |name: &str, private: String| {
            std::env::var(name)
                .ok()
                .filter(|value| !value.is_empty())
                .or_else(|| value_of(&remembered, name))
                .filter(|value| *value != private)
        };
        Self {
            database: address("DATABASE_URL", Postgres::url(state)),
            redis: address("REDIS_URL", Redis::url(state)),
        }
    }

    /// Fails when one of them does not answer.
    pub(crate) async fn reach(&self) -> Result<(), CliError> {
        if let Some(url) = &self.database {
            let reached = migrate::connect(url).await;
            reached.map_err(|error| unreachable("DATABASE_URL", &error.message))?;
        }
        if let Some(url) = &self.redis {
            let url = url.as_str().into();
            let asking = tokio::time::timeout(ANSWER_LIMIT, bootstrap::redis_answers(&url));
            let asked = asking
                .await
                .map_err(|_| unreachable("REDIS_URL", "Redis does not answer"))?;
            asked.map_err(|error| unreachable("REDIS_URL", &chain(&error)))?;
        }
        Ok(())
    }

    /// Tells one pair of addresses from another without naming them.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

fn unreachable(name: &str, why: &str) -> CliError {
    CliError::new(
        Exit::Unavailable,
        "no_service",
        format_args!("what {name} names is out of reach: {why}"),
    )
    .hint("check", format_args!("the address in {name}"))
}

fn value_of(file: &str, name: &str) -> Option<String> {
    let value = |line: &str| Some(line.strip_prefix(name)?.strip_prefix('=')?.to_owned());
    file.lines().find_map(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_from_the_state_file_by_their_whole_name() {
        let file = "DATABASE_URL=postgres://db/w?a=b\nREDIS_URL=redis://r\n";
        assert_eq!(
            value_of(file, "DATABASE_URL").as_deref(),
            Some("postgres://db/w?a=b")
        );
        assert_eq!(value_of(file, "REDIS_URL").as_deref(), Some("redis://r"));
        assert_eq!(value_of(file, "REDIS"), None);
    }

    #[test]
    fn debug_output_holds_no_password() {
        let external = External {
            database: Some("postgres://u:secret@h/d".to_owned()),
            redis: None,
        };
        assert!(!format!("{external:?}").contains("secret"));
        assert_ne!(external.fingerprint(), External::default().fingerprint());
    }
}
