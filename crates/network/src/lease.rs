//! A slot in use.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::leftover::Leftover;
use crate::pool::Inner;
use crate::{EgressPolicy, Result, Slot, setup, thread};

/// A slot that its holder has alone. Released, it is destroyed and its number rests.
#[derive(Debug)]
pub struct SlotLease {
    slot: Slot,
    pool: Arc<Inner>,
    /// `None` once released or detached.
    held: Option<Leftover>,
}

impl SlotLease {
    pub(crate) fn new(slot: Slot, pool: Arc<Inner>) -> Self {
        Self {
            slot,
            held: Some(Leftover::new(slot, pool.clone())),
            pool,
        }
    }

    /// Its number, to be written down for [`crate::Network::adopt`].
    pub fn slot(&self) -> Slot {
        self.slot
    }

    /// User and group id of the VM that may open this slot's TAP: no other slot has the same.
    pub fn uid(&self) -> u32 {
        self.pool.config.uid_base + u32::from(self.slot.number())
    }

    /// File of the network namespace.
    pub fn namespace_path(&self) -> PathBuf {
        self.slot.namespace_path()
    }

    /// Where the host reaches the guest.
    pub fn host_address(&self) -> Ipv4Addr {
        self.slot.host_address()
    }

    /// Puts a policy in force, for open connections too. A fresh slot has the default one already.
    pub async fn set_policy(&self, policy: &EgressPolicy) -> Result<()> {
        let (slot, policy) = (self.slot, policy.clone());
        thread::run("slot policy", move || setup::set_policy(slot, &policy)).await
    }

    /// Gives up the guard; the slot stays for [`crate::Network::adopt`].
    pub fn detach(mut self) {
        self.held = None;
    }

    /// Takes the slot down. What is left on an error goes to the reaper.
    pub async fn release(mut self) -> Result<()> {
        if let Some(leftover) = &mut self.held {
            leftover.clean().await?;
        }
        self.held = None;
        Ok(())
    }
}

impl Drop for SlotLease {
    fn drop(&mut self) {
        if let Some(leftover) = self.held.take() {
            (self.pool.reaper)(leftover);
        }
    }
}
