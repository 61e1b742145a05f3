//! What everyone may see of a sandbox: published by its task, read without asking it.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use wrenn_ids::{SandboxId, TemplateId};

use super::{Failure, manifest::Manifest, policy::State};
use crate::envd::Envd;

/// A sandbox as its task last published it.
#[derive(Debug, Clone)]
pub struct View {
    /// The sandbox.
    pub sandbox_id: SandboxId,
    /// Highest generation seen.
    pub generation: u64,
    /// The last operation accepted for it.
    pub op_id: String,
    /// What it was made from.
    pub template_id: TemplateId,
    /// Virtual processors.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Disk in MiB.
    pub disk_mib: u32,
    /// Its state.
    pub state: Phase,
    /// When it was last used.
    pub activity: Activity,
}

/// State of a sandbox with what belongs to it.
#[derive(Debug, Clone)]
pub enum Phase {
    /// Being created.
    Starting,
    /// Usable.
    Running(Running),
    /// Being destroyed.
    Stopping,
    /// Its VM ended by itself.
    Crashed,
    /// All released; with the reason when its creation failed.
    Gone(Option<Failure>),
}

/// What a running sandbox offers.
#[derive(Debug, Clone)]
pub struct Running {
    /// Its guest agent.
    pub envd: Envd,
    /// Where the host reaches it.
    pub host_ip: std::net::Ipv4Addr,
    /// Kernel it runs.
    pub kernel_version: String,
    /// Version of envd inside.
    pub envd_version: String,
    /// Version of the VMM.
    pub firecracker_version: String,
    /// When it became usable, in ms since the Unix epoch.
    pub started_at_ms: i64,
}

impl View {
    /// Of a sandbox that is recorded so.
    pub(crate) fn of(manifest: &Manifest, state: Phase) -> Self {
        Self {
            sandbox_id: manifest.sandbox_id,
            generation: manifest.generation,
            op_id: manifest.op_id.clone(),
            template_id: manifest.template_id,
            vcpus: manifest.vcpus,
            memory_mib: manifest.memory_mib,
            disk_mib: manifest.disk_mib,
            state,
            activity: Activity::now(),
        }
    }

    /// The state in the policy's terms; `None` when it is gone.
    #[must_use]
    pub fn policy_state(&self) -> Option<State> {
        match self.state {
            Phase::Starting => Some(State::Starting),
            Phase::Running(_) => Some(State::Running),
            Phase::Stopping => Some(State::Stopping),
            Phase::Crashed => Some(State::Crashed),
            Phase::Gone(_) => None,
        }
    }
}

/// When a sandbox was last used, in ms since the Unix epoch; shared by all who use it.
#[derive(Debug, Clone)]
pub struct Activity(Arc<AtomicI64>);

impl Activity {
    fn now() -> Self {
        Self(Arc::new(AtomicI64::new(now_ms())))
    }

    /// It is used now.
    pub fn touch(&self) {
        self.0.fetch_max(now_ms(), Ordering::Relaxed);
    }

    /// When it was.
    #[must_use]
    pub fn last_ms(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Now, in ms since the Unix epoch.
pub(crate) fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
