//! Room on the disk: what sandboxes and templates took comes back, in whatever order they go.

use wrenn_ids::{SandboxId, TemplateId};
use wrenn_testkit::virtual_host_agent::AgentHost;

use crate::{
    calls::{
        create_of, delete_template, destroy, fork, fork_request, keep, keep_request, pause, resume,
    },
    contents::fill,
    fixture::{create, host, sh},
    random::Random,
};

/// Bytes that what is remembered of the dead may take.
const REMEMBERED: u64 = 512 << 10;

/// Bytes that are taken on the file system, deleted files that are still open among them.
fn taken(host: &AgentHost) -> u64 {
    let told = host.shell("sync; sync; stat -f -c '%b %f %S' /var/lib/wrenn");
    let told = told.expect("look");
    let mut numbers = told
        .split_whitespace()
        .map(|word| word.parse::<u64>().expect("a number"));
    let mut next = || numbers.next().expect("three numbers");
    let (all, free, block) = (next(), next(), next());
    (all - free) * block
}

enum Thing {
    Sandbox(SandboxId),
    Template(TemplateId),
}

#[test]
fn what_was_taken_comes_back_in_any_order() {
    let host = host();
    // What a host keeps after its first sandbox is no sandbox's.
    let first = create(&host);
    host.block_on(destroy(&host, first)).expect("destroy");
    let before = host.census().expect("count");
    let empty = taken(&host);

    let whole = std::env::var_os("WRENN_SOAK").is_some();
    let children = if whole { 5 } else { 2 };
    let id = create(&host);
    let (running, paused) = (TemplateId::new(), TemplateId::new());
    let mut things = vec![
        Thing::Sandbox(id),
        Thing::Template(running),
        Thing::Template(paused),
    ];
    let born: Vec<_> = (0..children).map(|_| SandboxId::new()).collect();
    let made = SandboxId::new();
    host.block_on(async {
        fill(&host, id, "one").await.expect("fill");
        keep(&host, keep_request(&host, id, running))
            .await
            .expect("keep");
        pause(&host, id).await.expect("pause");
        keep(&host, keep_request(&host, id, paused))
            .await
            .expect("keep");
        fork(&host, fork_request(&host, id, &born))
            .await
            .expect("fork");
        create_of(&host, made, running).await.expect("create");
        resume(&host, id).await.expect("resume");
    });
    for each in born.iter().chain([&made, &id]) {
        sh(
            &host,
            *each,
            "head -c 4194304 /dev/urandom > /root/own; sync",
        );
    }
    host.block_on(pause(&host, born[0])).expect("pause");
    things.extend(born.into_iter().chain([made]).map(Thing::Sandbox));
    let full = taken(&host);
    assert!(full > empty + (32 << 20), "{empty} {full}");

    Random::seeded("WRENN_ROOM_SEED").shuffle(&mut things);
    let mut last = full;
    for thing in things {
        let (name, gone) = match thing {
            Thing::Sandbox(id) => (id.to_string(), host.block_on(destroy(&host, id))),
            Thing::Template(id) => (id.to_string(), host.block_on(delete_template(&host, id))),
        };
        gone.expect(&name);
        let now = taken(&host);
        tracing::warn!("{name}: {} KiB came back", last.saturating_sub(now) >> 10);
        last = now;
    }
    host.await_census(&before).expect("nothing is left");
    let left = taken(&host);
    tracing::warn!(
        "{} KiB before, {} KiB full, {} KiB after",
        empty >> 10,
        full >> 10,
        left >> 10
    );
    assert!(left <= empty + REMEMBERED, "{empty} {left}");
}
