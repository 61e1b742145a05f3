//! What a host's report means for a row: the table of reconciliation, as a pure function.
//!
//! Nothing is decided unless the report was asked for after the row's last change, no operation is live on
//! the row, and the report's generation is not older than the row's. In doubt the row is left for the next
//! report.

use wrenn_api::Reason;
use wrenn_database::{JudgedRow, State};
use wrenn_ids::HostId;
use wrenn_rpc::hostagent::SandboxState;

/// How the host describes the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reported {
    /// In the report, in this state and generation.
    Present(SandboxState, i64),
    /// Not in this report.
    Absent,
    /// Not in this report nor in the one before.
    AbsentTwice,
}

/// What to do about a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing, or not yet.
    Leave,
    /// It runs after all.
    Restore,
    /// Its host keeps it paused; why is in the report.
    Pause,
    /// It should be paused and runs: an order that came late.
    PauseThere,
    /// It is gone.
    Stop(Reason),
    /// Its snapshot is gone.
    Lost,
    /// The host has what it should not have.
    DestroyThere,
    /// A destroy never reached the host.
    FinishDestroy,
    /// A create that nobody works on any more.
    Abandoned,
}

/// The table. `asked_us` is when the report was asked for, by the clock of the database as the row's times
/// are; `ended` is what the host's events say of its end.
pub(super) fn judge(
    row: &JudgedRow,
    host: HostId,
    reported: Reported,
    asked_us: i64,
    ended: Option<Reason>,
) -> Verdict {
    if row.has_live_op || row.changed_us >= asked_us {
        return Verdict::Leave;
    }
    if row.host_id != Some(host.as_uuid()) {
        return match reported {
            Reported::Present(_, generation) if generation <= row.generation => {
                Verdict::DestroyThere
            }
            _ => Verdict::Leave,
        };
    }
    match (row.status, reported) {
        (_, Reported::Present(_, generation)) if generation < row.generation => {
            // An older life of the sandbox: only a row that wants it gone may say so.
            match row.status {
                State::Stopped | State::Error => Verdict::DestroyThere,
                State::Stopping => Verdict::FinishDestroy,
                State::Paused if is_running(reported) => Verdict::PauseThere,
                _ => Verdict::Leave,
            }
        }
        (State::Stopped | State::Error, Reported::Present(..)) => Verdict::DestroyThere,
        (State::Stopping, _) => Verdict::FinishDestroy,
        (State::Paused, Reported::Present(SandboxState::Running, generation)) => {
            if generation > row.generation {
                Verdict::Restore
            } else {
                Verdict::PauseThere
            }
        }
        (
            State::Missing
            | State::Pausing
            | State::Resuming
            | State::Snapshotting
            | State::SnapshottingPaused,
            Reported::Present(SandboxState::Running, _),
        ) => Verdict::Restore,
        (
            State::Running
            | State::Missing
            | State::Pausing
            | State::Resuming
            | State::Snapshotting
            | State::SnapshottingPaused,
            Reported::Present(SandboxState::Paused, _),
        ) => Verdict::Pause,
        (State::Running | State::Missing, Reported::Present(SandboxState::Crashed, _)) => {
            Verdict::Stop(Reason::VmExited)
        }
        (State::Running | State::Missing, Reported::Absent) => {
            ended.map_or(Verdict::Leave, Verdict::Stop)
        }
        (State::Running | State::Missing, Reported::AbsentTwice) => {
            Verdict::Stop(ended.unwrap_or(Reason::Reconciled))
        }
        (State::Paused, Reported::AbsentTwice) => Verdict::Lost,
        (State::Pending | State::Starting, _) => Verdict::Abandoned,
        _ => Verdict::Leave,
    }
}

fn is_running(reported: Reported) -> bool {
    matches!(reported, Reported::Present(SandboxState::Running, _))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const ASKED: i64 = 100;

    fn row(status: State) -> JudgedRow {
        JudgedRow {
            id: Uuid::nil(),
            host_id: Some(HostId::ZERO.as_uuid()),
            status,
            generation: 2,
            changed_us: ASKED - 1,
            has_live_op: false,
            timeout_sec: 0,
            on_idle: "pause".to_owned(),
            reason: None,
        }
    }

    fn check(row: &JudgedRow, reported: Reported, expected: Verdict) {
        let verdict = judge(row, HostId::ZERO, reported, ASKED, None);
        assert_eq!(verdict, expected, "{row:?} {reported:?}");
    }

    const RUNS: Reported = Reported::Present(SandboxState::Running, 2);
    const SLEEPS: Reported = Reported::Present(SandboxState::Paused, 2);

    #[test]
    fn the_table_of_reconciliation() {
        check(&row(State::Running), RUNS, Verdict::Leave);
        check(&row(State::Missing), RUNS, Verdict::Restore);
        check(&row(State::Running), Reported::Absent, Verdict::Leave);
        check(
            &row(State::Running),
            Reported::AbsentTwice,
            Verdict::Stop(Reason::Reconciled),
        );
        check(
            &row(State::Missing),
            Reported::AbsentTwice,
            Verdict::Stop(Reason::Reconciled),
        );
        check(&row(State::Paused), Reported::AbsentTwice, Verdict::Lost);
        check(&row(State::Stopped), RUNS, Verdict::DestroyThere);
        check(&row(State::Error), RUNS, Verdict::DestroyThere);
        check(&row(State::Stopping), RUNS, Verdict::FinishDestroy);
        check(&row(State::Starting), RUNS, Verdict::Abandoned);
        let crashed = Reported::Present(SandboxState::Crashed, 2);
        check(
            &row(State::Running),
            crashed,
            Verdict::Stop(Reason::VmExited),
        );
    }

    #[test]
    fn a_host_that_paused_is_believed_and_one_that_should_have_is_asked() {
        for status in [
            State::Running,
            State::Missing,
            State::Pausing,
            State::Resuming,
        ] {
            check(&row(status), SLEEPS, Verdict::Pause);
        }
        check(&row(State::Paused), SLEEPS, Verdict::Leave);
        check(&row(State::Paused), Reported::Absent, Verdict::Leave);
        check(&row(State::Paused), RUNS, Verdict::PauseThere);
        let runs = |generation| Reported::Present(SandboxState::Running, generation);
        check(&row(State::Paused), runs(1), Verdict::PauseThere);
        check(&row(State::Paused), runs(3), Verdict::Restore);
        check(&row(State::Stopped), SLEEPS, Verdict::DestroyThere);
        check(&row(State::Stopping), SLEEPS, Verdict::FinishDestroy);
        let busy = Reported::Present(SandboxState::Pausing, 2);
        check(&row(State::Running), busy, Verdict::Leave);
    }

    #[test]
    fn nothing_is_decided_on_old_news_or_against_an_operation() {
        let twice = Reported::AbsentTwice;
        check(
            &JudgedRow {
                changed_us: ASKED,
                ..row(State::Running)
            },
            twice,
            Verdict::Leave,
        );
        check(
            &JudgedRow {
                has_live_op: true,
                ..row(State::Running)
            },
            twice,
            Verdict::Leave,
        );
        let old = Reported::Present(SandboxState::Running, 1);
        check(&row(State::Missing), old, Verdict::Leave);
    }

    #[test]
    fn of_two_hosts_the_lower_generation_loses() {
        let elsewhere = JudgedRow {
            host_id: Some(Uuid::from_u128(9)),
            ..row(State::Running)
        };
        check(&elsewhere, RUNS, Verdict::DestroyThere);
        let newer = Reported::Present(SandboxState::Running, 3);
        check(&elsewhere, newer, Verdict::Leave);
    }

    #[test]
    fn an_end_that_was_reported_needs_no_second_report() {
        for reason in [Reason::VmExited, Reason::Idle] {
            let row = row(State::Running);
            let verdict = judge(&row, HostId::ZERO, Reported::Absent, ASKED, Some(reason));
            assert_eq!(verdict, Verdict::Stop(reason));
        }
    }
}
