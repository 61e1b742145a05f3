//! API keys.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wrenn_ids::{KeyId, TeamId};

use crate::{Invalid, Time, grammar};

/// An API key of a team; `key` is present in the answer that made it and never again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApiKey {
    /// Identity.
    #[schema(value_type = String, pattern = "^key-[0-9a-z]{25}$")]
    pub id: KeyId,
    /// The team it acts for.
    #[schema(value_type = String)]
    pub team_id: TeamId,
    /// What people call it.
    pub name: String,
    /// Its first 10 characters.
    pub key_prefix: String,
    /// Who made it: a user id, or `system`.
    pub created_by: String,
    /// That user's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub creator_email: Option<String>,
    /// When.
    pub created_at: Time,
    /// Last use, at most some seconds old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub last_used: Option<Time>,
    /// The key itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub key: Option<String>,
}

closed_set! {
    /// How a key looks; both mean the same.
    pub enum ApiKeyFormat {
        /// `wrn_` + 32 hex digits.
        Wrenn = "wrenn",
        /// `e2b_` + 40 hex digits, as the SDKs of E2B demand.
        E2b = "e2b",
    }
}

/// A key to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreateApiKey {
    /// What people call it.
    #[schema(min_length = 1, max_length = 100)]
    pub name: String,
    /// How it looks; default `wrenn`.
    #[schema(nullable = false)]
    pub format: Option<ApiKeyFormat>,
}

impl CreateApiKey {
    /// Checks every field by its grammar.
    ///
    /// # Errors
    /// The first field at fault.
    pub fn validate(&self) -> Result<(), Invalid> {
        grammar::display_name("name", &self.name)
    }
}
