//! What a boot and a restore have in common: the network slot, the jail with its Firecracker, and what the
//! guest is told before anybody may use it.

use std::{collections::BTreeMap, path::Path};

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use wrenn_block::DeviceNumber;
use wrenn_firecracker::{ApiClient, Jail, JailSpec, Limits, ProcessIdentity};
use wrenn_network::Slot;

use super::{
    manifest::{Live, Manifest},
    policy::State,
    stack::{Guard, Stack, vm_id},
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
    pub(crate) process: ProcessIdentity,
    pub(crate) client: ApiClient,
    pub(crate) firecracker_version: String,
}

impl Steps<'_> {
    /// Takes a slot with the sandbox's network policy; gives it and its uid.
    pub(crate) async fn slot(
        &self,
        manifest: &Manifest,
        stack: &mut Stack,
    ) -> Result<(Slot, u32), StartError> {
        let host = self.host;
        let policy = manifest.network.policy().map_err(StartError::Spec)?;
        let deadline = host.pace.stretch(HOST_STEP);
        let lease = self
            .step("slot", None, async {
                Ok(host.network.acquire(deadline).await?)
            })
            .await?;
        let (slot, uid) = (lease.slot(), lease.uid());
        let policed = self
            .host_step("policy", async { Ok(lease.set_policy(&policy).await?) })
            .await;
        stack.push(Guard::Slot(lease));
        policed?;
        self.passed("slot")?;
        Ok((slot, uid))
    }

    /// Starts Firecracker in a jail that holds the disk and these files under these names.
    pub(crate) async fn launch(
        &self,
        manifest: &Manifest,
        (slot, uid): (Slot, u32),
        disk: DeviceNumber,
        files: &[(&Path, &str)],
        stack: &mut Stack,
    ) -> Result<Started, StartError> {
        let host = self.host;
        let jail = JailSpec {
            id: vm_id(manifest.sandbox_id)?,
            uid,
            gid: uid,
            network_namespace: slot.namespace_path(),
            limits: Limits::of_guest(manifest.vcpus, manifest.memory_mib),
        };
        let jail = async { Ok(Jail::create(&host.jails, jail).await?) };
        stack.push(Guard::Jail(self.host_step("jail", jail).await?));
        self.passed("jail")?;

        let jail = stack.take_jail().ok_or(StartError::Stopping)?;
        let launch = async {
            for (source, name) in files {
                jail.place_file(source, name).await?;
            }
            jail.place_block_device(disk.major, disk.minor, "rootfs")
                .await?;
            Ok(jail.launch(host.pace.stretch(HOST_STEP)).await?)
        };
        let vm = self
            .step("launch", Some(host.pace.stretch(2 * HOST_STEP)), launch)
            .await?;
        let console = vm.console(&host.console(manifest.sandbox_id), CONSOLE_LIMIT)?;
        host.tasks.spawn(console.run());
        let (process, client) = (vm.identity(), vm.client());
        stack.push(Guard::Vm(vm));
        self.passed("launch")?;
        let firecracker_version = client.describe().await?.vmm_version;
        Ok(Started {
            process,
            client,
            firecracker_version,
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

impl Started {
    /// Records that the sandbox runs, of a restored one with its page server: from here on it does, whoever
    /// hears of it.
    pub(crate) fn record(
        self,
        manifest: &mut Manifest,
        directory: &Path,
        slot: Slot,
        keys: Keys,
        envd_version: String,
        restored: Option<Option<ProcessIdentity>>,
    ) -> Result<(), StartError> {
        manifest.state = State::Running;
        manifest.live = Some(Live {
            slot,
            process: self.process,
            access_token: keys.access_token,
            host_key: keys.host_key,
            envd_version,
            firecracker_version: self.firecracker_version,
            started_at_ms: now_ms(),
            restored: restored.is_some(),
            pages: restored.flatten(),
            dirty_log: restored.is_some(),
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
            instance_id: id
                .trim_start_matches(wrenn_ids::SandboxId::PREFIX)
                .to_owned(),
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
