//! The page server against real userfaultfds. Needs the right to handle faults of the kernel, so root.

mod guest;
mod handshake;
mod limits;
mod random;
mod removal;
mod server;
mod serving;
mod snapshot;
mod working_set;
