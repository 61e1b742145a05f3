//! Hosts: added and changed by people, registration, credentials, heartbeat and how they are listed.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wrenn_ids::{HostId, SandboxId, TeamId};

use crate::{
    ErrorCode, Time,
    grammar::{self, Invalid},
};

closed_set! {
    /// Whose sandboxes a host runs.
    pub enum HostType {
        /// Those of every team without hosts of its own.
        Regular = "regular",
        /// Those of the team that brought it.
        Byoc = "byoc",
    }
}

closed_set! {
    /// Where a host stands.
    pub enum HostStatus {
        /// Waiting for its first heartbeat.
        Pending = "pending",
        /// Takes sandboxes.
        Online = "online",
        /// Stopped cleanly.
        Offline = "offline",
        /// Online, but takes no new sandboxes.
        Draining = "draining",
        /// No heartbeat for 90 s.
        Unreachable = "unreachable",
    }
}

/// What the sandboxes of a host hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostUsage {
    /// Sandboxes that are not stopped or in error.
    pub sandboxes: u64,
    /// Virtual CPUs.
    pub vcpus: u64,
    /// MiB.
    pub memory_mb: u64,
    /// MiB.
    pub disk_mb: u64,
}

/// A host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Host {
    /// Identity.
    #[schema(value_type = String, pattern = "^host-[0-9a-z]{25}$")]
    pub id: HostId,
    /// Whose sandboxes it runs.
    pub r#type: HostType,
    /// The team that brought it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, nullable = false)]
    pub team_id: Option<TeamId>,
    /// That team's name, for administrators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub team_name: Option<String>,
    /// Where it was rented.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub provider: Option<String>,
    /// Where it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub availability_zone: Option<String>,
    /// Like `x86_64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub arch: Option<String>,
    /// Logical processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub cpu_cores: Option<u32>,
    /// MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub memory_mb: Option<u64>,
    /// GiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub disk_gb: Option<u64>,
    /// Host and port that the control plane dials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub address: Option<String>,
    /// Where it stands in its life.
    pub status: HostStatus,
    /// Labels for placement.
    pub tags: Vec<String>,
    /// Version of its agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub agent_version: Option<String>,
    /// End of its certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub cert_expires_at: Option<Time>,
    /// What its sandboxes hold.
    pub used: HostUsage,
    /// Last heartbeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub last_heartbeat_at: Option<Time>,
    /// Who added it: a user id, or `system`.
    pub created_by: String,
    /// When.
    pub created_at: Time,
    /// Last change.
    pub updated_at: Time,
}

/// A host to add.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AddHost {
    /// Whose sandboxes it runs.
    pub r#type: HostType,
    /// The team that brings it, for type `byoc`; without it the team that the caller acts for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub team_id: Option<TeamId>,
    /// Where it was rented.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Where it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub availability_zone: Option<String>,
    /// Labels for placement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
}

/// Labels that a host may have.
pub const MAX_TAGS: usize = 64;

fn places(provider: Option<&str>, zone: Option<&str>) -> Result<(), Invalid> {
    for (field, value) in [("provider", provider), ("availability_zone", zone)] {
        if let Some(value) = value {
            grammar::display_name(field, value)?;
        }
    }
    Ok(())
}

impl AddHost {
    /// Checks every field.
    ///
    /// # Errors
    /// The first field at fault.
    pub fn validate(&self) -> Result<(), Invalid> {
        places(self.provider.as_deref(), self.availability_zone.as_deref())?;
        let tags = self.tags.as_deref().unwrap_or_default();
        if tags.len() > MAX_TAGS {
            return Err(Invalid::new("tags", "must be at most 64"));
        }
        if self.r#type == HostType::Regular && self.team_id.is_some() {
            return Err(Invalid::new("team_id", "goes with the type `byoc`"));
        }
        tags.iter()
            .try_for_each(|tag| grammar::host_tag("tags", tag))
    }
}

/// A host that waits for its agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostAdded {
    /// The host.
    pub host: Host,
    /// What its agent registers with: once, within an hour. It is not shown again; 64 hex.
    pub registration_token: String,
}

/// A change of a host; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct UpdateHost {
    /// Whether it takes no new sandboxes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub draining: Option<bool>,
    /// With `draining`: also pauses what runs on it, in the background.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause_sandboxes: Option<bool>,
    /// Where it was rented.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Where it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub availability_zone: Option<String>,
}

impl UpdateHost {
    /// Checks every field.
    ///
    /// # Errors
    /// The first field at fault.
    pub fn validate(&self) -> Result<(), Invalid> {
        if self.pause_sandboxes == Some(true) && self.draining != Some(true) {
            return Err(Invalid::new(
                "pause_sandboxes",
                "goes with `draining: true`",
            ));
        }
        places(self.provider.as_deref(), self.availability_zone.as_deref())
    }
}

/// What the deletion of a host would take with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostDeletion {
    /// The host.
    pub host: Host,
    /// Its sandboxes, which would be destroyed.
    #[schema(value_type = Vec<String>)]
    pub sandbox_ids: Vec<SandboxId>,
    /// Those of them that are paused: their memory and files are on this host and nowhere else.
    #[schema(value_type = Vec<String>)]
    pub paused_sandbox_ids: Vec<SandboxId>,
    /// Whether the host answers: of one that does not, what its disk holds is lost, and stays there.
    pub reachable: bool,
}

/// The refusal to delete a host that has sandboxes. They are named twice more for clients that look for them elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostInUse {
    /// The error.
    pub error: HostInUseInfo,
    /// The sandboxes.
    #[schema(value_type = Vec<String>)]
    pub sandbox_ids: Vec<SandboxId>,
    /// The same.
    #[schema(value_type = Vec<String>)]
    pub capsule_ids: Vec<SandboxId>,
}

/// Code, text and sandboxes of that refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostInUseInfo {
    /// `host_has_sandboxes`.
    pub code: ErrorCode,
    /// For people.
    pub message: String,
    /// The sandboxes.
    #[schema(value_type = Vec<String>)]
    pub sandbox_ids: Vec<SandboxId>,
}

impl HostInUse {
    /// The refusal because of these.
    #[must_use]
    pub fn by(sandboxes: Vec<SandboxId>) -> Self {
        let (count, are) = (
            sandboxes.len(),
            if sandboxes.len() == 1 { "is" } else { "are" },
        );
        Self {
            error: HostInUseInfo {
                code: ErrorCode::HostHasSandboxes,
                message: format!("{count} of its sandboxes {are} left; force destroys them"),
                sandbox_ids: sandboxes.clone(),
            },
            capsule_ids: sandboxes.clone(),
            sandbox_ids: sandboxes,
        }
    }
}

/// A label for a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AddTag {
    /// 1 to 32 lowercase letters, digits, `.`, `_` or `-`.
    pub tag: String,
}

/// First message of a new agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RegisterHost {
    /// One-time registration token, 64 hex.
    pub token: String,
    /// `host:port` that the control plane dials.
    pub address: String,
    /// Like `x86_64`.
    pub arch: String,
    /// Logical processors.
    pub cpu_cores: u32,
    /// MiB.
    pub memory_mb: u64,
    /// GiB.
    pub disk_gb: u64,
    /// Certificate request; only its public key counts.
    pub csr_pem: String,
    /// Version of the agent.
    pub agent_version: String,
}

impl RegisterHost {
    /// Checks every field but the certificate request.
    ///
    /// # Errors
    /// The first field at fault.
    pub fn validate(&self) -> Result<(), Invalid> {
        grammar::host_address("address", &self.address)?;
        grammar::label("arch", &self.arch)?;
        grammar::label("agent_version", &self.agent_version)?;
        if self.cpu_cores == 0 || self.cpu_cores > 4096 {
            return Err(Invalid::new("cpu_cores", "must be 1 to 4096"));
        }
        if self.memory_mb == 0 || self.memory_mb > 1 << 30 {
            return Err(Invalid::new("memory_mb", "must be 1 to 2^30"));
        }
        if self.disk_gb > 1 << 30 {
            return Err(Invalid::new("disk_gb", "must be at most 2^30"));
        }
        Ok(())
    }
}

/// Request for new credentials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RefreshHost {
    /// The refresh token, 64 hex.
    pub refresh_token: String,
    /// Certificate request; only its public key counts.
    pub csr_pem: String,
    /// New address, when it changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// What an agent proves itself with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostCredentials {
    /// The host.
    pub host: Host,
    /// Host JWT, 7 days, sent as `X-Host-Token`.
    pub token: String,
    /// Refresh token, 60 days.
    pub refresh_token: String,
    /// Its certificate, 7 days.
    pub cert_pem: String,
    /// The authority that signs hosts and control planes.
    pub ca_cert_pem: String,
}

/// Sign of life; every field may be absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Heartbeat {
    /// Version of the agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_version: Option<String>,
    /// Changes with each start of the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// The agent stops cleanly; the host goes offline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub going_down: Option<bool>,
    /// MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_free_mb: Option<u64>,
    /// GiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_free_gb: Option<u64>,
    /// Sandboxes on the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandboxes: Option<u64>,
}
