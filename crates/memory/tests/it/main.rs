//! The page server against real userfaultfds. Needs the right to handle faults of the kernel, so root.

mod guest;
mod random;
mod server;
mod serving;
mod snapshot;
