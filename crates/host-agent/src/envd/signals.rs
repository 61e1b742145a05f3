//! Numbers of the signals that a guest names in the status of an ended process.

/// What a shell reports when nothing better is known: killed.
const UNKNOWN: i32 = 128 + 9;

/// Exit code of a process that a signal ended, `128 + n`, from a status like `signal: killed`.
pub(super) fn exit_code(status: &str) -> i32 {
    let name = status.strip_prefix("signal: ").unwrap_or(status);
    let name = name.strip_suffix(" (core dumped)").unwrap_or(name);
    let numbered = || {
        let number = name.rsplit(' ').next()?.parse::<i32>().ok()?;
        (1..=64).contains(&number).then_some(128 + number)
    };
    SIGNALS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, number)| 128 + number)
        .or_else(numbered)
        .unwrap_or(UNKNOWN)
}

/// Linux signals on x86-64 and arm64 by the names that guests use.
const SIGNALS: [(&str, i32); 30] = [
    ("hangup", 1),
    ("interrupt", 2),
    ("quit", 3),
    ("illegal instruction", 4),
    ("trace/breakpoint trap", 5),
    ("aborted", 6),
    ("bus error", 7),
    ("floating point exception", 8),
    ("killed", 9),
    ("user defined signal 1", 10),
    ("segmentation fault", 11),
    ("user defined signal 2", 12),
    ("broken pipe", 13),
    ("alarm clock", 14),
    ("terminated", 15),
    ("stack fault", 16),
    ("child exited", 17),
    ("continued", 18),
    ("stopped (signal)", 19),
    ("stopped", 20),
    ("stopped (tty input)", 21),
    ("stopped (tty output)", 22),
    ("urgent I/O condition", 23),
    ("CPU time limit exceeded", 24),
    ("file size limit exceeded", 25),
    ("virtual timer expired", 26),
    ("profiling timer expired", 27),
    ("window changed", 28),
    ("I/O possible", 29),
    ("bad system call", 31),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: &str, expected: i32) {
        assert_eq!(exit_code(status), expected, "{status}");
    }

    #[test]
    fn a_signal_ends_a_process_with_128_plus_its_number() {
        check("signal: killed", 137);
        check("signal: terminated", 143);
        check("signal: segmentation fault (core dumped)", 139);
        check("signal: user defined signal 2", 140);
        check("signal: signal 34", 162);
        check("signal: signal 4711", 137);
        check("", 137);
        check("signal: -9999999999999999999999", 137);
    }
}
