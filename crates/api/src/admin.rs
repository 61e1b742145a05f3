//! What platform administrators see and change.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wrenn_ids::{TeamId, UserId};

use crate::{Permission, Time, team::QuotaLimits};

/// A team, as administrators see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminTeam {
    /// Identity.
    #[schema(value_type = String, pattern = "^team-[0-9a-z]{25}$")]
    pub id: TeamId,
    /// What people call it.
    pub name: String,
    /// Short name that never changes.
    pub slug: String,
    /// Whether it brings its own hosts.
    pub is_byoc: bool,
    /// Address of its owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub owner_email: Option<String>,
    /// People in it.
    pub members: u64,
    /// Sandboxes that have not ended.
    pub sandboxes: u64,
    /// What it may have.
    pub limits: QuotaLimits,
    /// When it was made.
    pub created_at: Time,
}

closed_set! {
    /// What a person may do with their account.
    pub enum UserStatus {
        /// It waits for its activation.
        Inactive = "inactive",
        /// It may be used.
        Active = "active",
        /// An administrator shut it.
        Disabled = "disabled",
    }
}

/// A person, as administrators see them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminUser {
    /// Identity.
    #[schema(value_type = String, pattern = "^usr-[0-9a-z]{25}$")]
    pub id: UserId,
    /// Address.
    pub email: String,
    /// What people call them.
    pub name: String,
    /// Whether the account may be used.
    pub status: UserStatus,
    /// Whether they administer everything.
    pub is_admin: bool,
    /// What else they administer.
    pub permissions: Vec<Permission>,
    /// Teams that they are in.
    pub teams: u64,
    /// When the account was made.
    pub created_at: Time,
}

/// A page of teams.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminTeams {
    /// The teams.
    pub teams: Vec<AdminTeam>,
    /// How many match.
    pub total: u64,
    /// This page, from 1.
    pub page: u64,
    /// Teams of a page.
    pub per_page: u64,
    /// How many pages there are.
    pub total_pages: u64,
}

/// A page of people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminUsers {
    /// The people.
    pub users: Vec<AdminUser>,
    /// How many match.
    pub total: u64,
    /// This page, from 1.
    pub page: u64,
    /// People of a page.
    pub per_page: u64,
    /// How many pages there are.
    pub total_pages: u64,
}

/// Whether a team may bring its own hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SetByoc {
    /// It may.
    pub enabled: bool,
}

/// Whether an account may be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SetActive {
    /// It may.
    pub active: bool,
}

/// Whether a person administers everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SetAdmin {
    /// They do.
    pub admin: bool,
}

/// What a person administers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SetPermissions {
    /// All of it; what is not named is taken away.
    pub permissions: Vec<Permission>,
}
