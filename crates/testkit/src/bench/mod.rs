//! What the benches measure with, and the rows of their table.
//!
//! A row stands beside its floor: the same work without Wrenn, measured in the same run on the same
//! machine. Where VMs are emulated only the ratio of the two says anything.

pub mod agent;
pub mod bare_snapshot;
pub mod bare_vm;
pub mod load;
pub mod people;
pub mod raw;
pub mod scale;
pub mod sleeping;

use std::{borrow::Cow, io::Write as _, time::Duration};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// One line of the table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// Of value and floor.
    pub unit: Cow<'static, str>,
    /// With Wrenn.
    pub value: f64,
    /// Without it; none where there is nothing to compare with.
    pub floor: Option<f64>,
    /// What the specification asks for, in its words.
    pub target: Option<Cow<'static, str>>,
}

impl Row {
    /// A row without floor and target.
    #[must_use]
    pub fn new(what: impl Into<String>, unit: &'static str, value: f64) -> Self {
        Self {
            what: what.into(),
            unit: unit.into(),
            value,
            floor: None,
            target: None,
        }
    }

    /// Beside this floor.
    #[must_use]
    pub fn over(self, floor: f64) -> Self {
        Self {
            floor: Some(floor),
            ..self
        }
    }

    /// With what the specification asks for.
    #[must_use]
    pub fn target(self, target: &'static str) -> Self {
        Self {
            target: Some(target.into()),
            ..self
        }
    }
}

/// Hands the rows to `cargo xtask bench`: JSON on standard output.
///
/// # Errors
/// When nobody reads it.
pub fn emit(rows: &[Row]) -> Result<()> {
    let line = serde_json::to_string(rows).context("write the rows")?;
    writeln!(std::io::stdout(), "{line}").context("hand over the rows")
}

/// Milliseconds that `share` (0 to 1) of the times do not exceed.
///
/// # Panics
/// When there is no time.
#[must_use]
pub fn percentile(times: &[Duration], share: f64) -> f64 {
    assert!(!times.is_empty(), "nothing was measured");
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let index = (sorted.len() as f64 * share) as usize;
    sorted[index.min(sorted.len() - 1)].as_secs_f64() * 1e3
}

/// Resident memory of a process (its number, or `self`), in MiB.
///
/// # Errors
/// When there is no such process.
pub fn resident_mib(process: &str) -> Result<f64> {
    let path = format!("/proc/{process}/status");
    let status = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: f64 = line
        .and_then(|line| line.trim().strip_suffix("kB"))
        .and_then(|number| number.trim().parse().ok())
        .with_context(|| format!("find VmRSS in {path}"))?;
    Ok(kib / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_times() {
        let times: Vec<_> = (1..=100).rev().map(Duration::from_millis).collect();
        let check = |share: f64, expected: f64| assert_eq!(percentile(&times, share), expected);
        check(0.0, 1.0);
        check(0.5, 51.0);
        check(0.99, 100.0);
        check(1.0, 100.0);
    }

    #[test]
    fn this_process_has_memory() {
        assert!(resident_mib("self").expect("it runs") > 0.5);
        assert!(resident_mib("none").is_err());
    }
}
