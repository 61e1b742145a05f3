//! A host whose control plane does not know it any more (control-plane.md §6.1).

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use wrenn_rpc::hostagent::{PauseReason, SandboxState};

use crate::{
    fixture::{create_at_once, destroy, get, host, sh},
    pausing::resume,
};

/// For a heartbeat, each 30 s, and two pauses.
const PATIENCE: Duration = Duration::from_secs(180);

#[test]
fn a_host_that_is_refused_pauses_what_runs_once() {
    let host = host();
    let ids = create_at_once::<2>(&host);
    for id in ids {
        sh(&host, id, "cat /proc/sys/kernel/random/uuid >/dev/shm/kept");
    }
    let kept = ids.map(|id| sh(&host, id, "cat /dev/shm/kept"));
    let calls = &host.authority.calls;
    let refuse = |whether| {
        calls.refuse_refreshes.store(whether, Ordering::SeqCst);
        calls.refuse_heartbeats.store(whether, Ordering::SeqCst);
    };
    refuse(true);
    let begun = Instant::now();
    for id in ids {
        loop {
            let sandbox = get(&host, id).expect("it is there");
            if sandbox.state.as_known() == Some(SandboxState::Paused) {
                let reason = sandbox.pause_reason.as_known();
                assert_eq!(reason, Some(PauseReason::HostDisconnected));
                break;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "{id} is not paused\n{}",
                host.log()
            );
            std::thread::sleep(Duration::from_millis(500));
        }
    }
    // Who comes all the same is served, and not paused again by the next refusals.
    resume(&host, ids[0]);
    let before = calls.heartbeats.load(Ordering::SeqCst);
    assert_eq!(sh(&host, ids[0], "cat /dev/shm/kept"), kept[0]);
    refuse(false);
    while calls.heartbeats.load(Ordering::SeqCst) == before {
        assert!(begun.elapsed() < PATIENCE, "no heartbeat\n{}", host.log());
        std::thread::sleep(Duration::from_millis(500));
    }
    resume(&host, ids[1]);
    for (id, kept) in ids.into_iter().zip(kept) {
        assert_eq!(sh(&host, id, "cat /dev/shm/kept"), kept);
        destroy(&host, id);
    }
}
