//! What a guest touched once is there before it asks the next time.

use std::{fs, path::Path};

use wrenn_memory::page_server::{State, Stats};

use crate::{guest::Guest, random::Random, server::Server, snapshot::Snapshot};

const PAGES: u64 = 20_000;

/// Has a guest read pages and be idle, and what it used recorded.
pub(crate) fn record(
    snapshot: &Snapshot,
    read: impl IntoIterator<Item = u64>,
    record: &Path,
) -> Stats {
    let server = Server::start_with(snapshot, None, Some(record));
    let mut guest = Guest::connected(snapshot.pages(), &server.socket());
    for page in read {
        assert_eq!(guest.read(page, 5), snapshot.word(page, 5));
    }
    server.wait_for_stats("record", |stats| stats.recorded_pages > 0);
    guest.end();
    let stats = server.ended_well();
    assert_eq!(stats.recorded_pages, stats.copied_pages + stats.zero_pages);
    stats
}

/// Has a guest read pages of `snapshot` once those of `prefetch` are there.
fn read_after(snapshot: &Snapshot, prefetch: Option<&Path>, pages: &[u64]) -> Stats {
    let server = Server::start_with(snapshot, prefetch, None);
    let mut guest = Guest::connected(snapshot.pages(), &server.socket());
    server.wait_for_stats("end of the prefetch", |stats| stats.state == State::Serving);
    for &page in pages {
        assert_eq!(guest.read(page, 9), snapshot.word(page, 9));
    }
    guest.end();
    server.ended_well()
}

fn some_pages() -> Vec<u64> {
    Random::new(3).order(PAGES).into_iter().take(300).collect()
}

#[test]
fn pages_that_were_recorded_need_no_fault() {
    let snapshot = Snapshot::new(PAGES, 3);
    let pages = some_pages();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("record");
    let first = record(&snapshot, pages.iter().copied(), &path);
    assert!(first.faults > 100, "{first:?}");
    let second = read_after(&snapshot, Some(&path), &pages);
    assert_eq!(second.faults, 0, "{second:?}");
    assert_eq!(second.prefetched_pages, first.recorded_pages);
    assert_eq!(
        (second.copied_pages, second.zero_pages),
        (first.copied_pages, first.zero_pages)
    );
    // Without it they do.
    let third = read_after(&snapshot, None, &pages);
    assert_eq!((third.faults, third.prefetched_pages), (first.faults, 0));
}

#[test]
fn what_was_prefetched_is_recorded_again() {
    let snapshot = Snapshot::new(PAGES, 3);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("record");
    let again = directory.path().join("again");
    record(&snapshot, some_pages(), &path);
    let server = Server::start_with(&snapshot, Some(&path), Some(&again));
    let mut guest = Guest::connected(PAGES, &server.socket());
    server.wait_for_stats("record", |stats| stats.recorded_pages > 0);
    guest.end();
    assert_eq!(server.ended_well().faults, 0);
    assert_eq!(fs::read(again).unwrap(), fs::read(path).unwrap());
}

#[test]
fn a_damaged_working_set_is_ignored() {
    let snapshot = Snapshot::new(PAGES, 3);
    let pages = some_pages();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("record");
    record(&snapshot, pages.iter().copied(), &path);
    let whole = fs::read(&path).unwrap();
    let check = |snapshot: &Snapshot, pages: &[u64]| {
        let stats = read_after(snapshot, Some(&path), pages);
        assert_eq!(stats.prefetched_pages, 0);
        assert!(stats.faults > 0);
    };
    // Of another guest, empty, half, with another bit, missing.
    check(&Snapshot::new(PAGES / 2, 3), &[3, 700]);
    fs::write(&path, []).unwrap();
    check(&snapshot, &pages);
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    check(&snapshot, &pages);
    let mut changed = whole.clone();
    changed[40] ^= 1;
    fs::write(&path, changed).unwrap();
    check(&snapshot, &pages);
    fs::remove_file(&path).unwrap();
    check(&snapshot, &pages);
}
