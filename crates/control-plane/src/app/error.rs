//! The one error of decisions: a code of the contract, a message for people, a cause for the log.

use std::{collections::BTreeMap, fmt};

use wrenn_api::{
    ErrorCode, Invalid,
    error::{Detail, Details},
};

use crate::auth::{NoRandomness, one_time::OneTimeError, password::HashError};

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a request is refused or failed.
pub(crate) struct Error {
    /// For programs.
    pub(crate) code: ErrorCode,
    /// For people; never names a path, address, statement or cause.
    pub(crate) message: String,
    /// Facts that the code promises.
    pub(crate) details: Details,
    cause: Option<Cause>,
}

/// Outcome of a decision.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A refusal with this text.
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            details: BTreeMap::new(),
            cause: None,
        }
    }

    /// What lay behind it, for the log.
    #[must_use]
    pub(crate) fn because(mut self, cause: impl Into<Cause>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Adds a fact.
    #[must_use]
    pub(crate) fn detail(mut self, name: &str, detail: Detail) -> Self {
        self.details.insert(name.to_owned(), detail);
        self
    }

    /// Adds a number.
    #[must_use]
    pub(crate) fn number(self, name: &str, value: u64) -> Self {
        self.detail(name, Detail::Number(value))
    }

    /// Adds a text.
    #[must_use]
    pub(crate) fn text(self, name: &str, value: impl Into<String>) -> Self {
        self.detail(name, Detail::Text(value.into()))
    }

    /// Unknown or foreign: one text for both.
    #[must_use]
    pub(crate) fn not_found(what: impl fmt::Display) -> Self {
        Self::new(ErrorCode::NotFound, format!("no such {what}"))
    }

    /// Too many requests; `after` is when there may be another one.
    pub(crate) fn rate_limited(after: std::time::Duration) -> Self {
        let seconds = after.as_millis().div_ceil(1000).max(1);
        Self::new(
            ErrorCode::RateLimited,
            format!("too many requests; try again in {seconds} s"),
        )
        .number("retry_after", u64::try_from(seconds).unwrap_or(u64::MAX))
    }

    /// A defect of ours.
    pub(crate) fn internal(cause: impl Into<Cause>) -> Self {
        Self::new(
            ErrorCode::InternalError,
            "the server failed; see its log for the request id",
        )
        .because(cause)
    }

    /// Database or Redis are away.
    pub(crate) fn unavailable(cause: impl Into<Cause>) -> Self {
        Self::new(
            ErrorCode::Unavailable,
            "a service that the server needs is down; try again",
        )
        .because(cause)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("code", &self.code)
            .field("message", &self.message)
            .field("cause", &self.cause)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

impl From<Invalid> for Error {
    fn from(invalid: Invalid) -> Self {
        Self::new(ErrorCode::InvalidRequest, invalid.to_string()).text("field", invalid.field)
    }
}

impl From<wrenn_database::Error> for Error {
    fn from(error: wrenn_database::Error) -> Self {
        match error {
            wrenn_database::Error::Unavailable(_) => Self::unavailable(error),
            other => Self::internal(other),
        }
    }
}

impl From<OneTimeError> for Error {
    fn from(error: OneTimeError) -> Self {
        match error {
            OneTimeError::Redis(_) => Self::unavailable(error),
            other => Self::internal(other),
        }
    }
}

impl From<HashError> for Error {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Busy => Self::unavailable(error),
            other => Self::internal(other),
        }
    }
}

impl From<NoRandomness> for Error {
    fn from(error: NoRandomness) -> Self {
        Self::internal(error)
    }
}

impl From<redis::RedisError> for Error {
    fn from(error: redis::RedisError) -> Self {
        Self::unavailable(error)
    }
}
