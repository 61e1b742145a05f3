//! What can go wrong with a statement, sorted by what the caller can do about it.

/// Outcome of a statement.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A statement failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The database is away, overloaded or shutting down: the same request may succeed later.
    #[error("the database cannot be reached")]
    Unavailable(#[source] sqlx::Error),
    /// A row with this key exists.
    #[error("the row collides with another one ({constraint})")]
    Duplicate {
        /// Name of the violated constraint.
        constraint: String,
        /// What the database said.
        #[source]
        source: sqlx::Error,
    },
    /// Migrating failed.
    #[error("the schema cannot be migrated")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// Anything else: a defect of ours.
    #[error("a statement failed")]
    Statement(#[source] sqlx::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::Protocol(_)
            | sqlx::Error::WorkerCrashed => Self::Unavailable(error),
            sqlx::Error::Database(cause) => {
                if cause.is_unique_violation() {
                    let constraint = cause.constraint().unwrap_or_default().to_owned();
                    return Self::Duplicate {
                        constraint,
                        source: error,
                    };
                }
                let code = cause.code().unwrap_or_default();
                // 08 connection, 40 deadlock, 53 resources, 57P shutdown, 57014 statement timeout, 55P03 lock timeout.
                let passing = code.starts_with("08")
                    || code.starts_with("40")
                    || code.starts_with("53")
                    || code.starts_with("57P")
                    || code == "57014"
                    || code == "55P03";
                if passing {
                    Self::Unavailable(error)
                } else {
                    Self::Statement(error)
                }
            }
            _ => Self::Statement(error),
        }
    }
}

impl From<sqlx::migrate::MigrateError> for Error {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        match error {
            sqlx::migrate::MigrateError::Execute(cause) => Self::from(cause),
            other => Self::Migrate(other),
        }
    }
}
