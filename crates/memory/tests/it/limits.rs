//! What the server may do and how much it may take.

use std::fs;

use crate::{
    guest::Guest,
    server::Server,
    snapshot::{Snapshot, WORDS},
};

/// The number after `name` in a file of the server's process.
fn number(server: &Server, file: &str, name: &str) -> u64 {
    let path = format!("/proc/{}/{file}", server.pid());
    let text = fs::read_to_string(path).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.unwrap().split_whitespace().next();
    number.unwrap().parse().unwrap()
}

#[test]
fn a_server_is_confined_when_it_has_a_vm() {
    let snapshot = Snapshot::new(600, 1);
    let server = Server::start(&snapshot);
    assert_eq!(number(&server, "status", "Seccomp:"), 0);
    let guest = Guest::connected(600, &server.socket());
    guest.read(0, 0);
    assert_eq!(number(&server, "status", "Seccomp:"), 2, "filtered");
    assert_eq!(number(&server, "status", "NoNewPrivs:"), 1);
    assert_eq!(number(&server, "status", "Threads:"), 1);
}

/// The worst case that is promised: no two pages lie together, all are touched, and all are recorded.
#[test]
fn a_server_keeps_within_its_memory() {
    // 4 MiB are promised; the program that it is a part of brings up to 2 MiB of its own.
    const BOUND: u64 = 2 << 20;
    const PAGES: u64 = 1 << 16;
    let snapshot = Snapshot::in_turn(PAGES);
    assert_eq!(snapshot.mapping.runs().len() as u64, PAGES);
    let directory = tempfile::tempdir().unwrap();
    let record = directory.path().join("record");
    let server = Server::start_with(&snapshot, None, Some(&record));
    let mut guest = Guest::connected(PAGES, &server.socket());
    for page in 0..PAGES {
        assert_eq!(guest.read(page, page % WORDS), 0);
    }
    server.wait_for_stats("record", |stats| stats.recorded_pages == PAGES);
    let bytes = number(&server, "smaps_rollup", "Private_Dirty:") * 1024;
    assert!(bytes <= BOUND, "{bytes} private bytes");
    guest.end();
    assert_eq!(server.ended_well().copied_pages, PAGES);
}
