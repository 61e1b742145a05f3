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

/// The table. `asked_us` is when the report was asked for, `exited` whether the host said that the VM ended
/// by itself; both clocks are the database's.
pub(super) fn judge(
    row: &JudgedRow,
    host: HostId,
    reported: Reported,
    asked_us: i64,
    exited: bool,
) -> Verdict {
    if row.has_live_op || row.changed_us >= asked_us {
        return Verdict::Leave;
    }
    let gone = if exited {
        Reason::VmExited
    } else {
        Reason::Reconciled
    };
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
                _ => Verdict::Leave,
            }
        }
        (State::Stopped | State::Error, Reported::Present(..)) => Verdict::DestroyThere,
        (State::Stopping, _) => Verdict::FinishDestroy,
        (State::Missing, Reported::Present(SandboxState::Running, _)) => Verdict::Restore,
        (State::Running | State::Missing, Reported::Present(SandboxState::Crashed, _)) => {
            Verdict::Stop(Reason::VmExited)
        }
        (State::Running | State::Missing, Reported::Absent) if exited => Verdict::Stop(gone),
        (State::Running | State::Missing, Reported::AbsentTwice) => Verdict::Stop(gone),
        (State::Paused, Reported::AbsentTwice) => Verdict::Lost,
        (State::Pending | State::Starting, _) => Verdict::Abandoned,
        _ => Verdict::Leave,
    }
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
        }
    }

    fn check(row: &JudgedRow, reported: Reported, expected: Verdict) {
        let verdict = judge(row, HostId::ZERO, reported, ASKED, false);
        assert_eq!(verdict, expected, "{row:?} {reported:?}");
    }

    const RUNS: Reported = Reported::Present(SandboxState::Running, 2);

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
    fn an_exit_that_was_reported_needs_no_second_report() {
        let verdict = judge(
            &row(State::Running),
            HostId::ZERO,
            Reported::Absent,
            ASKED,
            true,
        );
        assert_eq!(verdict, Verdict::Stop(Reason::VmExited));
    }
}
