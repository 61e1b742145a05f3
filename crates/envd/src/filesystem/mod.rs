//! Files and directories of the guest, as the RPC service shows and changes them.
//!
//! `entry` describes one, `tree` makes and removes directories by their descriptors, `listing` walks,
//! `moving` renames and copies, `watch` tells of changes; `service` puts them into the words of the protocol.

pub(crate) mod entry;
mod listing;
mod moving;
pub(crate) mod service;
pub(crate) mod tree;
pub(crate) mod watch;
