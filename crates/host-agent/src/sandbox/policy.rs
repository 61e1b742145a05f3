//! What a request means in a state: accept it, it is so already, or refuse. Pure.

/// State of a sandbox that exists on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Being created.
    Starting,
    /// Usable.
    Running,
    /// Its snapshot is being written.
    Pausing,
    /// Its snapshot is durable and nothing of it runs.
    Paused,
    /// Its snapshot is being restored.
    Resuming,
    /// Being destroyed.
    Stopping,
    /// Its VM ended by itself; its resources are being released.
    Crashed,
}

/// A change that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Make it.
    Create,
    /// Write its snapshot and end its VM.
    Pause,
    /// Restore its snapshot.
    Resume,
    /// Copy it: a fork, or a snapshot template.
    Copy,
    /// Change its limits or policy.
    Update,
    /// Remove it.
    Destroy,
}

/// What is known of the sandbox that a change names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known<'a> {
    /// `None`: it does not exist here.
    pub state: Option<State>,
    /// Highest generation seen.
    pub generation: u64,
    /// The last operation accepted for it. One that failed and left everything as it was is not kept, so
    /// that its repetition is tried again.
    pub last_op: Option<&'a str>,
}

impl Known<'_> {
    /// A sandbox never heard of.
    pub const NOTHING: Self = Self {
        state: None,
        generation: 0,
        last_op: None,
    };
}

/// What to do with a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Do it.
    Accept,
    /// It is being done or was done: wait for its result, or give the recorded one.
    AlreadySo,
    /// Do not.
    Refuse(Refusal),
}

/// Why a change is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// A newer operation has been seen.
    StaleGeneration,
    /// Not from this state.
    WrongState,
}

/// Judges a change that operation `op` of `generation` asks for.
#[must_use]
pub fn judge(known: Known<'_>, change: Change, op: &str, generation: u64) -> Verdict {
    use State as S;
    if known.last_op == Some(op) {
        return Verdict::AlreadySo;
    }
    if generation < known.generation {
        return Verdict::Refuse(Refusal::StaleGeneration);
    }
    match (change, known.state) {
        (Change::Create, None)
        | (Change::Pause, Some(S::Running))
        | (Change::Resume, Some(S::Paused))
        | (Change::Copy | Change::Update, Some(S::Running | S::Paused)) => Verdict::Accept,
        (Change::Pause, Some(S::Pausing | S::Paused))
        | (Change::Resume, Some(S::Resuming | S::Running))
        | (Change::Destroy, None | Some(S::Stopping)) => Verdict::AlreadySo,
        (Change::Destroy, Some(_)) => Verdict::Accept,
        (_, _) => Verdict::Refuse(Refusal::WrongState),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STATES: [Option<State>; 8] = [
        None,
        Some(State::Starting),
        Some(State::Running),
        Some(State::Pausing),
        Some(State::Paused),
        Some(State::Resuming),
        Some(State::Stopping),
        Some(State::Crashed),
    ];
    const CHANGES: [Change; 6] = [
        Change::Create,
        Change::Pause,
        Change::Resume,
        Change::Copy,
        Change::Update,
        Change::Destroy,
    ];

    /// One row a state, in the order of [`STATES`]; `+` accepted, `=` already so, `-` refused, in the order
    /// of [`CHANGES`].
    #[test]
    fn the_whole_table() {
        let expected = [
            "+----=", // not here
            "-----+", // starting
            "-+=+++", // running
            "-=---+", // pausing
            "-=++++", // paused
            "--=--+", // resuming
            "-----=", // stopping
            "-----+", // crashed
        ];
        for (state, expected) in STATES.into_iter().zip(expected) {
            let known = Known {
                state,
                generation: 1,
                last_op: None,
            };
            let row: String = CHANGES
                .into_iter()
                .map(|change| match judge(known, change, "op", 1) {
                    Verdict::Accept => '+',
                    Verdict::AlreadySo => '=',
                    Verdict::Refuse(_) => '-',
                })
                .collect();
            assert_eq!(row, expected, "{state:?}");
        }
    }

    fn any_known() -> impl Strategy<Value = (Option<State>, u64, Option<String>)> {
        (
            prop::sample::select(STATES.to_vec()),
            0u64..4,
            prop::option::of("[ab]"),
        )
    }

    fn any_change() -> impl Strategy<Value = Change> {
        prop::sample::select(CHANGES.to_vec())
    }

    proptest! {
        #[test]
        fn a_repeated_operation_is_never_done_again(
            (state, generation, _) in any_known(),
            change in any_change(),
            asked in 0u64..4,
        ) {
            let known = Known { state, generation, last_op: Some("a") };
            prop_assert_eq!(judge(known, change, "a", asked), Verdict::AlreadySo);
        }

        #[test]
        fn a_stale_generation_changes_nothing(
            (state, generation, last_op) in any_known(),
            change in any_change(),
            asked in 0u64..4,
        ) {
            let known = Known { state, generation, last_op: last_op.as_deref() };
            let verdict = judge(known, change, "new", asked);
            prop_assert_eq!(
                verdict == Verdict::Refuse(Refusal::StaleGeneration),
                asked < generation
            );
        }

        #[test]
        fn destroy_is_refused_for_staleness_alone(
            (state, generation, last_op) in any_known(),
            asked in 0u64..4,
        ) {
            let known = Known { state, generation, last_op: last_op.as_deref() };
            let verdict = judge(known, Change::Destroy, "new", asked);
            prop_assert_ne!(verdict, Verdict::Refuse(Refusal::WrongState));
        }
    }
}
