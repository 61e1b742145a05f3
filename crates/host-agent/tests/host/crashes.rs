//! Deaths: of the agent while a VM runs, and of a VM.

use std::time::{Duration, Instant};

use wrenn_ids::SandboxId;
use wrenn_rpc::{
    connectrpc::ErrorCode,
    hostagent::{
        SyncRequest, SyncResponse, WatchEventsRequest, WatchEventsResponse, host_event::Kind,
    },
};
use wrenn_testkit::virtual_host_agent::AgentHost;

use crate::fixture::{create, create_at_once, destroy, get, host, sh, vmm};

fn tells_of(report: &SyncResponse, id: SandboxId) -> bool {
    let id = id.to_string();
    report.events.iter().any(|event| event.sandbox_id == id)
}

fn sync(host: &AgentHost, boot_id: &str, seq: u64) -> SyncResponse {
    let request = SyncRequest {
        acked_boot_id: boot_id.to_owned(),
        acked_seq: seq,
        ..Default::default()
    };
    host.block_on(host.client.sync(request))
        .expect("it syncs")
        .into_owned()
}

#[test]
fn a_killed_agent_finds_its_sandboxes_again() {
    let host = host();
    let before = host.census().expect("count");
    let id = create(&host);
    sh(
        &host,
        id,
        "echo kept > /tmp/kept; sleep 5000 >/dev/null 2>&1 &",
    );
    let running = get(&host, id).expect("it runs");

    host.kill_agent().expect("it starts again");
    let found = get(&host, id).expect("it is found");
    assert_eq!(found.started_at_ms, running.started_at_ms);
    assert_eq!(found.host_ip, running.host_ip);
    assert_eq!(sh(&host, id, "cat /tmp/kept; pgrep -c sleep"), "kept\n1\n");

    host.shell("kill -TERM $(cat /run/agent.pid)")
        .expect("it is told to stop");
    host.await_agent().expect("it starts again");
    assert_eq!(sh(&host, id, "cat /tmp/kept"), "kept\n");

    destroy(&host, id);
    host.await_census(&before).expect("nothing is left");
}

#[test]
fn a_vm_that_dies_is_an_event_and_leaves_nothing() {
    let host = host();
    let before = host.census().expect("count");
    let known = sync(&host, "", 0);
    let [id, other] = create_at_once(&host);
    let watch = WatchEventsRequest {
        acked_boot_id: known.boot_id.clone(),
        acked_seq: known.seq,
        ..WatchEventsRequest::default()
    };
    host.block_on(async {
        let mut events = host
            .client
            .watch_events(watch)
            .await
            .expect("it is watched");
        let first = events
            .message::<WatchEventsResponse>()
            .await
            .expect("it goes on");
        assert!(
            first
                .expect("a greeting")
                .to_owned_message()
                .event
                .is_unset()
        );
        host.shell(&format!("kill -9 {}", vmm(&host, id).1))
            .expect("it is killed");
        let told = events
            .message::<WatchEventsResponse>()
            .await
            .expect("it goes on");
        let event = told
            .expect("an event")
            .to_owned_message()
            .event
            .into_option()
            .expect("an event");
        assert_eq!((event.sandbox_id, event.generation), (id.to_string(), 1));
        assert!(matches!(event.kind, Some(Kind::Exited(_))));
    });
    let until = Instant::now() + Duration::from_secs(60);
    while get(&host, id).is_ok() {
        assert!(Instant::now() < until, "it is not released");
    }
    assert_eq!(
        get(&host, id).expect_err("it is gone").code,
        ErrorCode::NotFound
    );
    assert_eq!(sh(&host, other, "echo alive"), "alive\n");
    destroy(&host, other);
    host.await_census(&before).expect("nothing is left");

    let report = sync(&host, "", 0);
    assert!(report.sandboxes.is_empty() && tells_of(&report, id) && !tells_of(&report, other));
    host.kill_agent().expect("it starts again");
    let report = sync(&host, "", 0);
    assert!(tells_of(&report, id), "events are durable");
    let acknowledged = sync(&host, &report.boot_id, report.seq);
    assert!(acknowledged.events.is_empty());
}

#[test]
fn a_vm_that_dies_while_no_agent_runs_is_an_event_too() {
    let host = host();
    let before = host.census().expect("count");
    let id = create(&host);
    host.shell("kill -STOP 1; kill -9 $(cat /run/agent.pid); pkill -9 firecracker; kill -CONT 1")
        .expect("both are killed");
    host.await_agent().expect("it starts again");
    let report = sync(&host, "", 0);
    assert!(report.sandboxes.is_empty() && tells_of(&report, id));
    host.await_census(&before).expect("nothing is left");
}
