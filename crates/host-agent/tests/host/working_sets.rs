//! Working sets: recorded after a restore, brought ahead of the next, and no more than a hint.

use crate::{
    fixture::{SERVED, await_metric, create, destroy, flip, host, sh},
    pausing::{try_pause, try_resume},
};

const ON: &str = "wrenn_agent_page_servers_total{prefetch=\"on\"}";
const PREFETCHED: &str = "wrenn_agent_pages_prefetched_total";
const RECORDED: &str = "wrenn_agent_working_sets_recorded_total";

#[test]
fn what_was_used_after_a_restore_is_brought_ahead_of_the_next() {
    let host = host();
    let before = host.census().expect("count");
    let metric = |name: &str| host.metric(name).expect("it is shown");
    host.arm(SERVED).expect("arm");
    let id = create(&host);
    sh(&host, id, "echo hot > /dev/shm/hot");
    let cycle = || {
        try_pause(&host, id).expect("it is paused");
        try_resume(&host, id).expect("it is resumed");
        assert_eq!(sh(&host, id, "cat /dev/shm/hot"), "hot\n");
    };
    // Whatever it was created from, after two its memory lies in several layers.
    cycle();
    let recorded = metric(RECORDED);
    cycle();
    await_metric(&host, RECORDED, recorded + 1.0);
    assert!(metric("wrenn_agent_working_set_pages") > 0.0);
    let (on, prefetched) = (metric(ON), metric(PREFETCHED));
    cycle();
    assert_eq!(metric(ON), on + 1.0);
    await_metric(&host, PREFETCHED, prefetched + 1.0);

    // A damaged one, and none that can be recorded, cost time only.
    try_pause(&host, id).expect("it is paused");
    let directory = format!("/var/lib/wrenn/sandboxes/{id}");
    flip(&host, &format!("{directory}/working-set"));
    let spoil = format!("cd {directory} && rm -rf working-set.new && mkdir -p working-set.new/in");
    host.shell(&spoil).expect("spoil");
    try_resume(&host, id).expect("it is resumed");
    assert_eq!(sh(&host, id, "cat /dev/shm/hot"), "hot\n");
    destroy(&host, id);
    host.disarm().expect("disarm");
    host.await_census(&before).expect("nothing is left");
}
