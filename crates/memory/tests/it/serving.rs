//! Pages come, and they are the right ones.

use std::thread;

use wrenn_memory::page_server::State;

use crate::{
    guest::Guest,
    random::Random,
    server::Server,
    snapshot::{Snapshot, WORDS},
};

const PAGES: u64 = 6000;
const THREADS: u64 = 4;

/// Every page is read and written by some thread, in no order: it was what the snapshot holds, and stays what the
/// thread made it, whatever is brought beside it later.
fn check(layers: u8) {
    let snapshot = Snapshot::new(PAGES, layers);
    let server = Server::start(&snapshot);
    let mut guest = Guest::connected(PAGES, &server.socket());
    let order = Random::new(7).order(PAGES);
    thread::scope(|scope| {
        let share = PAGES.div_ceil(THREADS) as usize;
        for pages in order.chunks(share) {
            let (guest, snapshot) = (&guest, &snapshot);
            scope.spawn(move || {
                for &page in pages {
                    let word = page % WORDS;
                    let expected = snapshot.word(page, word);
                    assert_eq!(guest.read(page, word), expected, "page {page}");
                    guest.write(page, word, page | 1 << 63);
                }
            });
        }
    });
    for page in 0..PAGES {
        for word in 0..WORDS {
            let expected = if word == page % WORDS {
                page | 1 << 63
            } else {
                snapshot.word(page, word)
            };
            assert_eq!(guest.read(page, word), expected, "page {page}, word {word}");
        }
    }
    guest.end();
    let stats = server.ended_well();
    assert_eq!(stats.state, State::Ended);
    assert_eq!(stats.copied_pages + stats.zero_pages, PAGES);
    assert!((1..PAGES).contains(&stats.faults), "{stats:?}");
    assert_eq!((stats.removed_pages, stats.prefetched_pages), (0, 0));
}

#[test]
fn a_guest_of_one_layer_finds_its_memory() {
    check(1);
}

#[test]
fn a_guest_of_three_layers_finds_its_memory() {
    check(3);
}

#[test]
fn a_guest_of_eleven_layers_finds_its_memory() {
    check(11);
}

#[test]
fn a_fault_brings_what_lies_beside_it_and_no_more() {
    let snapshot = Snapshot::in_turn(1000);
    let server = Server::start(&snapshot);
    let mut guest = Guest::connected(1000, &server.socket());
    guest.read(500, 0);
    guest.end();
    assert_eq!(server.ended_well().copied_pages, 1);

    let snapshot = Snapshot::new(1000, 0);
    let server = Server::start(&snapshot);
    let mut guest = Guest::connected(1000, &server.socket());
    guest.read(500, 0);
    guest.end();
    assert_eq!(server.ended_well().zero_pages, 16);
}

#[test]
fn a_layer_that_is_cut_ends_the_server_with_an_error_and_not_by_a_signal() {
    let snapshot = Snapshot::new(PAGES, 1);
    let mut server = Server::start(&snapshot);
    let guest = Guest::connected(PAGES, &server.socket());
    snapshot.layer_file(0).set_len(0).unwrap();
    let mut pages = 0..PAGES;
    let page = pages.find(|&page| snapshot.word(page, 1) != 0).unwrap();
    // Nobody fills the page, and when the server has ended the kernel gives zeros.
    assert_eq!(guest.read(page, 1), 0);
    let (status, words) = server.ended();
    assert_eq!(status.code(), Some(1), "{words}");
    assert!(words.contains("cannot fill page"), "{words}");
    assert_eq!(server.stats().state, State::Failed);
}
