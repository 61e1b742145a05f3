//! Telling a live process from a later one with the same number.

/// `pid.start-time` of a live process; none when it is gone or a zombie.
pub(crate) fn identity(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold spaces and parentheses; what follows the last one is fixed.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let start = fields.nth(18)?;
    (state != "Z").then(|| format!("{pid}.{start}"))
}

/// The pid in an identity whose process lives.
pub(crate) fn living(identity_text: &str) -> Option<u32> {
    let pid = identity_text.split('.').next()?.parse().ok()?;
    (identity(pid).as_deref() == Some(identity_text)).then_some(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_from_a_later_one_with_its_pid() {
        let own = identity(std::process::id()).expect("this process lives");
        assert_eq!(living(&own), Some(std::process::id()));
        assert_eq!(living(&format!("{}.1", std::process::id())), None);
        assert_eq!(identity(u32::MAX), None);
        assert_eq!(living("x"), None);
    }
}
