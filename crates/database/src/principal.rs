//! Who acted, as rows remember it.

use uuid::Uuid;
use wrenn_ids::{KeyId, UserId};

/// A person, or a key that acted for a team.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Principal {
    /// A person.
    User(UserId),
    /// A key.
    ApiKey(KeyId),
}

impl Principal {
    /// Its kind, as the columns `…_type` hold it.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::ApiKey(_) => "api_key",
        }
    }

    /// Its id, as the columns beside them hold it.
    #[must_use]
    pub const fn as_uuid(self) -> Uuid {
        match self {
            Self::User(id) => id.as_uuid(),
            Self::ApiKey(id) => id.as_uuid(),
        }
    }
}
