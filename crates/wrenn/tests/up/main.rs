//! `wrenn up` as a user runs it: whole platforms on this machine, each in a state directory and on a port of its own.
//!
//! `life` is one platform with real microVMs from its first run to its end; the others need no host and are short.
//! The virtual host is slow where it is emulated; every wait is for an event. They need root, as `make up` does.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and shows what the commands said"
)]

mod interruption;
mod life;
mod refusal;
mod services;
mod sleeping;
mod user;
