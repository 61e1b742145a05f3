//! Device-mapper through `/dev/mapper/control`: create, load, resume, suspend, remove, status, deps, list.
//!
//! All calls are synchronous ioctls that last milliseconds; async callers go through `retry::blocking`.

mod abi;
mod reply;
mod table;

use std::fs::File;

use rustix::io::Errno;

pub use self::reply::SnapshotUsage;
pub(crate) use self::table::Table;
use crate::{DeviceName, DeviceNumber, Error, Result};

use self::abi::{Command, Packet};

const CONTROL: &str = "/dev/mapper/control";

/// Creates a device that has no table yet. Who made it owns it from here, whatever [`activate`] says.
pub(crate) fn create(name: &DeviceName) -> Result<DeviceNumber> {
    let mut packet = Packet::named(name);
    call(Command::Create, &mut packet, name)?;
    Ok(DeviceNumber::from_raw(packet.device()))
}

/// Loads a device's table and makes it live, in place of the one it may have.
pub(crate) fn activate(name: &DeviceName, table: &Table) -> Result<()> {
    let mut load = Packet::named(name);
    load.set_table(table);
    call(Command::Load, &mut load, name)?;
    resume(name)
}

/// Removes a device; one that is not there counts as removed.
pub(crate) fn remove(name: &DeviceName) -> Result<()> {
    match call(Command::Remove, &mut Packet::named(name), name) {
        Err(Error::Dm {
            source: Errno::NXIO,
            ..
        }) => Ok(()),
        other => other,
    }
}

/// Holds I/O (flushing what is under way) until [`resume`].
pub(crate) fn suspend(name: &DeviceName) -> Result<()> {
    let mut packet = Packet::named(name);
    packet.set_flags(abi::SUSPEND);
    call(Command::Suspend, &mut packet, name)
}

/// Lets I/O flow again.
pub(crate) fn resume(name: &DeviceName) -> Result<()> {
    call(Command::Suspend, &mut Packet::named(name), name)
}

/// The number of a device, or `None` if there is no such device.
pub(crate) fn find(name: &DeviceName) -> Result<Option<DeviceNumber>> {
    let mut packet = Packet::named(name);
    match call(Command::Status, &mut packet, name) {
        Ok(()) => Ok(Some(DeviceNumber::from_raw(packet.device()))),
        Err(Error::Dm {
            source: Errno::NXIO,
            ..
        }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The devices that the live table lies on.
pub(crate) fn dependencies(name: &DeviceName) -> Result<Vec<DeviceNumber>> {
    let packet = query(Command::Deps, || Packet::named(name), name.as_str())?;
    reply::dependencies(packet.payload())
}

/// How full a snapshot's CoW store is.
pub(crate) fn snapshot_usage(name: &DeviceName) -> Result<SnapshotUsage> {
    let packet = query(Command::TableStatus, || Packet::named(name), name.as_str())?;
    reply::snapshot_usage(packet.payload())
}

/// Whether a snapshot merges into its origin.
pub(crate) fn is_merging(name: &DeviceName) -> Result<bool> {
    let packet = query(Command::TableStatus, || Packet::named(name), name.as_str())?;
    reply::is_merging(packet.payload())
}

/// Whether all that a merging snapshot held has moved into its origin.
pub(crate) fn is_merged(name: &DeviceName) -> Result<bool> {
    let packet = query(Command::TableStatus, || Packet::named(name), name.as_str())?;
    reply::is_merged(packet.payload())
}

/// All dm devices that carry our mark.
pub(crate) fn list_ours() -> Result<Vec<(DeviceName, DeviceNumber)>> {
    let packet = query(Command::List, Packet::anonymous, "all devices")?;
    let listed = reply::names(packet.payload())?;
    Ok(listed
        .into_iter()
        .filter_map(|(name, number)| Some((DeviceName::from_marked(&name)?, number)))
        .collect())
}

/// Asks with a growing buffer until the reply fits; bounded, as the reply is the kernel's but its size is not ours.
fn query(command: Command, packet: impl Fn() -> Packet, about: &str) -> Result<Packet> {
    let mut room = 16 << 10;
    loop {
        let mut attempt = packet();
        attempt.make_room(room);
        call(command, &mut attempt, about)?;
        if !attempt.has_flag(abi::BUFFER_FULL) {
            return Ok(attempt);
        }
        room *= 4;
        if room > 16 << 20 {
            return Err(Error::MalformedReply {
                action: command.action(),
                detail: "larger than 16 MiB",
            });
        }
    }
}

fn call(command: Command, packet: &mut Packet, about: impl ToString) -> Result<()> {
    let control = File::options()
        .read(true)
        .write(true)
        .open(CONTROL)
        .map_err(|source| Error::File {
            action: "open the device-mapper control node",
            path: CONTROL.into(),
            source,
        })?;
    packet
        .exchange(&control, command)
        .map_err(|source| Error::Dm {
            action: command.action(),
            name: about.to_string(),
            source,
        })
}
