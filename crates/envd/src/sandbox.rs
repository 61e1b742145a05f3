//! What envd knows of the sandbox that it serves, and what `/init` changes.
//!
//! Phases: `Waiting` (a VM before its first `/init`) → `Open`. `--no-vm` starts `Open`. In either phase the
//! sandbox is sealed from a snapshot's preparation to what follows it, and serves nobody but the host.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;

use crate::{flags::Settings, flags::Surroundings, secret::Secret, users::Users};

/// Names that carry the sandbox's identity and that `/init` cannot set.
const RESERVED: [&str; 6] = [
    "E2B_SANDBOX",
    "E2B_SANDBOX_ID",
    "E2B_TEMPLATE_ID",
    "WRENN_SANDBOX",
    "WRENN_SANDBOX_ID",
    "WRENN_TEMPLATE_ID",
];

/// Whether requests are served, unless the sandbox is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Waiting,
    Open,
}

/// The changing part, behind one short lock.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) phase: Phase,
    pub(crate) sealed: bool,
    pub(crate) token: Option<Secret>,
    /// Set by `/init`; without the reserved names.
    pub(crate) variables: BTreeMap<String, String>,
    pub(crate) sandbox_id: String,
    pub(crate) template_id: String,
    pub(crate) default_user: String,
    pub(crate) default_workdir: Option<String>,
    /// The last applied `/init`.
    pub(crate) generation: Option<String>,
    pub(crate) applied_at: Option<Timestamp>,
}

impl State {
    /// Replaces the variables of an earlier `/init`; reserved names are dropped.
    pub(crate) fn set_variables(&mut self, variables: BTreeMap<String, String>) {
        self.variables = variables;
        self.variables
            .retain(|name, _| !RESERVED.contains(&name.as_str()));
    }

    /// All variables of the sandbox, with its identity.
    pub(crate) fn environment(&self) -> BTreeMap<String, String> {
        let mut all = self.variables.clone();
        let mut put = |name: &str, value: &str| all.insert(name.into(), value.into());
        put("E2B_SANDBOX", "true");
        put("WRENN_SANDBOX", "true");
        for (names, value) in [
            (["E2B_SANDBOX_ID", "WRENN_SANDBOX_ID"], &self.sandbox_id),
            (["E2B_TEMPLATE_ID", "WRENN_TEMPLATE_ID"], &self.template_id),
        ] {
            if !value.is_empty() {
                for name in names {
                    put(name, value);
                }
            }
        }
        all
    }
}

/// The sandbox.
#[derive(Debug)]
pub(crate) struct Sandbox {
    state: Mutex<State>,
}

impl Sandbox {
    /// As it is before the first `/init`.
    pub(crate) fn new(settings: &Settings, users: &Users) -> Self {
        let fallback = if users.find("user").is_some() {
            "user"
        } else {
            "root"
        };
        Self {
            state: Mutex::new(State {
                phase: match settings.surroundings {
                    Surroundings::Vm => Phase::Waiting,
                    Surroundings::Machine => Phase::Open,
                },
                sealed: false,
                token: None,
                variables: BTreeMap::new(),
                sandbox_id: String::new(),
                template_id: String::new(),
                default_user: settings
                    .default_user
                    .clone()
                    .unwrap_or_else(|| fallback.into()),
                default_workdir: settings.default_workdir.clone(),
                generation: None,
                applied_at: None,
            }),
        }
    }

    /// The state, for as long as it takes to read or write it.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_is_real_whatever_init_says() {
        let Ok(crate::flags::Command::Serve(settings)) = crate::flags::parse(std::iter::empty())
        else {
            panic!("defaults serve");
        };
        let sandbox = Sandbox::new(&settings, &Users::system());
        let mut state = sandbox.state();
        assert_eq!(state.phase, Phase::Waiting);
        state.sandbox_id = "abc".into();
        let given = [
            ("WRENN_SANDBOX_ID", "liar"),
            ("E2B_TEMPLATE_ID", "liar"),
            ("A", "1"),
        ];
        state.set_variables(
            given
                .map(|(name, value)| (name.into(), value.into()))
                .into(),
        );
        let environment = state.environment();
        assert_eq!(
            environment.get("WRENN_SANDBOX_ID").map(String::as_str),
            Some("abc")
        );
        assert_eq!(
            environment.get("E2B_SANDBOX").map(String::as_str),
            Some("true")
        );
        assert_eq!(environment.get("E2B_TEMPLATE_ID"), None);
        assert_eq!(environment.get("A").map(String::as_str), Some("1"));
    }
}
