//! What a request means in a state: accept it, it is so already, or refuse. Pure.

/// State of a sandbox that exists on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Being created.
    Starting,
    /// Usable.
    Running,
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
    /// The last operation accepted for it.
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
    if known.last_op == Some(op) {
        return Verdict::AlreadySo;
    }
    if generation < known.generation {
        return Verdict::Refuse(Refusal::StaleGeneration);
    }
    match (change, known.state) {
        (Change::Create, None) => Verdict::Accept,
        (Change::Create, Some(_)) => Verdict::Refuse(Refusal::WrongState),
        (Change::Destroy, None | Some(State::Stopping)) => Verdict::AlreadySo,
        (Change::Destroy, Some(State::Starting | State::Running | State::Crashed)) => {
            Verdict::Accept
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STATES: [Option<State>; 5] = [
        None,
        Some(State::Starting),
        Some(State::Running),
        Some(State::Stopping),
        Some(State::Crashed),
    ];

    fn check(state: Option<State>, change: Change, expected: Verdict) {
        let known = Known {
            state,
            generation: 1,
            last_op: None,
        };
        assert_eq!(
            judge(known, change, "op", 1),
            expected,
            "{state:?} {change:?}"
        );
    }

    #[test]
    fn create_makes_only_what_is_not_there() {
        check(None, Change::Create, Verdict::Accept);
        for state in &STATES[1..] {
            check(*state, Change::Create, Verdict::Refuse(Refusal::WrongState));
        }
    }

    #[test]
    fn destroy_is_legal_from_every_state() {
        check(None, Change::Destroy, Verdict::AlreadySo);
        check(Some(State::Starting), Change::Destroy, Verdict::Accept);
        check(Some(State::Running), Change::Destroy, Verdict::Accept);
        check(Some(State::Crashed), Change::Destroy, Verdict::Accept);
        check(Some(State::Stopping), Change::Destroy, Verdict::AlreadySo);
    }

    fn any_known() -> impl Strategy<Value = (Option<State>, u64, Option<String>)> {
        (
            prop::sample::select(STATES.to_vec()),
            0u64..4,
            prop::option::of("[ab]"),
        )
    }

    proptest! {
        #[test]
        fn a_repeated_operation_is_never_done_again(
            (state, generation, _) in any_known(),
            create: bool,
            asked in 0u64..4,
        ) {
            let change = if create { Change::Create } else { Change::Destroy };
            let known = Known { state, generation, last_op: Some("a") };
            prop_assert_eq!(judge(known, change, "a", asked), Verdict::AlreadySo);
        }

        #[test]
        fn a_stale_generation_changes_nothing(
            (state, generation, last_op) in any_known(),
            create: bool,
            asked in 0u64..4,
        ) {
            let change = if create { Change::Create } else { Change::Destroy };
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
