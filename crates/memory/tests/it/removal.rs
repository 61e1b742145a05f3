//! What the guest gave back is zero, whatever is going on beside it.

use std::{path::Path, thread};

use crate::{
    guest::Guest,
    random::Random,
    server::Server,
    snapshot::{Snapshot, WORDS},
    working_set,
};

const THREADS: u64 = 4;
/// Pages of a group, which is one thread's: several groups lie within what one fault brings.
const GROUP: u64 = 10;

/// What a page holds.
#[derive(Clone, Copy, PartialEq)]
enum Now {
    Snapshot,
    Zero,
    /// Zeros but for one word.
    Written(u64),
}

fn expect(guest: &Guest, snapshot: &Snapshot, page: u64, word: u64, now: Now) {
    let expected = match now {
        Now::Snapshot => snapshot.word(page, word),
        Now::Written(value) if word == page % WORDS => value,
        Now::Zero | Now::Written(_) => 0,
    };
    assert_eq!(guest.read(page, word), expected, "page {page}, word {word}");
}

/// One thread's share of the guest: reads, writes and gives back its own pages and finds what it left there.
fn live(guest: &Guest, snapshot: &Snapshot, number: u64) {
    let mut random = Random::new(number + 99);
    let groups = snapshot.pages() / GROUP;
    let own: Vec<u64> = (0..groups)
        .filter(|group| group % THREADS == number)
        .collect();
    let mut now = vec![Now::Snapshot; snapshot.pages() as usize];
    for _ in 0..own.len() * 6 {
        let first = own[random.below(own.len() as u64) as usize] * GROUP;
        let page = first + random.below(GROUP);
        match random.below(4) {
            0 => {
                let pages = page..page + 1 + random.below(first + GROUP - page);
                guest.give_back(pages.clone());
                now[pages.start as usize..pages.end as usize].fill(Now::Zero);
            }
            1 if now[page as usize] != Now::Snapshot => {
                let value = page | 1 << 62;
                guest.write(page, page % WORDS, value);
                now[page as usize] = Now::Written(value);
            }
            _ => expect(
                guest,
                snapshot,
                page,
                random.below(WORDS),
                now[page as usize],
            ),
        }
    }
    for group in own {
        for page in group * GROUP..(group + 1) * GROUP {
            for word in [0, page % WORDS, WORDS - 1] {
                expect(guest, snapshot, page, word, now[page as usize]);
            }
        }
    }
}

fn check(pages: u64, layers: u8, prefetch: Option<&Path>) {
    let snapshot = Snapshot::new(pages, layers);
    let server = Server::start_with(&snapshot, prefetch, None);
    let mut guest = Guest::connected(pages, &server.socket());
    thread::scope(|scope| {
        for number in 0..THREADS {
            let (guest, snapshot) = (&guest, &snapshot);
            scope.spawn(move || live(guest, snapshot, number));
        }
    });
    guest.end();
    let stats = server.ended_well();
    assert!(stats.removed_pages > 0 && stats.faults > 0, "{stats:?}");
    assert_eq!(stats.prefetched_pages > 0, prefetch.is_some());
}

// Whole groups in both regions, which meet at a third.
const PAGES: u64 = 120 * GROUP * THREADS;

#[test]
fn a_guest_that_gives_back_finds_zeros() {
    check(PAGES, 3, None);
    check(PAGES, 0, None);
}

#[test]
fn a_guest_that_gives_back_what_is_being_prefetched_finds_zeros() {
    const MORE: u64 = PAGES * 8;
    let snapshot = Snapshot::new(MORE, 3);
    let directory = tempfile::tempdir().unwrap();
    let record = directory.path().join("record");
    working_set::record(&snapshot, 0..MORE, &record);
    check(MORE, 3, Some(&record));
}
