//! Loop devices and device-mapper snapshots.
