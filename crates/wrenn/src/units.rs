//! Durations, sizes and ages as people type and read them.

use std::time::Duration;

use jiff::Timestamp;

/// Reads `30s`, `5m`, `2h`, `1d`, `250ms`, or a bare number of seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let (digits, unit) = split(text);
    let number: u64 = digits
        .parse()
        .map_err(|_| "write it like 30s, 5m or 2h".to_owned())?;
    let seconds = |factor: u64| {
        number
            .checked_mul(factor)
            .map(Duration::from_secs)
            .ok_or_else(|| "is too long".to_owned())
    };
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "" | "s" => seconds(1),
        "m" | "min" => seconds(60),
        "h" => seconds(3600),
        "d" => seconds(86400),
        _ => Err("write it like 30s, 5m or 2h".to_owned()),
    }
}

/// Reads a size in MiB: `512`, `512M`, `1G`, `5Gi`.
pub(crate) fn mebibytes(text: &str) -> Result<u32, String> {
    let (digits, unit) = split(text);
    let number: u32 = digits
        .parse()
        .map_err(|_| "write it like 512, 512M or 1G".to_owned())?;
    let factor = match unit.to_ascii_lowercase().trim_end_matches('b') {
        "" | "m" | "mi" => 1,
        "g" | "gi" => 1024,
        "t" | "ti" => 1024 * 1024,
        _ => return Err("write it like 512, 512M or 1G".to_owned()),
    };
    number
        .checked_mul(factor)
        .ok_or_else(|| "is too large".to_owned())
}

/// Reads a moment: RFC 3339, or how long before now, as `10m`, `2h ago`.
pub(crate) fn moment(text: &str) -> Result<Timestamp, String> {
    moment_before(text, Timestamp::now())
}

fn moment_before(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let wrong = || "write it like 10m, 2h, 3d or 2026-01-31T09:30:00Z".to_owned();
    let text = text.trim();
    let ago = text.strip_suffix("ago").unwrap_or(text).trim_end();
    // A bare number could be anything.
    if ago.ends_with(|last: char| last.is_ascii_alphabetic() && last != 'Z')
        && ago.starts_with(|first: char| first.is_ascii_digit())
    {
        let ago = duration(ago).map_err(|_| wrong())?;
        let ago = jiff::SignedDuration::try_from(ago).map_err(|_| wrong())?;
        return now
            .checked_sub(ago)
            .map_err(|_| "is too long ago".to_owned());
    }
    text.parse().map_err(|_| wrong())
}

fn split(text: &str) -> (&str, &str) {
    let end = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(end)
}

/// `512 MiB`, `1.5 GiB` of a number of MiB.
pub(crate) fn show_mebibytes(mebibytes: u64) -> String {
    match mebibytes {
        0..1024 => format!("{mebibytes} MiB"),
        _ if mebibytes.is_multiple_of(1024) => format!("{} GiB", mebibytes / 1024),
        _ => {
            let tenths = mebibytes * 10 / 1024;
            format!("{}.{} GiB", tenths / 10, tenths % 10)
        }
    }
}

/// How long ago `then` was: `now`, `42s`, `3m`, `5h`, `9d`.
pub(crate) fn age(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(then).as_secs().max(0);
    match seconds {
        0 => "now".to_owned(),
        1..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86400),
    }
}

/// [`age`] of an RFC 3339 time as the API writes it; the text itself when it is none.
pub(crate) fn age_of(text: &str) -> String {
    text.parse::<Timestamp>()
        .map_or_else(|_| text.to_owned(), |then| age(then, Timestamp::now()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_duration(text: &str, expected: Option<u64>) {
        assert_eq!(
            duration(text).ok().map(|time| time.as_secs()),
            expected,
            "{text}"
        );
    }

    #[test]
    fn durations_have_units() {
        check_duration("30", Some(30));
        check_duration("30s", Some(30));
        check_duration("5m", Some(300));
        check_duration("2h", Some(7200));
        check_duration("2 h", None);
        check_duration("", None);
        check_duration("-3s", None);
        check_duration("99999999999999999999h", None);
        check_duration("9999999999999999999h", None);
    }

    #[test]
    fn moments_are_times_or_ages() {
        let now: Timestamp = "2026-01-31T12:00:00Z".parse().expect("a time");
        let check = |text: &str, expected: Option<&str>| {
            let found = moment_before(text, now).ok().map(|time| time.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        };
        check("10m", Some("2026-01-31T11:50:00Z"));
        check("2h ago", Some("2026-01-31T10:00:00Z"));
        check("3d", Some("2026-01-28T12:00:00Z"));
        check("2026-01-31T09:30:00+01:00", Some("2026-01-31T08:30:00Z"));
        check("2026-01-31T09:30:00Z", Some("2026-01-31T09:30:00Z"));
        check("10", None);
        check("-10m", None);
        check("yesterday", None);
        check("99999999999999d", None);
        check("", None);
    }

    #[test]
    fn sizes_are_mebibytes_unless_said() {
        let check = |text: &str, expected: Option<u32>| {
            assert_eq!(mebibytes(text).ok(), expected, "{text}")
        };
        check("512", Some(512));
        check("512M", Some(512));
        check("1G", Some(1024));
        check("5Gi", Some(5120));
        check("2GiB", Some(2048));
        check("1.5G", None);
        check("9999999G", None);
        assert_eq!(show_mebibytes(1536), "1.5 GiB");
        assert_eq!(show_mebibytes(40960), "40 GiB");
        assert_eq!(show_mebibytes(512), "512 MiB");
    }

    #[test]
    fn ages_use_one_unit() {
        let then: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        let check = |seconds: i64, expected: &str| {
            let now = then + jiff::SignedDuration::from_secs(seconds);
            assert_eq!(age(then, now), expected);
        };
        check(-5, "now");
        check(59, "59s");
        check(180, "3m");
        check(7200, "2h");
        check(864_000, "10d");
    }
}
