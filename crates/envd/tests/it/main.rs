//! Drives the real envd binary over its own protocol, as root, on a port of its own.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a fixture that fails fails its test"
)]

mod access;
mod cgroups;
mod content;
mod endurance;
mod envd;
mod files;
mod processes;
mod protocol;
mod space;
mod standstill;
mod terminal;
mod watching;
