//! A slot that nobody holds any more, and where it goes.

use std::fmt;
use std::sync::Arc;

use crate::pool::Inner;
use crate::{Result, Slot, setup, thread};

/// Takes what a guard could not release. It is called from `Drop`, so it must not block; the queue behind
/// it is the caller's: bounded, retrying [`Leftover::clean`], counted.
pub type Reaper = Arc<dyn Fn(Leftover) + Send + Sync>;

/// A slot to be taken down, after which its number rests and returns to the pool.
pub struct Leftover {
    slot: Slot,
    pool: Arc<Inner>,
}

impl Leftover {
    pub(crate) fn new(slot: Slot, pool: Arc<Inner>) -> Self {
        Self { slot, pool }
    }

    /// Takes down what exists of the slot. What is gone already is success; call again after a failure, but
    /// not after a success, when the number may be somebody else's.
    pub async fn clean(&mut self) -> Result<()> {
        let slot = self.slot;
        thread::run("slot removal", move || setup::take_down(slot)).await?;
        self.pool.rest(slot);
        Ok(())
    }
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "network slot {}", self.slot)
    }
}

impl fmt::Debug for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Leftover").field(&self.slot).finish()
    }
}
