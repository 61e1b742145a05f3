//! Sandboxes: what a caller asks for and what is answered.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wrenn_ids::{HostId, SandboxId, TeamId, TemplateId};

use crate::{Time, grammar, grammar::Invalid};

closed_set! {
    /// Where a sandbox stands.
    pub enum SandboxStatus {
        /// Accepted; no host chosen yet.
        Pending = "pending",
        /// Being created or resumed on its host.
        Starting = "starting",
        /// Usable.
        Running = "running",
        /// Kept on its host, using no CPU.
        Paused = "paused",
        /// Paused, its snapshot in object storage only.
        Hibernated = "hibernated",
        /// Gone for good.
        Stopped = "stopped",
        /// Its host cannot be reached.
        Missing = "missing",
        /// Creation failed, or its snapshot is lost.
        Error = "error",
    }
}

closed_set! {
    /// Why the status is what it is.
    pub enum Reason {
        /// A user asked.
        User = "user",
        /// No activity for the idle time.
        Idle = "idle",
        /// Its host is being emptied.
        HostDrain = "host_drain",
        /// Its host lost contact with the control plane.
        HostDisconnected = "host_disconnected",
        /// Its host paused everything.
        PauseAll = "pause_all",
        /// A platform administrator asked.
        Admin = "admin",
        /// The VM ended by itself.
        VmExited = "vm_exited",
        /// Its host was deleted.
        HostDeleted = "host_deleted",
        /// Its team was deleted.
        TeamDeleted = "team_deleted",
        /// The account was deleted.
        AccountDeleted = "account_deleted",
        /// Its host does not have it any more.
        Reconciled = "reconciled",
        /// Its host cannot be reached.
        HostUnreachable = "host_unreachable",
        /// The host's answer was lost.
        ReplyLost = "reply_lost",
        /// It could not be created.
        CreateFailed = "create_failed",
        /// Its snapshot is gone.
        SnapshotLost = "snapshot_lost",
    }
}

closed_set! {
    /// What happens to a sandbox without activity.
    pub enum OnIdle {
        /// It is paused.
        Pause = "pause",
        /// It is destroyed.
        Destroy = "destroy",
    }
}

/// What a sandbox may reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Network {
    /// Whether the internet is reachable at all.
    pub allow_internet: bool,
    /// Networks (CIDR) that are reachable besides; at most 64.
    pub allow_out: Vec<String>,
    /// Networks (CIDR) that are not; at most 64.
    pub deny_out: Vec<String>,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            allow_internet: true,
            allow_out: Vec::new(),
            deny_out: Vec::new(),
        }
    }
}

/// Versions of the parts a sandbox runs on, as its host wrote them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Versions {
    /// Guest kernel.
    pub kernel_version: String,
    /// Firecracker.
    pub firecracker_version: String,
    /// Host agent.
    pub agent_version: String,
    /// Guest agent.
    pub envd_version: String,
}

/// A sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Sandbox {
    /// Identity.
    #[schema(value_type = String, pattern = "^sb-[0-9a-z]{25}$")]
    pub id: SandboxId,
    /// The team that owns it.
    #[schema(value_type = String, pattern = "^team-[0-9a-z]{25}$")]
    pub team_id: TeamId,
    /// Where it stands.
    pub status: SandboxStatus,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub reason: Option<Reason>,
    /// Name of its template.
    pub template: String,
    /// Its template.
    #[schema(value_type = String, pattern = "^tpl-[0-9a-z]{25}$")]
    pub template_id: TemplateId,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mb: u32,
    /// Disk in MiB.
    pub disk_size_mb: u32,
    /// Seconds without activity before `on_idle`; 0 = never.
    pub timeout_sec: u32,
    /// Whether a request wakes it when paused.
    pub auto_resume: bool,
    /// Ports reachable without a credential.
    pub public_ports: Vec<u16>,
    /// What idleness does.
    pub on_idle: OnIdle,
    /// The caller's own pairs, and reserved version keys once running.
    pub metadata: BTreeMap<String, String>,
    /// What it may reach.
    pub network: Network,
    /// Its host; shown to administrators and to the owner of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, nullable = false)]
    pub host_id: Option<HostId>,
    /// Address inside the guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub guest_ip: Option<String>,
    /// Address by which its host reaches it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub host_ip: Option<String>,
    /// When it was asked for.
    pub created_at: Time,
    /// When it first ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub started_at: Option<Time>,
    /// Last activity, at most some seconds old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub last_active_at: Option<Time>,
    /// Last change of anything here.
    pub last_updated: Time,
    /// Disk written so far in MiB; on one running sandbox only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub disk_used_mb: Option<u64>,
    /// What it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub versions: Option<Versions>,
}

/// Keys of `metadata` that the server writes and users cannot.
pub const RESERVED_METADATA: [&str; 4] = [
    "kernel_version",
    "vmm_version",
    "agent_version",
    "envd_version",
];

/// Request for a sandbox; every field may be absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct CreateSandbox {
    /// Template name or `tpl-` id; default `minimal`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// 1–32; default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vcpus: Option<u32>,
    /// 128–65536, even; default 512.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_mb: Option<u32>,
    /// 1024–102400; default 5120.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_size_mb: Option<u32>,
    /// Seconds without activity before `on_idle`: 0 (never, default) or 1–2592000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_sec: Option<u32>,
    /// Default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_resume: Option<bool>,
    /// At most 16; default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_ports: Option<Vec<u16>>,
    /// Default `pause`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_idle: Option<OnIdle>,
    /// At most 32 pairs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<BTreeMap<String, String>>,
    /// Environment of every program in it; at most 256 entries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub envs: Option<BTreeMap<String, String>>,
    /// Default: the internet is reachable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
}

/// Template used when a request names none.
pub const DEFAULT_TEMPLATE: &str = "minimal";
/// Default virtual CPUs.
pub const DEFAULT_VCPUS: u32 = 1;
/// Default memory in MiB.
pub const DEFAULT_MEMORY_MB: u32 = 512;
/// Default disk in MiB.
pub const DEFAULT_DISK_SIZE_MB: u32 = 5120;

impl CreateSandbox {
    /// Checks every field by its grammar; knows nothing of templates, hosts or quotas.
    ///
    /// # Errors
    /// The first field at fault.
    pub fn validate(&self) -> Result<(), Invalid> {
        if let Some(template) = &self.template
            && template.parse::<TemplateId>().is_err()
        {
            grammar::template_name("template", template)?;
        }
        if let Some(vcpus) = self.vcpus {
            grammar::vcpus("vcpus", vcpus)?;
        }
        if let Some(memory) = self.memory_mb {
            grammar::memory_mb("memory_mb", memory)?;
        }
        if let Some(disk) = self.disk_size_mb {
            grammar::disk_size_mb("disk_size_mb", disk)?;
        }
        if let Some(envs) = &self.envs {
            grammar::envs("envs", envs)?;
        }
        validate_policy(
            self.timeout_sec,
            self.public_ports.as_deref(),
            self.metadata.as_ref(),
            self.network.as_ref(),
        )
    }
}

/// Changes to a sandbox; absent fields stay as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct UpdateSandbox {
    /// Seconds without activity before `on_idle`; 0 = never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_sec: Option<u32>,
    /// What idleness does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_idle: Option<OnIdle>,
    /// Whether a request wakes it when paused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_resume: Option<bool>,
    /// Replaces the list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_ports: Option<Vec<u16>>,
    /// Replaces the map.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<BTreeMap<String, String>>,
    /// Replaces the rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
}

impl UpdateSandbox {
    /// Checks every field by its grammar.
    ///
    /// # Errors
    /// The first field at fault.
    pub fn validate(&self) -> Result<(), Invalid> {
        validate_policy(
            self.timeout_sec,
            self.public_ports.as_deref(),
            self.metadata.as_ref(),
            self.network.as_ref(),
        )
    }
}

/// Request for sandboxes made from one as it is; every field may be absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ForkSandbox {
    /// How many: 1–20; default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// Of the new ones; default: the source's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<BTreeMap<String, String>>,
    /// Of the new ones; default: the source's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_sec: Option<u32>,
}

impl ForkSandbox {
    /// Checks every field by its grammar.
    ///
    /// # Errors
    /// The first field at fault.
    pub fn validate(&self) -> Result<(), Invalid> {
        if let Some(count) = self.count {
            grammar::fork_count("count", count)?;
        }
        validate_policy(self.timeout_sec, None, self.metadata.as_ref(), None)
    }
}

/// Fields that create and update share.
fn validate_policy(
    timeout_sec: Option<u32>,
    public_ports: Option<&[u16]>,
    metadata: Option<&BTreeMap<String, String>>,
    network: Option<&Network>,
) -> Result<(), Invalid> {
    if let Some(timeout) = timeout_sec {
        grammar::idle_timeout_sec("timeout_sec", timeout)?;
    }
    if let Some(ports) = public_ports {
        grammar::public_ports("public_ports", ports)?;
    }
    if let Some(metadata) = metadata {
        grammar::metadata("metadata", metadata)?;
    }
    if let Some(network) = network {
        grammar::networks("network.allow_out", &network.allow_out)?;
        grammar::networks("network.deny_out", &network.deny_out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, expected: Result<(), &str>) {
        let request: CreateSandbox = serde_json::from_str(json).unwrap();
        let result = request.validate().map_err(|invalid| invalid.field);
        assert_eq!(result, expected.map_err(str::to_owned), "{json}");
    }

    #[test]
    fn a_create_is_refused_by_its_first_bad_field() {
        check("{}", Ok(()));
        check(r#"{"template":null,"vcpus":null,"unknown":1}"#, Ok(()));
        check(
            r#"{"template":"minimal","vcpus":32,"memory_mb":65536}"#,
            Ok(()),
        );
        check(r#"{"template":"tpl-0000000000000000000000000"}"#, Ok(()));
        check(r#"{"template":"../x"}"#, Err("template"));
        check(r#"{"template":""}"#, Err("template"));
        check(r#"{"vcpus":0}"#, Err("vcpus"));
        check(r#"{"vcpus":33}"#, Err("vcpus"));
        check(r#"{"memory_mb":127}"#, Err("memory_mb"));
        check(r#"{"memory_mb":129}"#, Err("memory_mb"));
        check(r#"{"memory_mb":65538}"#, Err("memory_mb"));
        check(r#"{"disk_size_mb":1023}"#, Err("disk_size_mb"));
        check(r#"{"timeout_sec":2592001}"#, Err("timeout_sec"));
        check(r#"{"metadata":{"agent_version":"1"}}"#, Err("metadata"));
        check(r#"{"public_ports":[0]}"#, Err("public_ports"));
        check(r#"{"public_ports":[49983]}"#, Err("public_ports"));
        check(
            r#"{"network":{"deny_out":["10.0.0.0/33"]}}"#,
            Err("network.deny_out"),
        );
        check(r#"{"network":{"allow_out":["10.0.0.0/8"]}}"#, Ok(()));
    }

    #[test]
    fn absent_fields_of_an_answer_are_omitted() {
        let zero = Time::from_unix_ms(0).unwrap();
        let sandbox = Sandbox {
            id: SandboxId::ZERO,
            team_id: TeamId::ZERO,
            status: SandboxStatus::Pending,
            reason: None,
            template: "minimal".to_owned(),
            template_id: TemplateId::ZERO,
            vcpus: 1,
            memory_mb: 512,
            disk_size_mb: 5120,
            timeout_sec: 0,
            auto_resume: true,
            public_ports: Vec::new(),
            on_idle: OnIdle::Pause,
            metadata: BTreeMap::new(),
            network: Network::default(),
            host_id: None,
            guest_ip: None,
            host_ip: None,
            created_at: zero,
            started_at: None,
            last_active_at: None,
            last_updated: zero,
            disk_used_mb: None,
            versions: None,
        };
        let text = serde_json::to_string(&sandbox).unwrap();
        assert!(!text.contains("null"), "{text}");
        assert_eq!(serde_json::from_str::<Sandbox>(&text).unwrap(), sandbox);
    }
}
