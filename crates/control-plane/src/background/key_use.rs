//! When API keys were last used: noted in memory, written each 10 s, so that no request waits for it.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use wrenn_database::api_keys_touch;
use wrenn_ids::KeyId;

use crate::{app::Result, state::App};

/// Keys used since the last pass; at most as many as there are keys.
#[derive(Debug, Default)]
pub(crate) struct KeysUsed(Mutex<HashSet<KeyId>>);

impl KeysUsed {
    /// A request was proven by this key.
    pub(crate) fn note(&self, key: KeyId) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key);
    }

    fn take(&self) -> Vec<KeyId> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain()
            .collect()
    }
}

pub(super) async fn pass(app: Arc<App>) -> Result<()> {
    let keys = app.keys_used.take();
    if !keys.is_empty() {
        api_keys_touch(&app.db, &keys).await?;
    }
    Ok(())
}
