//! The conditions of a download: whether the file is sent at all, and whether a range of it may be.
//!
//! A file has the time of its last change and no entity tag, so a tag never matches.

use std::time::SystemTime;

use http::{
    HeaderMap, HeaderName,
    header::{IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE},
};

/// What the conditions of a request come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Whole,
    Range,
    NotModified,
    Failed,
}

/// Whether a request asks for less than every byte, or only under a condition.
pub(super) fn is_conditional(headers: &HeaderMap) -> bool {
    [
        RANGE,
        IF_MATCH,
        IF_MODIFIED_SINCE,
        IF_NONE_MATCH,
        IF_RANGE,
        IF_UNMODIFIED_SINCE,
    ]
    .iter()
    .any(|name| headers.contains_key(name))
}

/// Judges the conditions in the order of RFC 9110, 13.2.2. A time that cannot be read is no condition.
pub(super) fn judge(headers: &HeaderMap, modified: SystemTime) -> Verdict {
    let modified = seconds(modified);
    let text = |name: &HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or(""));
    let time = |name: &HeaderName| {
        let told = httpdate::parse_http_date(text(name)?).ok()?;
        Some(seconds(told))
    };
    let kept = match text(&IF_MATCH) {
        Some(tags) => tags.trim() == "*",
        None => time(&IF_UNMODIFIED_SINCE).is_none_or(|since| modified <= since),
    };
    if !kept {
        return Verdict::Failed;
    }
    let known = match text(&IF_NONE_MATCH) {
        Some(tags) => tags.trim() == "*",
        None => time(&IF_MODIFIED_SINCE).is_some_and(|since| modified <= since),
    };
    if known {
        return Verdict::NotModified;
    }
    let same = !headers.contains_key(IF_RANGE) || time(&IF_RANGE) == Some(modified);
    if headers.contains_key(RANGE) && same {
        Verdict::Range
    } else {
        Verdict::Whole
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const BEFORE: &str = "Fri, 13 Feb 2009 23:31:29 GMT";
    const THEN: &str = "Fri, 13 Feb 2009 23:31:30 GMT";

    fn check(headers: &[(HeaderName, &str)], expected: Verdict) {
        let all = headers
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()));
        let modified = SystemTime::UNIX_EPOCH + Duration::from_millis(1_234_567_890_500);
        assert_eq!(judge(&all.collect(), modified), expected, "{headers:?}");
    }

    #[test]
    fn a_file_is_sent_when_it_is_not_known_yet() {
        check(&[], Verdict::Whole);
        check(&[(IF_MODIFIED_SINCE, THEN)], Verdict::NotModified);
        check(&[(IF_MODIFIED_SINCE, BEFORE)], Verdict::Whole);
        check(&[(IF_MODIFIED_SINCE, "then")], Verdict::Whole);
        check(&[(IF_NONE_MATCH, "*")], Verdict::NotModified);
        check(
            &[(IF_NONE_MATCH, "\"tag\""), (IF_MODIFIED_SINCE, THEN)],
            Verdict::Whole,
        );
    }

    #[test]
    fn a_file_is_sent_when_it_is_what_the_caller_thinks() {
        check(&[(IF_UNMODIFIED_SINCE, THEN)], Verdict::Whole);
        check(&[(IF_UNMODIFIED_SINCE, BEFORE)], Verdict::Failed);
        check(&[(IF_MATCH, "*")], Verdict::Whole);
        check(&[(IF_MATCH, "\"tag\"")], Verdict::Failed);
        check(
            &[(IF_UNMODIFIED_SINCE, BEFORE), (IF_NONE_MATCH, "*")],
            Verdict::Failed,
        );
    }

    #[test]
    fn a_range_is_sent_of_the_file_that_the_caller_began_with() {
        check(&[(RANGE, "bytes=0-1")], Verdict::Range);
        check(&[(RANGE, "bytes=0-1"), (IF_RANGE, THEN)], Verdict::Range);
        check(&[(RANGE, "bytes=0-1"), (IF_RANGE, BEFORE)], Verdict::Whole);
        check(
            &[(RANGE, "bytes=0-1"), (IF_RANGE, "\"tag\"")],
            Verdict::Whole,
        );
        check(
            &[(RANGE, "bytes=0-1"), (IF_MODIFIED_SINCE, THEN)],
            Verdict::NotModified,
        );
    }
}
