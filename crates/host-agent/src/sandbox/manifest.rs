//! The durable record of a sandbox: written before its first resource is made, rewritten at each change of
//! state, removed after its last resource is gone.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use wrenn_firecracker::{ProcessIdentity, VmId};
use wrenn_ids::{SandboxId, TemplateId};
use wrenn_network::Slot;

use super::{
    Egress,
    policy::State,
    seed::Copied,
    snapshot::{FileRecord, Snapshot},
    view::Paused,
};
use crate::{durable, identity::Token};

/// Its file in the sandbox's directory.
const NAME: &str = "manifest.json";
/// Format that this version writes and reads.
const FORMAT: u32 = 1;

/// Everything needed to find a sandbox's VM again and to talk to it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Manifest {
    format: u32,
    /// The sandbox.
    pub sandbox_id: SandboxId,
    /// What it is for.
    #[serde(default)]
    pub role: Role,
    /// Highest generation seen.
    pub generation: u64,
    /// The operation that wrote this.
    pub op_id: String,
    /// Its state when this was written.
    pub state: State,
    /// What it was made from.
    pub template_id: TemplateId,
    /// The template whose file system its disk lies on, if it is another: that of a snapshot template.
    #[serde(default)]
    pub base_template_id: Option<TemplateId>,
    /// SHA-256 of the file system that its disk lies on, in hex: a newer one may have the template's name.
    pub rootfs_sha256: String,
    /// What copies before it have written over that file system; see `disk`.
    #[serde(default)]
    pub frozen: Vec<FileRecord>,
    /// Kernel it runs.
    pub kernel_version: String,
    /// Virtual processors.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Disk in MiB.
    pub disk_mib: u32,
    /// Its variables.
    pub envs: BTreeMap<String, String>,
    /// Where its packets may go.
    pub network: Egress,
    /// Seconds without activity; 0 = never.
    pub idle_timeout_sec: u32,
    /// What happens then.
    #[serde(default)]
    pub on_idle: OnIdle,
    /// User of commands that name none.
    pub default_user: String,
    /// What a paused sandbox is restored from, and what the memory of a restored one lies on.
    #[serde(default)]
    pub snapshot: Option<Snapshot>,
    /// What exists while it runs.
    pub live: Option<Live>,
}

/// What a VM is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Somebody's sandbox.
    #[default]
    Sandbox,
    /// A warm snapshot is made of it: nobody's, and of no use to the next agent.
    Seed,
    /// It waits to become somebody's: of no use to the next agent either.
    Spare,
}

/// What is done with a sandbox that nobody uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnIdle {
    /// It is paused.
    #[default]
    Pause,
    /// It is destroyed.
    Destroy,
}

/// The running part of a sandbox.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Live {
    /// Network slot.
    pub slot: Slot,
    /// Its jail.
    pub vm: VmId,
    /// Its VMM.
    pub process: ProcessIdentity,
    /// What callers of its guest agent must show.
    pub access_token: Token,
    /// What the host must show.
    pub host_key: Token,
    /// Version of envd inside.
    pub envd_version: String,
    /// Version of the VMM.
    pub firecracker_version: String,
    /// When it became usable, in ms since the Unix epoch.
    pub started_at_ms: i64,
    /// It was restored from a snapshot: its disk has a second layer.
    #[serde(default)]
    pub restored: bool,
    /// The page server of a restored one whose memory is not one file.
    #[serde(default)]
    pub pages: Option<ProcessIdentity>,
    /// Whose name the device of its disk has, if not its own: the spare that it was made of.
    #[serde(default)]
    pub disk: Option<SandboxId>,
    /// Firecracker knows every page that differs from [`Manifest::snapshot`]; false from the moment on when
    /// it is asked for another one, until that is known to be good.
    #[serde(default)]
    pub dirty_log: bool,
}

/// A manifest that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("read the manifest")]
    Read(#[from] durable::Error),
    /// Another version wrote it, or it lies in another sandbox's directory.
    #[error("the manifest in {} is of format {format} for {sandbox_id}", directory.display())]
    Foreign {
        /// Where it lies.
        directory: PathBuf,
        /// Its format.
        format: u32,
        /// Its sandbox.
        sandbox_id: SandboxId,
    },
}

impl Manifest {
    /// A record of what is about to be created; from which files, the creation finds out.
    #[must_use]
    pub fn starting(spec: &super::Spec, op: &super::Operation, default_user: &str) -> Self {
        Self {
            format: FORMAT,
            sandbox_id: spec.sandbox_id,
            role: Role::Sandbox,
            generation: op.generation,
            op_id: op.id.clone(),
            state: State::Starting,
            template_id: spec.template_id,
            base_template_id: None,
            rootfs_sha256: String::new(),
            frozen: Vec::new(),
            kernel_version: String::new(),
            vcpus: spec.vcpus,
            memory_mib: spec.memory_mib,
            disk_mib: spec.disk_mib,
            envs: spec.envs.clone(),
            network: spec.network.clone(),
            idle_timeout_sec: spec.idle_timeout_sec,
            on_idle: spec.on_idle,
            default_user: default_user.to_owned(),
            snapshot: None,
            live: None,
        }
    }

    /// The record of a copy that was never used.
    pub(crate) fn child(&self, sandbox_id: SandboxId, copied: Copied, idle: super::Idle) -> Self {
        Self {
            sandbox_id,
            generation: 0,
            op_id: String::new(),
            idle_timeout_sec: idle.timeout_sec,
            on_idle: idle.on_idle,
            ..self.at_rest(copied)
        }
    }

    /// Whether it is a copy that was never used: a fork that an agent's end cut off leaves such, and makes them
    /// anew when it is repeated.
    pub(crate) fn is_unborn(&self) -> bool {
        self.state == State::Paused && self.generation == 0 && self.op_id.is_empty()
    }

    /// The record of the same sandbox, paused, with its files where they were copied to.
    pub(crate) fn at_rest(&self, copied: Copied) -> Self {
        Self {
            state: State::Paused,
            frozen: copied.frozen,
            snapshot: Some(copied.snapshot),
            live: None,
            ..self.clone()
        }
    }

    /// It is made from `origin`, whose files were copied to its directory.
    pub(crate) fn made_from(&mut self, origin: &Self, copied: Copied) {
        let base = origin.base_template();
        self.base_template_id = (base != self.template_id).then_some(base);
        self.rootfs_sha256.clone_from(&origin.rootfs_sha256);
        self.kernel_version.clone_from(&origin.kernel_version);
        (self.vcpus, self.memory_mib) = (origin.vcpus, origin.memory_mib);
        self.disk_mib = origin.disk_mib;
        self.frozen = copied.frozen;
        self.snapshot = Some(copied.snapshot);
    }

    /// It is changed by this operation.
    pub(crate) fn accept(&mut self, op: &super::Operation) {
        self.generation = self.generation.max(op.generation);
        self.op_id.clone_from(&op.id);
    }

    /// Writes it into the sandbox's directory.
    ///
    /// # Errors
    /// When the file system refuses; the previous record is then intact.
    pub fn write(&self, directory: &Path) -> Result<(), durable::Error> {
        durable::write_json(&directory.join(NAME), self)
    }

    /// Removes the record in `directory`: what else is there is nobody's from then on.
    pub(crate) fn remove(directory: &Path) -> Result<(), durable::Error> {
        durable::remove(&directory.join(NAME))
    }

    /// The template whose file system its disk lies on.
    #[must_use]
    pub fn base_template(&self) -> TemplateId {
        self.base_template_id.unwrap_or(self.template_id)
    }

    /// What is to be known of it if it is paused, with its files in `directory`.
    #[must_use]
    pub fn paused(&self, directory: &Path) -> Option<Paused> {
        let snapshot = self.snapshot.as_ref()?;
        Some(Paused {
            reason: snapshot.reason,
            snapshot_bytes: snapshot.allocated(directory),
        })
    }

    /// Reads the record of `sandbox_id`; `None` when there is none.
    ///
    /// # Errors
    /// When there is one that cannot be used.
    pub fn read(directory: &Path, sandbox_id: SandboxId) -> Result<Option<Self>, Error> {
        let Some(manifest) = durable::read_json::<Self>(&directory.join(NAME))? else {
            return Ok(None);
        };
        if manifest.format != FORMAT || manifest.sandbox_id != sandbox_id {
            return Err(Error::Foreign {
                directory: directory.to_owned(),
                format: manifest.format,
                sandbox_id: manifest.sandbox_id,
            });
        }
        Ok(Some(manifest))
    }
}
