//! Slots: ready-made networks for guests, and the policy on their packets.
//!
//! ```text
//!  host                                   │ namespace wrenn-<i>                        │ VM
//!  default routes ◀─ masquerade ─ wv<i> ══╪══ eth0 ─ SNAT/DNAT ─ policy ─ tap0 ────────┼── eth0
//!  10.11/16+i ──────── route ───▶         │   10.12.x/31          169.254.0.22         │  169.254.0.21
//! ```
//!
//! All addresses and names follow from the slot's number ([`Slot`]) and from nothing else; the guest's side
//! is the same in every slot, so that a snapshot can be restored in any of them.
//!
//! [`Network`] keeps a few slots ready; [`Network::acquire`] hands one out as a [`SlotLease`]. A slot that is
//! given back is destroyed, not washed: its number rests and is then built anew, so that no address, packet,
//! connection or rule of one guest can meet the next.
//!
//! Policy in two places, both default-deny towards anything private: one table in each namespace (source
//! and MAC must be the guest's; DNS only to the configured resolvers; per-slot allow and deny ranges), and
//! the host's table `wrenn`, whose number of rules does not depend on the number of slots. Both are written
//! in one transaction each. Inbound is possible only for traffic that the host itself originates.
//!
//! Invariants: what carries our mark (`wrenn-<i>`, `wv<i>`, table `wrenn`) is ours, nothing else is touched.
//! `Drop` of a lease hands the slot to the [`Reaper`]. Other tables of the host are not changed: a firewall
//! that drops forwarded packets must let `wv*` pass.
//!
//! Deliberately absent: bandwidth limits (Firecracker's own), domain names, IPv6 for guests.

mod census;
mod config;
mod error;
mod lease;
mod leftover;
mod link;
mod namespace;
mod netfilter;
mod nft;
mod policy;
mod pool;
mod setup;
mod slot;
mod sysctl;
mod tap;
mod thread;

pub use census::{Census, census};
pub use config::NetworkConfig;
pub use error::{Error, Result};
pub use lease::SlotLease;
pub use leftover::{Leftover, Reaper};
pub use policy::{BadCidr, Cidr, EgressPolicy, Verdict};
pub use pool::Network;
pub use slot::{
    BadSlot, GATEWAY_ADDRESS, GATEWAY_MAC, GUEST_ADDRESS, GUEST_MAC, GUEST_PREFIX, Slot, TAP_NAME,
    guest_mac_text,
};
