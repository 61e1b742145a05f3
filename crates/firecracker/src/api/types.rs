//! Wire types of Firecracker's API 1.12, as far as we use them.
//!
//! Requests are written by us, so they carry no defaults of Firecracker's: a field that is `None` is left
//! out and Firecracker's own default holds. Replies ignore fields that later versions add.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// `PUT /boot-source`. Paths are as Firecracker sees them: inside its jail.
#[derive(Clone, Debug, Serialize)]
pub struct BootSource {
    pub kernel_image_path: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initrd_path: Option<PathBuf>,
    pub boot_args: String,
}

/// `PUT /drives/{drive_id}`.
#[derive(Clone, Debug, Serialize)]
pub struct Drive {
    pub drive_id: String,
    pub path_on_host: PathBuf,
    /// Makes Firecracker append `root=/dev/vda` to the kernel arguments.
    pub is_root_device: bool,
    pub is_read_only: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_type: Option<CacheType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limiter: Option<RateLimiter>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io_engine: Option<IoEngine>,
}

/// Whether a guest's flush reaches the host's file.
#[derive(Clone, Copy, Debug, Serialize)]
pub enum CacheType {
    Unsafe,
    Writeback,
}

/// How Firecracker does block I/O.
#[derive(Clone, Copy, Debug, Serialize)]
pub enum IoEngine {
    Sync,
    Async,
}

/// `PATCH /drives/{drive_id}`: a new path also makes the guest read the size again.
#[derive(Clone, Debug, Serialize)]
pub struct DriveUpdate {
    pub drive_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_on_host: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limiter: Option<RateLimiter>,
}

/// `PUT /network-interfaces/{iface_id}`.
#[derive(Clone, Debug, Serialize)]
pub struct NetworkInterface {
    pub iface_id: String,
    pub guest_mac: String,
    /// Name of the TAP device in the jail's network namespace.
    pub host_dev_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rx_rate_limiter: Option<RateLimiter>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tx_rate_limiter: Option<RateLimiter>,
}

/// `PATCH /network-interfaces/{iface_id}`.
#[derive(Clone, Debug, Serialize)]
pub struct NetworkInterfaceUpdate {
    pub iface_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rx_rate_limiter: Option<RateLimiter>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tx_rate_limiter: Option<RateLimiter>,
}

/// Two token buckets; a missing one does not limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateLimiter {
    /// Tokens are bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<TokenBucket>,
    /// Tokens are operations (packets, for a network interface).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ops: Option<TokenBucket>,
}

/// A bucket of `size` tokens that refills in `refill_time` ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenBucket {
    pub size: u64,
    /// Milliseconds.
    pub refill_time: u64,
    /// Extra tokens at the start, never refilled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub one_time_burst: Option<u64>,
}

impl TokenBucket {
    /// `rate` tokens a second, with one second's worth as the burst.
    pub fn per_second(rate: u64) -> Self {
        Self {
            size: rate,
            refill_time: 1000,
            one_time_burst: None,
        }
    }
}

/// `PUT /machine-config`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineConfig {
    /// 1, or an even number up to 32 (odd ones are legal without SMT).
    pub vcpu_count: u32,
    /// MiB.
    pub mem_size_mib: u32,
    /// Needed for Diff snapshots.
    #[serde(default)]
    pub track_dirty_pages: bool,
}

/// `PUT /mmds/config`.
#[derive(Clone, Debug, Serialize)]
pub struct MmdsConfig {
    version: MmdsVersion,
    network_interfaces: Vec<String>,
}

#[derive(Clone, Copy, Debug, Serialize)]
enum MmdsVersion {
    V2,
}

impl MmdsConfig {
    /// Version 2 (session tokens), the only one we use, served on these interfaces at 169.254.169.254.
    pub fn v2(network_interfaces: impl IntoIterator<Item = String>) -> Self {
        Self {
            version: MmdsVersion::V2,
            network_interfaces: network_interfaces.into_iter().collect(),
        }
    }
}

/// `PUT /entropy`.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct EntropyDevice {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limiter: Option<RateLimiter>,
}

/// `PUT /logger`.
#[derive(Clone, Debug, Serialize)]
pub struct Logger {
    /// Inside the jail; standard output if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_path: Option<PathBuf>,
    pub level: LogLevel,
    pub show_level: bool,
}

/// Firecracker's log levels.
#[derive(Clone, Copy, Debug, Serialize)]
pub enum LogLevel {
    Error,
    Warning,
    Info,
    Debug,
    Off,
}

/// `PUT /balloon`, before start.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Balloon {
    /// MiB taken from the guest.
    pub amount_mib: u32,
    pub deflate_on_oom: bool,
    /// Seconds; 0 = no statistics.
    pub stats_polling_interval_s: u32,
}

/// `PATCH /balloon`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct BalloonUpdate {
    /// MiB taken from the guest.
    pub amount_mib: u32,
}

/// `PUT /snapshot/create`. Paths are inside the jail.
#[derive(Clone, Debug, Serialize)]
pub struct SnapshotCreate {
    pub snapshot_type: SnapshotType,
    pub snapshot_path: PathBuf,
    pub mem_file_path: PathBuf,
}

/// Whole memory, or the pages dirtied since the last snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum SnapshotType {
    Full,
    Diff,
}

/// `PUT /snapshot/load`. Paths are inside the jail.
#[derive(Clone, Debug, Serialize)]
pub struct SnapshotLoad {
    pub snapshot_path: PathBuf,
    pub mem_backend: MemoryBackend,
    /// Called `track_dirty_pages` by versions after 1.12, which still take this name.
    pub enable_diff_snapshots: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub network_overrides: Vec<NetworkOverride>,
}

/// Where restored memory comes from.
#[derive(Clone, Debug, Serialize)]
pub struct MemoryBackend {
    pub backend_type: MemoryBackendType,
    /// A file, or the socket of a page server.
    pub backend_path: PathBuf,
}

/// See [`MemoryBackend`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum MemoryBackendType {
    File,
    Uffd,
}

/// Another TAP device for an interface of the snapshot.
#[derive(Clone, Debug, Serialize)]
pub struct NetworkOverride {
    pub iface_id: String,
    pub host_dev_name: String,
}

/// `GET /`.
#[derive(Clone, Debug, Deserialize)]
pub struct InstanceInfo {
    pub id: String,
    pub state: InstanceState,
    pub vmm_version: String,
}

/// What the VM is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum InstanceState {
    #[serde(rename = "Not started")]
    NotStarted,
    Running,
    Paused,
}

/// `GET /version`.
#[derive(Clone, Debug, Deserialize)]
pub struct FirecrackerVersion {
    pub firecracker_version: String,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Action {
    pub(super) action_type: ActionType,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(super) enum ActionType {
    InstanceStart,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct VmState {
    pub(super) state: VmStateName,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(super) enum VmStateName {
    Paused,
    Resumed,
}

#[derive(Debug, Deserialize)]
pub(super) struct Fault {
    pub(super) fault_message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: impl Serialize, expected: &str) {
        assert_eq!(serde_json::to_string(&value).unwrap(), expected);
    }

    #[test]
    fn requests_have_the_documented_form_and_leave_absent_fields_out() {
        check(
            BootSource {
                kernel_image_path: "/vmlinux".into(),
                initrd_path: None,
                boot_args: "quiet".into(),
            },
            r#"{"kernel_image_path":"/vmlinux","boot_args":"quiet"}"#,
        );
        check(
            MachineConfig {
                vcpu_count: 2,
                mem_size_mib: 512,
                track_dirty_pages: true,
            },
            r#"{"vcpu_count":2,"mem_size_mib":512,"track_dirty_pages":true}"#,
        );
        check(
            MmdsConfig::v2(["eth0".into()]),
            r#"{"version":"V2","network_interfaces":["eth0"]}"#,
        );
        check(
            RateLimiter {
                bandwidth: Some(TokenBucket::per_second(1000)),
                ops: None,
            },
            r#"{"bandwidth":{"size":1000,"refill_time":1000}}"#,
        );
        check(
            SnapshotLoad {
                snapshot_path: "/s".into(),
                mem_backend: MemoryBackend {
                    backend_type: MemoryBackendType::Uffd,
                    backend_path: "/u".into(),
                },
                enable_diff_snapshots: true,
                network_overrides: Vec::new(),
            },
            r#"{"snapshot_path":"/s","mem_backend":{"backend_type":"Uffd","backend_path":"/u"},"enable_diff_snapshots":true}"#,
        );
        check(
            Action {
                action_type: ActionType::InstanceStart,
            },
            r#"{"action_type":"InstanceStart"}"#,
        );
        check(
            VmState {
                state: VmStateName::Resumed,
            },
            r#"{"state":"Resumed"}"#,
        );
    }

    #[test]
    fn replies_are_read_and_unknown_fields_ignored() {
        let text = r#"{"app_name":"Firecracker","id":"x","state":"Not started","vmm_version":"1.12.1","later":1}"#;
        let info: InstanceInfo = serde_json::from_str(text).unwrap();
        assert_eq!(info.state, InstanceState::NotStarted);
    }
}
