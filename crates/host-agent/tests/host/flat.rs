//! Flat copies: a sandbox that has rested is resumed without a page server, and a copy is no more than a hint.

use crate::{
    fixture::{await_metric, create, destroy, flip, host, sh},
    pausing::{try_pause, try_resume},
};

const MADE: &str = "wrenn_agent_flat_copies_total";
const USED: &str = "wrenn_agent_flat_copies_used_total";

#[test]
fn what_has_rested_comes_back_without_a_page_server() {
    let host = host();
    let before = host.census().expect("count");
    let metric = |name: &str| host.metric(name).expect("it is shown");
    let servers = || {
        host.shell("pgrep -fc '[p]age-server' || true")
            .expect("count")
            .trim()
            .to_owned()
    };
    let id = create(&host);
    let mut expected = String::new();
    let mut write = |line: &str| {
        sh(&host, id, &format!("echo {line} >> /dev/shm/hot"));
        expected += &format!("{line}\n");
        expected.clone()
    };
    let pause = || {
        let made = metric(MADE);
        try_pause(&host, id).expect("it is paused");
        made
    };
    let resume = |expected: &str| {
        try_resume(&host, id).expect("it is resumed");
        assert_eq!(sh(&host, id, "cat /dev/shm/hot"), expected);
    };
    // Whatever it was created from, after two its memory lies in several layers.
    let holds = write("first");
    pause();
    resume(&holds);
    let holds = write("second");

    let (made, used) = (pause(), metric(USED));
    await_metric(&host, MADE, made + 1.0);
    resume(&holds);
    assert_eq!((metric(USED), &*servers()), (used + 1.0, "0"));
    let left = host.shell("ls /var/lib/wrenn/flat").expect("list");
    assert_eq!(left, "", "who runs needs none");

    // What is written after lies on the layers, not on the copy.
    let holds = write("third");
    pause();
    resume(&holds);
    assert_eq!((metric(USED), &*servers()), (used + 1.0, "1"));

    // A damaged copy is not used.
    let made = pause();
    await_metric(&host, MADE, made + 1.0);
    let copy = host.shell("ls /var/lib/wrenn/flat/*").expect("list");
    flip(&host, copy.trim());
    resume(&holds);
    assert_eq!((metric(USED), &*servers()), (used + 1.0, "1"));

    // Another agent knows none.
    let made = pause();
    await_metric(&host, MADE, made + 1.0);
    host.kill_agent().expect("it starts again");
    let left = host.shell("ls /var/lib/wrenn/flat").expect("list");
    assert_eq!(left, "");
    resume(&holds);

    let made = pause();
    await_metric(&host, MADE, made + 1.0);
    destroy(&host, id);
    let left = host.shell("ls /var/lib/wrenn/flat").expect("list");
    assert_eq!(left, "");
    host.await_census(&before).expect("nothing is left");
}
