//! Processes of a guest on the wire.

use wrenn_rpc::{hostagent::Process, process::ProcessInfo};

/// A process as callers see it.
pub(super) fn process(info: ProcessInfo) -> Process {
    let config = info.config.into_option().unwrap_or_default();
    Process {
        pid: info.pid,
        tag: info.tag.unwrap_or_default(),
        cmd: config.cmd,
        args: config.args,
        ..Process::default()
    }
}
