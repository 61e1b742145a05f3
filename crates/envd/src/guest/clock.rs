//! The wall clock of the guest: set at `/init`, kept by chronyd where the host gives a PHC.

use std::{fs::File, io, os::fd::AsFd as _};

use jiff::{SignedDuration, Timestamp};
use rustix::time::{ClockId, DynamicClockId, Timespec, clock_gettime_dynamic, clock_settime};

const PHC: &str = "/dev/ptp0";
const BEHIND_ALLOWED: SignedDuration = SignedDuration::from_millis(50);
const AHEAD_ALLOWED: SignedDuration = SignedDuration::from_secs(5);

/// Why the clock is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// A boot, restore or fork: the guest's own time means nothing.
    NewGeneration,
    Repeated,
}

/// Steps the clock to the host's time where it is off: to the PHC where there is one, else to `told`.
/// Returns the step.
pub(crate) fn align(occasion: Occasion, told: Timestamp) -> io::Result<SignedDuration> {
    let right = phc().unwrap_or(told);
    let off = right.duration_since(Timestamp::now());
    if !step_is_due(occasion, off) {
        return Ok(SignedDuration::ZERO);
    }
    let spec = Timespec {
        tv_sec: right.as_second(),
        tv_nsec: right.subsec_nanosecond().max(0).into(),
    };
    clock_settime(ClockId::Realtime, spec)?;
    Ok(off)
}

/// `off` is what the guest's clock lacks.
fn step_is_due(occasion: Occasion, off: SignedDuration) -> bool {
    occasion == Occasion::NewGeneration || off > BEHIND_ALLOWED || off < -AHEAD_ALLOWED
}

fn phc() -> Option<Timestamp> {
    let device = File::open(PHC).ok()?;
    let time = clock_gettime_dynamic(DynamicClockId::Dynamic(device.as_fd())).ok()?;
    Timestamp::new(time.tv_sec, i32::try_from(time.tv_nsec).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(occasion: Occasion, off_ms: i64, expected: bool) {
        let off = SignedDuration::from_millis(off_ms);
        assert_eq!(
            step_is_due(occasion, off),
            expected,
            "{occasion:?} {off_ms} ms"
        );
    }

    #[test]
    fn a_known_generation_steps_only_what_is_far_off() {
        check(Occasion::Repeated, 0, false);
        check(Occasion::Repeated, 50, false);
        check(Occasion::Repeated, 51, true);
        check(Occasion::Repeated, -5000, false);
        check(Occasion::Repeated, -5001, true);
        check(Occasion::NewGeneration, 0, true);
    }
}
