//! Netfilter by netlink, for what must not start a program: set elements and connection tracking.
//!
//! The few messages that are needed are encoded here by hand: header, four bytes of family and subsystem,
//! attributes (length, type, value, padded to four). Replies are parsed as hostile.

pub(crate) mod conntrack;
mod message;
pub(crate) mod sets;
mod socket;
