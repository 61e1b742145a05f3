//! The page server against real userfaultfds. Needs the right to handle faults of the kernel, so root.

#![expect(
    clippy::unwrap_used,
    reason = "allowed in tests: a failed step fails the test, also in what the tests share"
)]

mod guest;
mod handshake;
mod limits;
mod random;
mod removal;
mod server;
mod serving;
mod snapshot;
mod working_set;
