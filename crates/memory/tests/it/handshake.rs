//! Who connects and is no VM of the snapshot is refused, and the server says why and ends.

use std::{
    fs::File,
    os::fd::{AsFd, BorrowedFd},
};

use wrenn_memory::page_server::State;

use crate::{
    guest::{Guest, Process, new_userfaultfd},
    server::Server,
    snapshot::Snapshot,
};

const PAGES: u64 = 600;

/// What is said with what descriptors, and how the refusal begins and ends.
fn check(pieces: &[&str], fds: &[BorrowedFd<'_>], why: &str) {
    let mut server = Server::start(&Snapshot::new(PAGES, 1));
    let _process = Process::start(&server.socket(), pieces, fds);
    let (status, words) = server.ended();
    assert_eq!(status.code(), Some(1), "{words}");
    assert!(
        words.starts_with("the VM that connected is refused\n"),
        "{words}"
    );
    assert!(words.contains(why), "{words}");
    assert_eq!(server.stats().state, State::Failed);
    assert!(!server.socket().exists());
}

fn region(address: u64, pages: u64, offset: u64) -> String {
    let (size, offset) = (pages * 4096, offset * 4096);
    format!(
        r#"[{{"base_host_virt_addr":{address},"size":{size},"offset":{offset},"page_size":4096}}]"#
    )
}

fn together(first: &str, second: &str) -> String {
    [first.trim_end_matches(']'), second.trim_start_matches('[')].join(",")
}

#[test]
fn what_is_no_list_of_regions_is_refused() {
    let uffd = new_userfaultfd();
    let fds = [uffd.as_fd()];
    let no_list = "does not name regions of memory";
    check(&["hello"], &fds, no_list);
    check(&["{}"], &fds, no_list);
    check(&["[7]"], &fds, no_list);
    check(&[r#"[{"size":4096}]"#], &fds, no_list);
    check(&[r#"[{"base_host_virt_addr":-1,"#], &fds, no_list);
    let endless = format!("[{}", " ".repeat(32 << 10));
    check(&[&endless], &fds, "too long");
}

#[test]
fn regions_of_another_memory_are_refused() {
    let uffd = new_userfaultfd();
    let check = |message: &str, why| check(&[message], &[uffd.as_fd()], why);
    check("[]", "regions of 0 pages for a snapshot of 600");
    check(&region(1 << 40, 599, 0), "regions of 599 pages");
    check(&region(1 << 40, 601, 0), "regions of 601 pages");
    check(&region((1 << 40) + 8, 600, 0), "no range of pages");
    let overlapping = together(
        &region(1 << 40, 300, 0),
        &region((1 << 40) + 4096, 300, 300),
    );
    check(&overlapping, "two regions share the address 0x10000001000");
    let gap = together(&region(1 << 40, 300, 0), &region(1 << 41, 299, 301));
    check(&gap, "page 300 is in no region or in two");
}

#[test]
fn anything_but_one_userfaultfd_is_refused() {
    let (one, two) = (new_userfaultfd(), new_userfaultfd());
    let message = region(1 << 40, PAGES, 0);
    let check = |fds: &[BorrowedFd<'_>], why| check(&[&message], fds, why);
    check(&[], "0 file descriptors instead of one");
    check(&[one.as_fd(), two.as_fd()], "2 file descriptors");
    check(&[one.as_fd(); 8], "file descriptors instead of one");
    let null = File::open("/dev/null").unwrap();
    check(&[null.as_fd()], "no userfaultfd");
}

#[test]
fn a_vm_that_ends_in_the_middle_is_refused() {
    let mut server = Server::start(&Snapshot::new(PAGES, 1));
    let uffd = new_userfaultfd();
    drop(Process::start(&server.socket(), &["[{"], &[uffd.as_fd()]));
    let (status, words) = server.ended();
    assert_eq!(status.code(), Some(1), "{words}");
    assert!(
        words.starts_with("the VM that connected is refused\n"),
        "{words}"
    );
}

#[test]
fn a_message_in_pieces_is_put_together() {
    let server = Server::start(&Snapshot::new(PAGES, 1));
    let guest = Guest::new(PAGES);
    let message = guest.message();
    let (first, second) = message.split_at(100);
    let process = Process::start(&server.socket(), &[first, second], &[guest.uffd()]);
    guest.read(0, 0);
    drop(process);
    assert_eq!(server.ended_well().faults, 1);
}

#[test]
fn a_snapshot_that_is_not_whole_is_not_served() {
    let snapshot = Snapshot::new(PAGES, 1);
    snapshot.layer_file(0).set_len(4096).unwrap();
    let mut server = Server::spawn(&snapshot, None, None);
    let (status, words) = server.ended();
    assert_eq!(status.code(), Some(1), "{words}");
    assert!(
        words.contains("has 4096 bytes where its runs need"),
        "{words}"
    );
    assert!(!server.socket().exists());
    assert_eq!(server.stats().state, State::Failed);
}
