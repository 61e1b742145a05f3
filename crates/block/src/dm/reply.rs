//! Parsing of dm replies. Every offset is checked against the buffer before it is followed.

use crate::{DeviceNumber, Error, Result};

use super::abi::{TARGET_KIND, TARGET_SPEC};

/// Fill level of a snapshot's CoW store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotUsage {
    /// Bytes of the store in use (metadata included) and in all.
    Used { bytes: u64, total: u64 },
    /// The store met an error or ran full: the disk's contents can no longer be trusted.
    Invalid,
}

/// `struct dm_name_list`: device u64, offset of the next record from this one u32, name with a zero.
pub(super) fn names(mut rest: &[u8]) -> Result<Vec<(String, DeviceNumber)>> {
    let bad = |detail| Error::MalformedReply {
        action: "list devices",
        detail,
    };
    let mut found = Vec::new();
    if rest.is_empty() {
        return Ok(found); // no devices at all
    }
    loop {
        let device = u64_at(rest, 0).ok_or(bad("record cut short"))?;
        let next = u32_at(rest, 8).ok_or(bad("record cut short"))? as usize;
        let name = text_at(rest, 12).ok_or(bad("name without end"))?;
        found.push((name, DeviceNumber::from_raw(device)));
        if next == 0 {
            return Ok(found);
        }
        if next < 12 {
            return Err(bad("record overlaps its successor"));
        }
        rest = rest.get(next..).ok_or(bad("record beyond the reply"))?;
    }
}

/// `struct dm_target_deps`: count u32, padding u32, devices u64; nothing at all for a device without a table.
pub(super) fn dependencies(bytes: &[u8]) -> Result<Vec<DeviceNumber>> {
    let bad = |detail| Error::MalformedReply {
        action: "get the dependencies of",
        detail,
    };
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let count = u32_at(bytes, 0).ok_or(bad("no count"))? as usize;
    let devices = bytes.get(8..).unwrap_or_default();
    if count > devices.len() / 8 {
        return Err(bad("more devices than bytes"));
    }
    Ok((0..count)
        .filter_map(|i| u64_at(devices, i * 8))
        .map(DeviceNumber::from_raw)
        .collect())
}

/// Status of a single snapshot target.
pub(super) fn snapshot_usage(bytes: &[u8]) -> Result<SnapshotUsage> {
    Ok(match snapshot_status(bytes)? {
        None => SnapshotUsage::Invalid,
        Some(status) => SnapshotUsage::Used {
            bytes: status.used,
            total: status.total,
        },
    })
}

/// Whether the one target is of the merging kind.
pub(super) fn is_merging(bytes: &[u8]) -> Result<bool> {
    let kind = text_at(bytes, TARGET_KIND).ok_or(Error::MalformedReply {
        action: "get the table status of",
        detail: "target without a kind",
    })?;
    Ok(kind == "snapshot-merge")
}

/// Whether a snapshot target merges and holds metadata alone.
pub(super) fn is_merged(bytes: &[u8]) -> Result<bool> {
    match snapshot_status(bytes)? {
        Some(status) => Ok(is_merging(bytes)? && status.used == status.metadata),
        None => Err(Error::MalformedReply {
            action: "get the table status of",
            detail: "the merge failed",
        }),
    }
}

/// Bytes of a CoW store.
struct Status {
    used: u64,
    total: u64,
    metadata: u64,
}

/// `<used>/<total> <metadata>` in sectors, or a word.
fn snapshot_status(bytes: &[u8]) -> Result<Option<Status>> {
    let bad = |detail| Error::MalformedReply {
        action: "get the table status of",
        detail,
    };
    let status = text_at(bytes, TARGET_SPEC).ok_or(bad("status without end"))?;
    if ["Invalid", "Overflow", "Merge failed"]
        .iter()
        .any(|word| status.starts_with(word))
    {
        return Ok(None);
    }
    let mut numbers = status
        .split(['/', ' '])
        .map(|sectors| sectors.parse::<u64>().ok()?.checked_mul(512));
    let mut number = || {
        let number = numbers.next().flatten();
        number.ok_or(bad("it is not three numbers"))
    };
    Ok(Some(Status {
        used: number()?,
        total: number()?,
        metadata: number()?,
    }))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(
        bytes.get(at..at.checked_add(4)?)?.try_into().ok()?,
    ))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(
        bytes.get(at..at.checked_add(8)?)?.try_into().ok()?,
    ))
}

fn text_at(bytes: &[u8], at: usize) -> Option<String> {
    let rest = bytes.get(at..)?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    Some(String::from_utf8_lossy(&rest[..end]).into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(device: u64, next: u32, name: &str) -> Vec<u8> {
        let mut bytes = device.to_ne_bytes().to_vec();
        bytes.extend(next.to_ne_bytes());
        bytes.extend(name.as_bytes());
        bytes.push(0);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    #[test]
    fn a_list_of_two_devices_is_read_in_order() {
        let mut bytes = record(0xfd00, 24, "wrenn-a");
        bytes.extend(record(0xfd01, 0, "other"));
        let names: Vec<_> = names(&bytes).unwrap();
        assert_eq!(
            names[0],
            (
                "wrenn-a".into(),
                DeviceNumber {
                    major: 253,
                    minor: 0
                }
            )
        );
        assert_eq!(
            names[1],
            (
                "other".into(),
                DeviceNumber {
                    major: 253,
                    minor: 1
                }
            )
        );
    }

    #[test]
    fn records_that_loop_or_leave_the_reply_are_refused() {
        assert!(names(&record(1, 4, "a")).is_err());
        assert!(names(&record(1, 4096, "a")).is_err());
        assert!(names(&[1]).is_err());
        assert!(names(&[]).unwrap().is_empty());
        assert!(dependencies(&[255, 255, 255, 255, 0, 0, 0, 0]).is_err());
    }

    #[test]
    fn a_status_line_becomes_bytes_or_invalid() {
        let check = |line: &str, expected: Option<SnapshotUsage>| {
            let mut bytes = vec![0; TARGET_SPEC];
            bytes.extend(line.as_bytes());
            bytes.push(0);
            assert_eq!(snapshot_usage(&bytes).ok(), expected, "{line}");
        };
        check(
            "16/2048 16",
            Some(SnapshotUsage::Used {
                bytes: 8192,
                total: 1 << 20,
            }),
        );
        check("Invalid", Some(SnapshotUsage::Invalid));
        check("Overflow", Some(SnapshotUsage::Invalid));
        check("x/y z", None);
        check("", None);
        check("99999999999999999999/1 0", None);
    }

    proptest! {
        #[test]
        fn no_reply_makes_a_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = names(&bytes);
            let _ = dependencies(&bytes);
            let _ = snapshot_usage(&bytes);
        }
    }
}
