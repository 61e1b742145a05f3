//! Warm snapshots: the first creation of a kind boots, later ones are restores, and whatever happens to a
//! snapshot its kind can be created.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use wrenn_ids::SandboxId;
use wrenn_testkit::virtual_host_agent::AgentHost;

use crate::{
    fixture::{WARM_BUILDS, await_metric, create, create_request, destroy, flip, host, sh, warm},
    random::Random,
};

/// Creates a sandbox of so much memory: a kind of its own.
fn create_with(host: &AgentHost, memory_mib: u32) -> SandboxId {
    let id = SandboxId::new();
    let mut request = create_request(host, id);
    request.memory_mib = memory_mib;
    request.envs.insert("OWN".to_owned(), id.to_string());
    if let Err(error) = host.block_on(host.client.create_sandbox(request)) {
        panic!("create: {error}\n{}", host.log());
    }
    id
}

/// Hits, misses and builds until now.
fn counters(host: &AgentHost) -> [u32; 3] {
    ["hits", "misses", "builds"].map(|name| {
        let name = format!("wrenn_agent_warm_{name}_total");
        host.metric(&name).expect("it is shown") as u32
    })
}

/// All of them; in a short run one, by chance.
fn sampled(all: &[&'static str]) -> Vec<&'static str> {
    let mut chosen = all.to_vec();
    if std::env::var_os("WRENN_SOAK").is_none() {
        Random::seeded("WRENN_WARM_SEED").shuffle(&mut chosen);
        chosen.truncate(1);
    }
    chosen
}

#[test]
fn the_first_of_a_kind_boots_and_the_others_are_restored_and_unlike_each_other() {
    let host = host();
    let before = host.census().expect("count");
    let (start, known) = (counters(&host), warm(&host));
    let booted = create_with(&host, 258);
    await_metric(&host, WARM_BUILDS, f64::from(start[2] + 1));
    assert_eq!(warm(&host).len(), known.len() + 1);
    let restored = [create_with(&host, 258), create_with(&host, 258)];
    let now = counters(&host);
    let more: Vec<_> = start.iter().zip(now).map(|(old, new)| new - old).collect();
    assert_eq!(more, [2, 1, 1], "hits, misses and builds");

    let mut seen = HashSet::new();
    for id in [booted, restored[0], restored[1]] {
        let told = sh(
            &host,
            id,
            "head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \\n'; echo; \
             cat /proc/sys/kernel/random/uuid /etc/machine-id; hostname; echo $OWN; env | grep -c OWN",
        );
        let lines: Vec<_> = told.lines().collect();
        assert_eq!(lines[3..], [&id.to_string(), &id.to_string(), "1"]);
        for mark in &lines[..4] {
            assert!(seen.insert((*mark).to_owned()), "{mark} is not its own");
        }
        sh(&host, id, "echo written > /root/own && sync");
    }
    // Nothing of what one writes is in the next.
    let late = create_with(&host, 258);
    assert_eq!(sh(&host, late, "ls /root/own 2>/dev/null; true"), "");
    for id in [booted, restored[0], restored[1], late] {
        destroy(&host, id);
    }
    host.await_census(&before).expect("nothing is left");
}

#[test]
fn a_damaged_snapshot_is_replaced_and_nobody_notices() {
    let host = host();
    let before = host.census().expect("count");
    let builds = counters(&host)[2];
    destroy(&host, create_with(&host, 260));
    await_metric(&host, WARM_BUILDS, f64::from(builds + 1));
    let known = warm(&host);
    let newest = "cd /var/lib/wrenn/warm && ls -dt */ | head -1";
    let newest = host.shell(newest).expect("it is there");
    let directory = format!("/var/lib/wrenn/warm/{}gen-1", newest.trim());
    for damaged in sampled(&["vmstate", "layer"]) {
        let builds = counters(&host)[2];
        // A snapshot names its layer at random.
        let file = host.shell(&format!("ls {directory}/*{damaged}"));
        flip(&host, file.expect("it is there").trim());
        let misses = counters(&host)[1];
        let id = create_with(&host, 260);
        assert_eq!(sh(&host, id, "hostname").trim(), id.to_string());
        assert_eq!(counters(&host)[1], misses + 1, "{damaged}: it is booted");
        destroy(&host, id);
        await_metric(&host, WARM_BUILDS, f64::from(builds + 1));
        host.await_census(&before).expect("nothing is left");
        assert_eq!(warm(&host), known);
    }
}

#[test]
fn an_agent_that_dies_while_a_snapshot_is_made_leaves_nothing_of_it() {
    let host = host();
    let before = host.census().expect("count");
    let known = warm(&host);
    let points = [
        "warm.after.record",
        "warm.after.launch",
        "warm.after.running",
        "settle.after.record",
        "settle.after.snapshot",
        "settle.after.files",
        "warm.after.settled",
    ];
    for point in sampled(&points) {
        let agent = host.shell("cat /run/agent.pid").expect("it runs");
        host.arm(&format!("{point}=abort")).expect("arm");
        let id = create_with(&host, 262);
        let until = Instant::now() + Duration::from_secs(180);
        while host.shell("cat /run/agent.pid").expect("look") == agent {
            assert!(Instant::now() < until, "{point} is not reached");
            std::thread::sleep(Duration::from_millis(200));
        }
        host.disarm().expect("disarm");
        host.await_agent().expect("it starts again");
        assert_eq!(sh(&host, id, "hostname").trim(), id.to_string());
        destroy(&host, id);
        host.await_census(&before).expect(point);
        assert_eq!(warm(&host), known, "{point}");
        let parts = host.shell("ls /var/lib/wrenn/warm").expect("list");
        assert_eq!(parts.lines().count(), known.len(), "{point}: {parts}");
    }
}

#[test]
fn what_no_creation_can_ask_for_is_given_up() {
    let host = host();
    let known = warm(&host);
    // As another agent, with other images, has left them; and a part.
    host.shell(
        "cd /var/lib/wrenn/warm && cp -a $(ls -d */ | head -1) 0000 && mkdir -p 0001/gen-1 && \
         touch 0001/gen-1/vmstate",
    )
    .expect("copy");
    host.kill_agent().expect("it starts again");
    assert_eq!(warm(&host), known);
    let left = host.shell("ls /var/lib/wrenn/warm").expect("list");
    assert_eq!(left.lines().count(), known.len(), "{left}");
    let hits = counters(&host)[0];
    destroy(&host, create(&host));
    assert_eq!(counters(&host)[0], hits + 1, "the others are used on");
}
