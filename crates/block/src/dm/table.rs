//! The tables we load.

use crate::DeviceNumber;

/// Sectors of a CoW chunk: 8 × 512 = one page.
const CHUNK_SECTORS: u32 = 8;

/// Whether a device can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    ReadOnly,
    ReadWrite,
}

/// A device's mapping: targets in order, without gaps.
#[derive(Debug)]
pub(crate) struct Table {
    pub(super) mode: Mode,
    pub(super) targets: Vec<Target>,
}

#[derive(Debug)]
pub(super) struct Target {
    /// First sector of the device that this target serves.
    pub(super) start: u64,
    /// Sectors.
    pub(super) length: u64,
    pub(super) kind: &'static str,
    pub(super) parameters: String,
}

impl Table {
    /// `base`, then zeros up to `sectors`.
    pub(crate) fn grown(base: DeviceNumber, base_sectors: u64, sectors: u64) -> Self {
        let linear = Target {
            start: 0,
            length: base_sectors,
            kind: "linear",
            parameters: format!("{base} 0"),
        };
        let tail = sectors.saturating_sub(base_sectors);
        let zero = Target {
            start: base_sectors,
            length: tail,
            kind: "zero",
            parameters: String::new(),
        };
        Self {
            mode: Mode::ReadOnly,
            targets: vec![linear, zero],
        }
    }

    /// A persistent snapshot: reads fall through to `origin`, writes go to `cow` and survive a restart.
    pub(crate) fn snapshot(origin: DeviceNumber, cow: DeviceNumber, sectors: u64) -> Self {
        Self::over("snapshot", origin, cow, sectors, Mode::ReadWrite)
    }

    /// The same of a store that is not written any more, to lie under other snapshots.
    pub(crate) fn frozen(origin: DeviceNumber, cow: DeviceNumber, sectors: u64) -> Self {
        Self::over("snapshot", origin, cow, sectors, Mode::ReadOnly)
    }

    /// The same snapshot while what `cow` holds moves into `origin`, where new writes go at once. Loaded in
    /// place of the table above it takes over its exceptions (Linux, Documentation/admin-guide/device-mapper/
    /// snapshot.rst).
    pub(crate) fn merge(origin: DeviceNumber, cow: DeviceNumber, sectors: u64) -> Self {
        Self::over("snapshot-merge", origin, cow, sectors, Mode::ReadWrite)
    }

    fn over(
        kind: &'static str,
        origin: DeviceNumber,
        cow: DeviceNumber,
        sectors: u64,
        mode: Mode,
    ) -> Self {
        Self {
            mode,
            targets: vec![Target {
                start: 0,
                length: sectors,
                kind,
                parameters: format!("{origin} {cow} P {CHUNK_SECTORS}"),
            }],
        }
    }
}
