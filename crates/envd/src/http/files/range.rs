//! The `Range` header: one range of bytes, or none.

use http::HeaderValue;

/// Which bytes of a file are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Everything,
    /// `length` is at least one and stays within the file.
    Part {
        start: u64,
        length: u64,
    },
    Impossible,
}

/// Reads the header for a file of `size` bytes. What is no range, or more than one, asks for everything,
/// as HTTP says of a header that is not understood.
pub(super) fn parse(value: &HeaderValue, size: u64) -> Wanted {
    let text = value.to_str().unwrap_or_default();
    let Some((first, last)) = text
        .strip_prefix("bytes=")
        .and_then(|range| range.split_once('-'))
    else {
        return Wanted::Everything;
    };
    let (start, end) = match (first.trim(), last.trim()) {
        ("", suffix) => match suffix.parse::<u64>() {
            Ok(0) => return Wanted::Impossible,
            Ok(suffix) => (size.saturating_sub(suffix), size),
            Err(_) => return Wanted::Everything,
        },
        (first, last) => {
            let Ok(first) = first.parse::<u64>() else {
                return Wanted::Everything;
            };
            let end = match last {
                "" => size,
                last => match last.parse::<u64>() {
                    Ok(last) if last >= first => last.saturating_add(1).min(size),
                    _ => return Wanted::Everything,
                },
            };
            (first, end)
        }
    };
    if start >= size {
        return Wanted::Impossible;
    }
    Wanted::Part {
        start,
        length: end - start,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_part_is_within_its_file(
            header in "bytes=[0-9]{0,20}-[0-9]{0,20}",
            size in 1_u64..1000,
        ) {
            if let Wanted::Part { start, length } = parse(&header.parse().unwrap(), size) {
                prop_assert!(length >= 1 && start.checked_add(length).is_some_and(|end| end <= size));
            }
        }
    }

    fn check(header: &str, expected: Wanted) {
        assert_eq!(parse(&header.parse().unwrap(), 100), expected, "{header}");
    }

    #[test]
    fn one_range_is_read_and_kept_within_the_file() {
        check(
            "bytes=0-9",
            Wanted::Part {
                start: 0,
                length: 10,
            },
        );
        check(
            "bytes=90-",
            Wanted::Part {
                start: 90,
                length: 10,
            },
        );
        check(
            "bytes=-5",
            Wanted::Part {
                start: 95,
                length: 5,
            },
        );
        check(
            "bytes=-500",
            Wanted::Part {
                start: 0,
                length: 100,
            },
        );
        check(
            "bytes=50-18446744073709551615",
            Wanted::Part {
                start: 50,
                length: 50,
            },
        );
    }

    #[test]
    fn ranges_outside_are_impossible_and_rubbish_is_ignored() {
        check("bytes=100-", Wanted::Impossible);
        check("bytes=-0", Wanted::Impossible);
        for rubbish in [
            "bytes=9-0",
            "bytes=a-b",
            "bytes=0-1,3-4",
            "lines=1-2",
            "bytes=-",
            "bytes=--1",
            "",
        ] {
            check(rubbish, Wanted::Everything);
        }
    }
}
