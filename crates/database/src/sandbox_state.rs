//! Internal statuses of a sandbox and how they look on the wire.
//!
//! ```text
//! pending → starting → running ⇄ pausing → paused → resuming → running
//!                         │                   └ hibernating → hibernated
//!                         └ snapshotting (from running), snapshotting_paused (from paused)
//! running-like → missing → running | paused | stopped     every state → stopping → stopped
//! pending, starting → error
//! ```
//!
//! Which transitions are legal is decided by their callers, all of which go through
//! [`crate::transition`]; `stopped` is terminal.

use wrenn_api::SandboxStatus;

/// Status as the database holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum State {
    /// Accepted; no host chosen.
    Pending,
    /// Being created on its host.
    Starting,
    /// Usable.
    Running,
    /// Being paused.
    Pausing,
    /// Kept on its host.
    Paused,
    /// A snapshot is taken of it while it ran.
    Snapshotting,
    /// A snapshot is taken of it while it was paused.
    SnapshottingPaused,
    /// Its snapshot moves to object storage.
    Hibernating,
    /// Its snapshot is in object storage only.
    Hibernated,
    /// Being resumed.
    Resuming,
    /// Being destroyed; stays while its host is away.
    Stopping,
    /// Gone.
    Stopped,
    /// Its host cannot be reached.
    Missing,
    /// It could not be created, or its snapshot is lost.
    Error,
}

impl State {
    /// States in which the sandbox is of no more use to anybody.
    pub const ENDED: &'static [Self] = &[Self::Stopped, Self::Error];
    /// States from which a destroy begins.
    pub const DESTROYABLE: &'static [Self] = &[
        Self::Pending,
        Self::Starting,
        Self::Running,
        Self::Pausing,
        Self::Paused,
        Self::Snapshotting,
        Self::SnapshottingPaused,
        Self::Hibernating,
        Self::Hibernated,
        Self::Resuming,
        Self::Missing,
        Self::Error,
    ];

    /// What callers see.
    #[must_use]
    pub const fn wire(self) -> SandboxStatus {
        match self {
            Self::Pending => SandboxStatus::Pending,
            Self::Starting | Self::Resuming => SandboxStatus::Starting,
            Self::Running | Self::Pausing | Self::Snapshotting => SandboxStatus::Running,
            Self::Paused | Self::SnapshottingPaused | Self::Hibernating => SandboxStatus::Paused,
            Self::Hibernated => SandboxStatus::Hibernated,
            Self::Stopping | Self::Stopped => SandboxStatus::Stopped,
            Self::Missing => SandboxStatus::Missing,
            Self::Error => SandboxStatus::Error,
        }
    }

    /// The internal states that look like `status`.
    pub fn of_wire(status: SandboxStatus) -> impl Iterator<Item = Self> {
        [
            Self::Pending,
            Self::Starting,
            Self::Running,
            Self::Pausing,
            Self::Paused,
            Self::Snapshotting,
            Self::SnapshottingPaused,
            Self::Hibernating,
            Self::Hibernated,
            Self::Resuming,
            Self::Stopping,
            Self::Stopped,
            Self::Missing,
            Self::Error,
        ]
        .into_iter()
        .filter(move |state| state.wire() == status)
    }

    /// The text in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Pausing => "pausing",
            Self::Paused => "paused",
            Self::Snapshotting => "snapshotting",
            Self::SnapshottingPaused => "snapshotting_paused",
            Self::Hibernating => "hibernating",
            Self::Hibernated => "hibernated",
            Self::Resuming => "resuming",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Missing => "missing",
            Self::Error => "error",
        }
    }

    /// The texts of several states, as statements take them.
    #[must_use]
    pub fn texts(states: &[Self]) -> Vec<&'static str> {
        states.iter().map(|state| state.as_str()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wire_status_has_a_state_and_back() {
        for status in SandboxStatus::ALL {
            assert!(State::of_wire(*status).count() > 0, "{status}");
        }
        let all: usize = SandboxStatus::ALL
            .iter()
            .map(|s| State::of_wire(*s).count())
            .sum();
        assert_eq!(all, 14);
    }
}
