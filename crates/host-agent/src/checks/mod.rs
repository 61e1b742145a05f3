//! What a host needs to run sandboxes: each need is looked at once, at start and by `wrenn doctor`, and
//! reported with what was found, what is needed and how to get it.

mod kernel;
mod programs;

use std::fmt;

use crate::config::Config;

/// One need and what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What is looked at, in a word or two.
    pub name: &'static str,
    /// What was found.
    pub found: String,
    /// What is needed.
    pub needed: &'static str,
    /// How to get it; empty when it is there.
    pub remedy: String,
    /// Whether it is there.
    pub outcome: Outcome,
}

/// Whether a need is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is.
    Met,
    /// It is not.
    Missing,
}

/// Runs a test VM on `/dev/kvm`; given by the binary, which knows how.
#[derive(Clone, Copy)]
pub struct KvmProbe(fn() -> Result<(), String>);

impl KvmProbe {
    /// A probe that returns why KVM is not usable, as a sentence.
    #[must_use]
    pub fn new(probe: fn() -> Result<(), String>) -> Self {
        Self(probe)
    }

    /// Looks no further than that `/dev/kvm` opens.
    #[must_use]
    pub fn none() -> Self {
        Self(|| Ok(()))
    }
}

impl fmt::Debug for KvmProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KvmProbe")
    }
}

/// Looks at everything; takes at most a few seconds.
#[must_use]
pub fn run(config: &Config) -> Vec<Check> {
    let mut checks = kernel::checks(config.kvm_probe);
    checks.extend(programs::checks(config));
    checks
}

/// Version of the Firecracker in use; empty when it does not say.
#[must_use]
pub fn firecracker_version(config: &Config) -> String {
    programs::firecracker_version(config)
}

impl Check {
    fn of(
        name: &'static str,
        needed: &'static str,
        found: Result<String, String>,
        remedy: &str,
    ) -> Self {
        let (found, remedy, outcome) = match found {
            Ok(found) => (found, String::new(), Outcome::Met),
            Err(found) => (found, remedy.to_owned(), Outcome::Missing),
        };
        Self {
            name,
            found,
            needed,
            remedy,
            outcome,
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: found {}", self.name, self.found)?;
        if self.outcome == Outcome::Missing {
            write!(f, "; needed: {}; {}", self.needed, self.remedy)?;
        }
        Ok(())
    }
}
