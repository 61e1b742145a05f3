//! Who acted, as rows remember it.

use serde::Serialize;
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

/// Who had an operation done, as its row remembers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OpActor {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

impl OpActor {
    /// The platform by itself.
    pub const SYSTEM: Self = Self {
        r#type: "system",
        id: None,
        name: None,
    };

    /// A person or a key, and what people call it.
    #[must_use]
    pub fn of(principal: Principal, name: &str) -> Self {
        let id = match principal {
            Principal::User(id) => id.to_string(),
            Principal::ApiKey(id) => id.to_string(),
        };
        Self {
            r#type: principal.kind(),
            id: Some(id),
            name: Some(name.to_owned()),
        }
    }
}
