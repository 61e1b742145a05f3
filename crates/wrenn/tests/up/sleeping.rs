//! A sandbox of a real platform sleeps and wakes: what it had in memory and on its disk is there, and what ran goes on.

use crate::user::{User, eventually};

/// Counts in its own memory, and tells on request: only one that never ended knows the number.
const COUNTER: &str =
    "n=0; trap 'echo $n > /root/count' USR1; while sleep 0.1; do n=$((n+1)); done";

#[test]
fn a_sandbox_goes_on_where_it_was_paused() {
    let user = User::new();
    let up = ["up", "--memory", "4G", "--no-first-run", "--listen"];
    user.run(&[&up[..], &[&user.listen]].concat(), 0);
    let id = user.run(&["-q", "create"], 0).trim().to_owned();
    let exec = |words: &[&str]| user.run(&[&["exec", &id, "--"][..], words].concat(), 0);
    exec(&[
        "sh",
        "-c",
        "echo kept > /root/file; echo kept > /dev/shm/file",
    ]);
    let started = format!("({COUNTER}) > /dev/null 2>&1 & echo $!");
    let pid = exec(&["setsid", "sh", "-c", &started]).trim().to_owned();
    let count = || {
        exec(&["rm", "-f", "/root/count"]);
        exec(&["kill", "-USR1", &pid]);
        let mut said = String::new();
        eventually("the counter tells", || {
            said = exec(&["sh", "-c", "cat /root/count 2>/dev/null; true"]);
            !said.is_empty()
        });
        said.trim().parse::<u64>().unwrap()
    };
    let mut last = count();

    // By order, and by use.
    for wake in [&["resume", &id][..], &["exec", &id, "--", "true"]] {
        assert_eq!(user.run(&["pause", &id], 0), format!("{id}  paused\n"));
        let paused = user.run(&["ls", "-q", "--status", "paused"], 0);
        assert_eq!(paused, format!("{id}\n"));
        user.run(wake, 0);
        let running = user.run(&["ls", "-q", "--status", "running"], 0);
        assert_eq!(running, format!("{id}\n"));
        for file in ["/root/file", "/dev/shm/file"] {
            assert_eq!(exec(&["cat", file]), "kept\n");
        }
        let now = count();
        assert!(now > last, "the counter went on: {last} {now}");
        last = now;
    }
    user.run(&["rm", &id], 0);

    let id = user
        .run(&["-q", "create", "--no-auto-resume"], 0)
        .trim()
        .to_owned();
    user.run(&["pause", &id], 0);
    let refused = user.try_run(&["exec", &id, "--", "true"]);
    refused.failed(125, &[&format!("wrenn resume {id}")]);
    user.run(&["resume", &id], 0);
    user.run(&["exec", &id, "--", "true"], 0);
    user.run(&["down", "--destroy", "--purge", "--yes"], 0);
    user.assert_nothing_runs();
}
