//! What a boot and a restore have in common: the network slot, the jail with its Firecracker, and what the
//! guest is told before anybody may use it.

use std::{collections::BTreeMap, path::Path};

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use wrenn_block::DeviceNumber;
use wrenn_firecracker::{ApiClient, Companion, Jail, JailedVm, Limits, ProcessIdentity, VmId};
use wrenn_ids::SandboxId;
use wrenn_network::{EgressPolicy, Slot, SlotLease};

use super::{
    manifest::{Live, Manifest, Role},
    policy::State,
    ready::{self, ReadyVm},
    stack::{Guard, Stack},
    steps::{HOST_STEP, StartError, Steps},
    view::{Running, now_ms},
};
use crate::{
    envd::{Envd, Init},
    identity::Token,
};

/// Bytes of console kept.
pub(crate) const CONSOLE_LIMIT: u64 = 1 << 20;

/// A VM in a jail of its own.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) slot: Slot,
    id: VmId,
    pub(crate) process: ProcessIdentity,
    pub(crate) client: ApiClient,
    pub(crate) firecracker_version: String,
    /// Whose name the device of its disk has, if not the sandbox's.
    disk: Option<SandboxId>,
}

impl Steps<'_> {
    /// Takes a slot with the sandbox's network policy.
    pub(crate) async fn slot(&self, manifest: &Manifest) -> Result<SlotLease, StartError> {
        let host = self.host;
        let deadline = host.pace.stretch(HOST_STEP);
        let lease = self
            .step("slot", None, async {
                Ok(host.network.acquire(deadline).await?)
            })
            .await?;
        self.policed(lease, manifest).await
    }

    /// Gives a fresh slot the sandbox's network policy.
    async fn policed(&self, slot: SlotLease, manifest: &Manifest) -> Result<SlotLease, StartError> {
        let policy = manifest.network.policy().map_err(StartError::Spec)?;
        // That of most is the one that it has.
        if policy != EgressPolicy::default() {
            let set = async { Ok(slot.set_policy(&policy).await?) };
            self.host_step("policy", set).await?;
        }
        self.passed("slot")?;
        Ok(slot)
    }

    /// A slot with the sandbox's network policy, and a VMM in it: one that stands ready, or else started now.
    pub(crate) async fn ready(
        &self,
        manifest: &Manifest,
    ) -> Result<(SlotLease, JailedVm), StartError> {
        let host = self.host;
        let ready = match host.failpoints.reached("ready.take") {
            None => host.ready.take(),
            Some(_) => None,
        };
        match ready {
            Some(ReadyVm { slot, vm, .. }) => {
                let slot = self.policed(slot, manifest).await?;
                let limit = async { Ok(vm.limit(limits(manifest)).await?) };
                self.host_step("limit", limit).await?;
                Ok((slot, vm))
            }
            None => {
                let slot = self.slot(manifest).await?;
                let vm = self.spawn((slot.slot(), slot.uid()), manifest, &[]).await?;
                Ok((slot, vm))
            }
        }
    }

    /// Starts Firecracker in a jail that holds these files under these names.
    pub(crate) async fn spawn(
        &self,
        (slot, uid): (Slot, u32),
        manifest: &Manifest,
        files: &[(&Path, &str)],
    ) -> Result<JailedVm, StartError> {
        let host = self.host;
        let spec = ready::jail(slot, uid, limits(manifest))?;
        let jail = async { Ok(Jail::create(&host.jails, spec).await?) };
        let jail = self.host_step("jail", jail).await?;
        self.passed("jail")?;
        let launch = async {
            for (source, name) in files {
                jail.place_file(source, name).await?;
            }
            Ok(jail.launch(host.pace.stretch(HOST_STEP)).await?)
        };
        let deadline = host.pace.stretch(2 * HOST_STEP);
        self.step("launch", Some(deadline), launch).await
    }

    /// Makes a VMM the sandbox's: its console, its disk, and these files under these names.
    pub(crate) async fn dedicate(
        &self,
        vm: JailedVm,
        manifest: &Manifest,
        (slot, uid): (Slot, u32),
        disk: DeviceNumber,
        files: &[(&Path, &str)],
        stack: &mut Stack,
    ) -> Result<Started, StartError> {
        let host = self.host;
        let (id, process, client) = (vm.id().clone(), vm.identity(), vm.client());
        tracing::debug!(sandbox_id = %manifest.sandbox_id, vm = %id, "the sandbox has a VMM");
        // That of a spare is kept when it is somebody's: until then it waits in the pipe.
        let console = (manifest.role != Role::Spare)
            .then(|| vm.console(&host.console(manifest.sandbox_id), CONSOLE_LIMIT));
        stack.push(Guard::Vm(vm));
        if let Some(console) = console.transpose()? {
            host.tasks.spawn(console.run());
        }
        self.passed("launch")?;
        let vm = stack.vm().ok_or(StartError::Stopping)?;
        let place = async {
            vm.place_block_device((disk.major, disk.minor), "rootfs", uid)
                .await?;
            for (source, name) in files {
                vm.place_file(source, name).await?;
            }
            Ok(client.describe().await?.vmm_version)
        };
        let firecracker_version = self.host_step("place", place).await?;
        Ok(Started {
            slot,
            id,
            process,
            client,
            firecracker_version,
            disk: None,
        })
    }

    /// Tells the guest who it is now; without variables it keeps those that it has.
    pub(crate) async fn init(
        &self,
        manifest: &Manifest,
        keys: &Keys,
        envd: &Envd,
        envs: Option<&BTreeMap<String, String>>,
    ) -> Result<(), StartError> {
        let init = Init {
            host_key: &keys.host_key,
            generation_id: &keys.generation_id,
            access_token: &keys.access_token,
            env: envs,
            default_user: &manifest.default_user,
            hostname: &manifest.sandbox_id.to_string(),
            ca_bundle: self.host.config.guest_ca.as_deref(),
        };
        let init = async { envd.init(&init).await.map_err(StartError::Init) };
        self.step("init", None, init).await?;
        self.passed("init")
    }
}

fn limits(manifest: &Manifest) -> Limits {
    Limits::of_guest(manifest.vcpus, manifest.memory_mib)
}

impl Started {
    /// The VM of a spare that was started as `made`.
    pub(crate) fn of_spare(made: SandboxId, live: Live, client: ApiClient) -> Self {
        Self {
            slot: live.slot,
            id: live.vm,
            process: live.process,
            client,
            firecracker_version: live.firecracker_version,
            disk: Some(made),
        }
    }

    /// Records that the sandbox of `stack` runs: from here on it does, whoever hears of it. What has died until
    /// now never ran.
    pub(crate) fn record(
        self,
        manifest: &mut Manifest,
        directory: &Path,
        keys: Keys,
        envd_version: String,
        restored: bool,
        stack: &Stack,
    ) -> Result<(), StartError> {
        if stack.has_ended() {
            return Err(StartError::Start("VM or page server died".into()));
        }
        manifest.state = State::Running;
        manifest.live = Some(Live {
            slot: self.slot,
            vm: self.id,
            process: self.process,
            access_token: keys.access_token,
            host_key: keys.host_key,
            envd_version,
            firecracker_version: self.firecracker_version,
            started_at_ms: now_ms(),
            restored,
            pages: stack.pages().map(Companion::identity),
            disk: self.disk,
            dirty_log: restored,
        });
        Ok(manifest.write(directory)?)
    }
}

impl Running {
    /// What a sandbox offers whose record says that it runs.
    pub(crate) fn of(manifest: &Manifest, live: &Live, envd: Envd) -> Self {
        Self {
            envd,
            host_ip: live.slot.host_address(),
            host_key: live.host_key.clone(),
            kernel_version: manifest.kernel_version.clone(),
            envd_version: live.envd_version.clone(),
            firecracker_version: live.firecracker_version.clone(),
            started_at_ms: live.started_at_ms,
        }
    }
}

/// What the guest reads at 169.254.169.254 (guest.md §9); nothing secret.
#[derive(Debug, Serialize)]
pub(crate) struct Metadata {
    #[serde(rename = "instanceID")]
    instance_id: String,
    #[serde(rename = "envID")]
    env_id: String,
    #[serde(rename = "hostKeyHash")]
    host_key_hash: String,
    #[serde(rename = "accessTokenHash")]
    access_token_hash: String,
}

impl Metadata {
    /// Of this start of the sandbox.
    pub(crate) fn of(manifest: &Manifest, keys: &Keys) -> Self {
        let id = manifest.sandbox_id.to_string();
        Self {
            instance_id: id.trim_start_matches(SandboxId::PREFIX).to_owned(),
            env_id: manifest.template_id.to_string(),
            host_key_hash: hash(&keys.host_key),
            access_token_hash: hash(&keys.access_token),
        }
    }
}

fn hash(token: &Token) -> String {
    hex::encode(Sha256::digest(token.expose()))
}

/// Secrets and names of one start of a VM.
#[derive(Debug)]
pub(crate) struct Keys {
    pub(crate) host_key: Token,
    pub(crate) access_token: Token,
    pub(crate) generation_id: String,
}

impl Keys {
    pub(crate) fn new() -> Result<Self, StartError> {
        let random = || {
            let mut bytes = [0u8; 32];
            getrandom::fill(&mut bytes).map_err(StartError::Random)?;
            Ok::<_, StartError>(hex::encode(bytes))
        };
        Ok(Self {
            host_key: Token::new(random()?),
            access_token: Token::new(random()?),
            generation_id: uuid::Uuid::now_v7().to_string(),
        })
    }
}
