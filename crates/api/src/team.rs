//! Teams, their members and their quotas.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wrenn_ids::{TeamId, UserId};

use crate::{Invalid, Role, Time, grammar};

/// A team.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Team {
    /// Identity.
    #[schema(value_type = String, pattern = "^team-[0-9a-z]{25}$")]
    pub id: TeamId,
    /// What people call it.
    pub name: String,
    /// Short name that never changes.
    #[schema(pattern = "^[0-9a-f]{6}-[0-9a-f]{6}$")]
    pub slug: String,
    /// Whether it brings its own hosts.
    pub is_byoc: bool,
    /// When it was made.
    pub created_at: Time,
    /// The caller's role in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub role: Option<Role>,
}

/// A person in a team.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Member {
    /// Who.
    #[schema(value_type = String, pattern = "^usr-[0-9a-z]{25}$")]
    pub user_id: UserId,
    /// What people call them.
    pub name: String,
    /// Address.
    pub email: String,
    /// Role.
    pub role: Role,
    /// Since when.
    pub joined_at: Time,
}

/// A team and who is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TeamDetail {
    /// The team.
    pub team: Team,
    /// Its members, the owner first.
    pub members: Vec<Member>,
}

/// Name of a team, to make or rename it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TeamName {
    /// 1 to 128 letters, digits, spaces or `_-@'`.
    #[schema(max_length = 128)]
    pub name: String,
}

impl TeamName {
    /// The name without blanks around it.
    ///
    /// # Errors
    /// It is no name of a team.
    pub fn checked(&self) -> Result<&str, Invalid> {
        let name = self.name.trim();
        grammar::team_name("name", name)?;
        Ok(name)
    }
}

/// A person to take into a team.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AddMember {
    /// Address of an account.
    #[schema(max_length = 254)]
    pub email: String,
}

/// A member's next role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChangeRole {
    /// `admin` or `member`; an owner is made by a transfer.
    pub role: Role,
}

/// Who becomes the owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TransferTeam {
    /// A member.
    #[schema(value_type = String)]
    pub user_id: UserId,
}

/// What a team may have at a time; 0 is no limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QuotaLimits {
    /// Sandboxes that have not ended.
    pub max_sandboxes: u32,
    /// Virtual CPUs of sandboxes that run or start.
    pub max_vcpus: u32,
    /// MiB of memory of sandboxes that run or start.
    pub max_memory_mb: u32,
    /// MiB of disk of sandboxes that have not ended.
    pub max_disk_mb: u32,
}

/// What a team has now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QuotaUsed {
    /// Sandboxes.
    pub sandboxes: u64,
    /// Virtual CPUs.
    pub vcpus: u64,
    /// MiB.
    pub memory_mb: u64,
    /// MiB.
    pub disk_mb: u64,
}

/// Limits beside use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Quota {
    /// What may be.
    pub limits: QuotaLimits,
    /// What is.
    pub used: QuotaUsed,
}

/// Limits to change; absent ones stay.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChangeQuota {
    /// Sandboxes that have not ended; 0 is no limit.
    #[schema(nullable = false)]
    pub max_sandboxes: Option<u32>,
    /// Virtual CPUs; 0 is no limit.
    #[schema(nullable = false)]
    pub max_vcpus: Option<u32>,
    /// MiB of memory; 0 is no limit.
    #[schema(nullable = false)]
    pub max_memory_mb: Option<u32>,
    /// MiB of disk; 0 is no limit.
    #[schema(nullable = false)]
    pub max_disk_mb: Option<u32>,
}

impl ChangeQuota {
    /// Refuses numbers that the platform cannot count to.
    ///
    /// # Errors
    /// One is greater than 2^31 − 1.
    pub fn validate(&self) -> Result<(), Invalid> {
        let fields = [
            ("max_sandboxes", self.max_sandboxes),
            ("max_vcpus", self.max_vcpus),
            ("max_memory_mb", self.max_memory_mb),
            ("max_disk_mb", self.max_disk_mb),
        ];
        for (name, value) in fields {
            if value.is_some_and(|value| i32::try_from(value).is_err()) {
                return Err(Invalid::new(name, "must be at most 2147483647"));
            }
        }
        Ok(())
    }
}
