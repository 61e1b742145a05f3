//! How fast this machine is, roughly: deadlines that suit hardware are too short where the processor is
//! emulated (a guest that boots in a second there takes a quarter of a minute here, and twenty at once take
//! minutes).
//!
//! Emulation is recognised by what the kernel says of the processor (`TCG` in its model name: QEMU's code
//! generator) or of the clock (`hpet`, `acpi_pm`: neither a TSC nor a hypervisor's clock can be trusted).

use std::{fs, time::Duration};

/// By how much deadlines for guests are stretched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace(u32);

impl Pace {
    /// Real processors: deadlines as documented.
    pub const NATIVE: Self = Self(1);
    /// Emulated processors: six times as long (a boot gets 180 s instead of 30).
    pub const EMULATED: Self = Self(6);

    /// What this machine is.
    #[must_use]
    pub fn detect() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Self::judge(
            &read("/proc/cpuinfo"),
            &read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        )
    }

    fn judge(cpuinfo: &str, clock: &str) -> Self {
        let emulated_cpu = cpuinfo
            .lines()
            .any(|line| line.starts_with("model name") && line.contains("TCG"));
        if emulated_cpu || matches!(clock.trim(), "hpet" | "acpi_pm") {
            Self::EMULATED
        } else {
            Self::NATIVE
        }
    }

    /// `deadline` as this machine needs it.
    #[must_use]
    pub fn stretch(self, deadline: Duration) -> Duration {
        deadline * self.0
    }

    /// Whether deadlines are stretched.
    #[must_use]
    pub fn is_emulated(self) -> bool {
        self != Self::NATIVE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(cpuinfo: &str, clock: &str, expected: Pace) {
        assert_eq!(
            Pace::judge(cpuinfo, clock),
            expected,
            "{cpuinfo:?} {clock:?}"
        );
    }

    #[test]
    fn emulation_shows_in_the_processor_or_the_clock() {
        check("model name\t: AMD EPYC 7B13\n", "tsc\n", Pace::NATIVE);
        check("model name\t: AMD EPYC 7B13\n", "kvm-clock\n", Pace::NATIVE);
        check(
            "model name\t: QEMU TCG CPU version 2.5+\n",
            "tsc\n",
            Pace::EMULATED,
        );
        check("model name\t: AMD EPYC 7B13\n", "hpet\n", Pace::EMULATED);
        check("", "", Pace::NATIVE);
    }
}
