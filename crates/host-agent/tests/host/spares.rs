//! Sandboxes that are restored ahead: nobody's until a creation takes one, and then as good as any other.

use std::collections::HashSet;

use wrenn_ids::SandboxId;
use wrenn_rpc::hostagent::{CreateSandboxRequest, NetworkPolicy, SandboxState};
use wrenn_testkit::virtual_host_agent::AgentHost;

use crate::{
    calls::{pause, resume, state},
    fixture::{await_metric, create, create_request, destroy, exec, get, own, sh, vmm},
    isolation::{PUBLIC, close_the_world, open_the_world, reached},
};

const SPARES: &str = "wrenn_agent_spares";
const USED: &str = "wrenn_agent_spares_used_total";
const FAILED: &str = "wrenn_agent_spares_failed_total";

/// The points of `spare.rs` when a creation takes one, in order.
const STEPS: [&str; 5] = ["record", "slot", "wake", "init", "running"];
/// Those of its making.
const MADE: [&str; 4] = ["record", "disk", "load", "init"];

#[test]
fn what_is_restored_ahead_becomes_somebodys_whole_or_not_at_all() {
    let host = own(&[("WRENN_SPARES", "2")]);
    // The first of a kind that is restored makes it the kind of which there are spares.
    destroy(&host, create(&host));
    full(&host);
    let before = host.census().expect("count");
    they_are_unlike_each_other(&host);
    its_policy_is_its_own(&host);
    it_sleeps_and_wakes(&host);
    one_that_died_is_replaced(&host);
    settled(&host, &before, "after use");
    one_that_fails_leaves_nothing(&host, &before);
    the_next_agent_has_the_sandbox_and_no_spare(&host, &before);
    an_agent_that_dies_at_a_step_leaves_nothing(&host, &before);
}

fn full(host: &AgentHost) {
    await_metric(host, SPARES, 2.0);
}

fn used(host: &AgentHost) -> f64 {
    host.metric(USED).expect("it is shown")
}

/// Nothing is left of what was done since `before`, and the spares are there again.
fn settled(host: &AgentHost, before: &str, when: &str) {
    full(host);
    host.await_census(before).expect(when);
}

fn they_are_unlike_each_other(host: &AgentHost) {
    let start = used(host);
    let ids = [SandboxId::new(), SandboxId::new()];
    let created = ids.map(|id| {
        let mut request = create_request(host, id);
        request.envs.insert("OWN".to_owned(), id.to_string());
        host.client.create_sandbox(request)
    });
    for created in host.block_on(futures::future::join_all(created)) {
        created.expect("created");
    }
    assert_eq!(used(host), start + 2.0);
    let mut seen = HashSet::new();
    for id in ids {
        let told = sh(
            host,
            id,
            "head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \\n'; echo; \
             cat /proc/sys/kernel/random/uuid /etc/machine-id; hostname; echo $OWN; env | grep -c OWN; \
             date +%s; ls -A /root | grep -c written; true",
        );
        let lines: Vec<_> = told.lines().collect();
        assert_eq!(lines[3..6], [&id.to_string(), &id.to_string(), "1"]);
        let clock: i64 = lines[6].parse().expect("seconds");
        let now = jiff::Timestamp::now().as_second();
        assert!((now - clock).abs() < 60, "{clock} at {now}");
        assert_eq!(lines[7], "0", "another's file");
        for mark in &lines[..4] {
            assert!(seen.insert((*mark).to_owned()), "{mark} is not its own");
        }
        sh(host, id, "echo written > /root/written && sync");
    }
    // The slot that it had as a spare is whose address it has now.
    let addresses: HashSet<_> = ids.map(|id| get(host, id).expect("it runs").host_ip).into();
    assert_eq!(addresses.len(), 2);
    for id in ids {
        destroy(host, id);
    }
    full(host);
}

fn its_policy_is_its_own(host: &AgentHost) {
    open_the_world(host);
    let public = format!("{PUBLIC}:22");
    let start = used(host);
    let ids = [false, true].map(|open| {
        let id = SandboxId::new();
        let request = CreateSandboxRequest {
            network: NetworkPolicy {
                allow_internet: open,
                ..NetworkPolicy::default()
            }
            .into(),
            ..create_request(host, id)
        };
        let created = host.block_on(host.client.create_sandbox(request));
        created.expect("created");
        id
    });
    assert_eq!(used(host), start + 2.0);
    let found = ids.map(|id| reached(host, id, std::slice::from_ref(&public)).len());
    assert_eq!(found, [0, 1], "closed and open");
    for id in ids {
        destroy(host, id);
    }
    full(host);
    close_the_world(host);
}

fn it_sleeps_and_wakes(host: &AgentHost) {
    let start = used(host);
    let id = create(host);
    assert_eq!(used(host), start + 1.0);
    sh(
        host,
        id,
        "echo disk > /root/kept; echo memory > /dev/shm/kept",
    );
    for _ in 0..2 {
        host.block_on(pause(host, id)).expect("it is paused");
        let told = host.block_on(resume(host, id)).expect("it is resumed");
        assert_eq!(state(&told), SandboxState::Running);
        let kept = sh(host, id, "cat /root/kept /dev/shm/kept");
        assert_eq!(kept, "disk\nmemory\n");
    }
    destroy(host, id);
    full(host);
}

fn one_that_died_is_replaced(host: &AgentHost) {
    let spares = "cd /var/lib/wrenn/sandboxes && grep -l '\"role\": \"spare\"' */manifest.json";
    let listed = host.shell(spares).expect("they are there");
    for name in listed.lines().filter_map(|line| line.split('/').next()) {
        let (_, process) = vmm(host, name.parse().expect("an id"));
        host.shell(&format!("kill -9 {process}"))
            .expect("it is killed");
    }
    let id = create(host);
    assert_eq!(sh(host, id, "hostname").trim(), id.to_string());
    destroy(host, id);
    full(host);
    let now = host.shell(spares).expect("there are others");
    assert!(listed.lines().all(|old| !now.contains(old)), "{now}");
}

fn one_that_fails_leaves_nothing(host: &AgentHost, before: &str) {
    for (step, action) in sample(&STEPS, &["record", "wake", "running"])
        .into_iter()
        .zip(["fail", "fail-twice"].iter().cycle())
    {
        host.arm(&format!("create.after.{step}={action}"))
            .expect("arm");
        let request = create_request(host, SandboxId::new());
        let refused = host.block_on(host.client.create_sandbox(request));
        refused.expect_err(step);
        host.disarm().expect("disarm");
        settled(host, before, step);
    }
    for step in sample(&MADE, &["load"]) {
        let failures = host.metric(FAILED).expect("it is shown");
        host.arm(&format!("spare.after.{step}=fail")).expect("arm");
        let id = create(host);
        await_metric(host, FAILED, failures + 1.0);
        destroy(host, id);
        host.disarm().expect("disarm");
        // The next creation wants them again.
        destroy(host, create(host));
        settled(host, before, step);
    }
}

fn sample<'a>(all: &[&'a str], short: &[&'a str]) -> Vec<&'a str> {
    let whole = std::env::var_os("WRENN_SOAK").is_some();
    if whole { all } else { short }.to_vec()
}

fn the_next_agent_has_the_sandbox_and_no_spare(host: &AgentHost, before: &str) {
    let id = create(host);
    sh(host, id, "echo nonce > /dev/shm/nonce");
    full(host);
    host.kill_agent().expect("it starts again");
    assert_eq!(sh(host, id, "cat /dev/shm/nonce"), "nonce\n");
    let left = host.shell("ls /var/lib/wrenn/sandboxes").expect("list");
    assert_eq!(left.trim(), id.to_string());
    host.block_on(pause(host, id)).expect("it is paused");
    host.block_on(resume(host, id)).expect("it is resumed");
    assert_eq!(sh(host, id, "cat /dev/shm/nonce"), "nonce\n");
    destroy(host, id);
    destroy(host, create(host));
    settled(host, before, "after the agent's death");
}

fn an_agent_that_dies_at_a_step_leaves_nothing(host: &AgentHost, before: &str) {
    for step in sample(&STEPS, &["record"]) {
        host.arm(&format!("create.after.{step}=abort"))
            .expect("arm");
        let id = SandboxId::new();
        let request = create_request(host, id);
        let lost = host.block_on(host.client.create_sandbox(request.clone()));
        lost.expect_err("the connection breaks");
        host.disarm().expect("disarm");
        host.await_agent().expect("it starts again");
        let created = host.block_on(host.client.create_sandbox(request));
        created.expect("the operation may be tried again");
        let found = exec(host, id, &["hostname"]).expect("it runs");
        assert_eq!(found.stdout, format!("{id}\n").into_bytes(), "{step}");
        destroy(host, id);
        destroy(host, create(host));
        settled(host, before, step);
    }
}
