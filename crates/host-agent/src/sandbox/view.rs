//! What everyone may see of a sandbox: published by its task, read without asking it.

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use wrenn_ids::{SandboxId, TemplateId};

use super::{
    Failure,
    manifest::{Manifest, OnIdle},
    policy::State,
};
use crate::{envd::Envd, identity::Token};

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
    /// Seconds without activity; 0 = never.
    pub idle_timeout_sec: u32,
    /// What happens then.
    pub on_idle: OnIdle,
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
    /// Its snapshot is being written.
    Pausing,
    /// Its snapshot is durable and nothing of it runs.
    Paused(Paused),
    /// Its snapshot is being restored.
    Resuming,
    /// Being destroyed.
    Stopping,
    /// Its VM ended by itself.
    Crashed,
    /// All released; with the reason when its creation failed.
    Gone(Option<Failure>),
}

/// Why a sandbox is paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PauseReason {
    /// Its user asked for it.
    User,
    /// Nobody used it.
    Idle,
    /// Its host is being emptied.
    HostDrain,
    /// Its host lost the control plane.
    HostDisconnected,
    /// All of the host's were paused.
    PauseAll,
}

/// What is to be known of a paused sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paused {
    /// Why.
    pub reason: PauseReason,
    /// Allocated bytes of its snapshot.
    pub snapshot_bytes: u64,
}

/// What a running sandbox offers.
#[derive(Debug, Clone)]
pub struct Running {
    /// Its guest agent.
    pub envd: Envd,
    /// Where the host reaches it.
    pub host_ip: std::net::Ipv4Addr,
    /// What the host must show for what only it may ask.
    pub host_key: Token,
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
            idle_timeout_sec: manifest.idle_timeout_sec,
            on_idle: manifest.on_idle,
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
            Phase::Pausing => Some(State::Pausing),
            Phase::Paused(_) => Some(State::Paused),
            Phase::Resuming => Some(State::Resuming),
            Phase::Stopping => Some(State::Stopping),
            Phase::Crashed => Some(State::Crashed),
            Phase::Gone(_) => None,
        }
    }
}

/// When a sandbox was last used, and by how many it is used now; shared by all who use it.
#[derive(Debug, Clone)]
pub struct Activity(Arc<Used>);

#[derive(Debug)]
struct Used {
    /// Milliseconds since [`START`]: the wall clock may jump.
    last: AtomicU64,
    users: AtomicUsize,
    writers: AtomicUsize,
    /// The last of the writers is gone.
    written: Notify,
}

/// When this process first asked for the time.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

fn since_start() -> u64 {
    u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX)
}

impl Activity {
    pub(crate) fn now() -> Self {
        Self(Arc::new(Used {
            last: AtomicU64::new(since_start()),
            users: AtomicUsize::new(0),
            writers: AtomicUsize::new(0),
            written: Notify::new(),
        }))
    }

    /// It is used now.
    pub fn touch(&self) {
        self.0.last.fetch_max(since_start(), Ordering::Relaxed);
    }

    /// Since when it is not used; nothing while it is.
    #[must_use]
    pub fn idle(&self) -> Duration {
        if self.0.users.load(Ordering::SeqCst) > 0 {
            return Duration::ZERO;
        }
        let last = self.0.last.load(Ordering::SeqCst);
        Duration::from_millis(since_start().saturating_sub(last))
    }

    /// When it was last used, in ms since the Unix epoch.
    #[must_use]
    pub fn last_ms(&self) -> i64 {
        let ago = since_start().saturating_sub(self.0.last.load(Ordering::Relaxed));
        now_ms() - i64::try_from(ago).unwrap_or(i64::MAX)
    }

    /// Waits until nobody writes a file.
    pub(super) async fn no_writers(&self) {
        loop {
            let written = self.0.written.notified();
            if self.0.writers.load(Ordering::SeqCst) == 0 {
                return;
            }
            written.await;
        }
    }
}

/// Somebody's use of a sandbox, until it is dropped.
#[derive(Debug)]
pub(super) struct Use {
    activity: Activity,
    writes: bool,
}

impl Use {
    pub(super) fn begin(activity: &Activity, writes: bool) -> Self {
        let used = &activity.0;
        used.users.fetch_add(1, Ordering::SeqCst);
        used.writers
            .fetch_add(usize::from(writes), Ordering::SeqCst);
        activity.touch();
        Self {
            activity: activity.clone(),
            writes,
        }
    }

    pub(super) fn touch(&self) {
        self.activity.touch();
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        self.activity.touch();
        let used = &self.activity.0;
        used.users.fetch_sub(1, Ordering::SeqCst);
        if self.writes && used.writers.fetch_sub(1, Ordering::SeqCst) == 1 {
            used.written.notify_waiters();
        }
    }
}

/// Now, in ms since the Unix epoch.
pub(crate) fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_uses_a_sandbox_keeps_it_awake_and_a_writer_is_waited_for() {
        let activity = Activity::now();
        let (reader, writer) = (Use::begin(&activity, false), Use::begin(&activity, true));
        assert_eq!(activity.idle(), Duration::ZERO);
        drop(reader);
        let waiting = activity.no_writers();
        tokio::pin!(waiting);
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        assert_eq!(activity.idle(), Duration::ZERO);
        drop(writer);
        waiting.await;
        activity.no_writers().await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(activity.idle() >= Duration::from_millis(4));
    }
}
