//! Reaps orphans where envd itself is process 1, which happens in an image without tini.
//!
//! Only children that are not envd's own are reaped: those have their pidfd and their driver.

use std::{sync::Arc, time::Duration};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::timeout,
};

use super::Processes;

/// No zombie stays longer, also when a signal was merged with another.
const PERIOD: Duration = Duration::from_secs(1);

/// Reaps until the process ends.
pub(crate) async fn reap(processes: Arc<Processes>) {
    let mut ended = match signal(SignalKind::child()) {
        Ok(ended) => ended,
        Err(fault) => return tracing::error!(%fault, "orphans are not reaped"),
    };
    loop {
        // Either way there may be something to reap.
        let _ = timeout(PERIOD, ended.recv()).await;
        for pid in zombies() {
            // A child that is being spawned is not in the table yet; it is looked at again.
            if processes.is_spawning()
                || processes
                    .own_pids()
                    .contains(&pid.as_raw_pid().unsigned_abs())
            {
                continue;
            }
            // It may have been reaped by its driver since.
            let _ = waitid(
                WaitId::Pid(pid),
                WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
            );
        }
    }
}

/// Children of this process that have exited and wait to be reaped.
fn zombies() -> Vec<Pid> {
    let own = rustix::process::getpid().as_raw_pid().to_string();
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &i32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
            let mut fields = rest.split_ascii_whitespace();
            fields.next() == Some("Z") && fields.next() == Some(&own)
        })
        .filter_map(Pid::from_raw)
        .collect()
}
