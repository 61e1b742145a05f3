//! What running sandboxes have written, as their hosts say; asked once a second for each, however often it is read.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use wrenn_database::{SandboxRow, State};
use wrenn_ids::SandboxId;
use wrenn_rpc::hostagent::GetSandboxRequest;

use crate::{hosts::pool::within, state::App};

/// How long a read waits for the host's word.
const WITHIN: Duration = Duration::from_secs(1);
/// How long that is true enough.
const FRESH: Duration = Duration::from_secs(1);
/// Sandboxes that are remembered.
const MOST: usize = 16_384;

#[derive(Debug, Clone, Copy)]
struct Known {
    asked: Instant,
    generation: i64,
    mib: Option<u64>,
}

/// What hosts said lately.
#[derive(Debug, Default)]
pub(crate) struct DiskUse(Mutex<HashMap<SandboxId, Known>>);

impl DiskUse {
    fn known(&self) -> MutexGuard<'_, HashMap<SandboxId, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known; `Err`: the caller asks. Whoever comes while it does gets what was known before.
    fn look(&self, id: SandboxId, generation: i64, now: Instant) -> Result<Option<u64>, ()> {
        let mut all = self.known();
        if let Some(known) = all.get_mut(&id)
            && known.generation == generation
        {
            if now.saturating_duration_since(known.asked) < FRESH {
                return Ok(known.mib);
            }
            known.asked = now;
        }
        Err(())
    }

    fn keep(&self, id: SandboxId, known: Known) {
        let mut all = self.known();
        if all.len() >= MOST {
            all.retain(|_, other| known.asked.saturating_duration_since(other.asked) < FRESH);
            if all.len() >= MOST {
                all.clear();
            }
        }
        all.insert(id, known);
    }
}

/// What a running sandbox has written, in MiB; absent when its host does not say so quickly.
pub(crate) async fn disk_use(app: &App, row: &SandboxRow) -> Option<u64> {
    if row.status != State::Running {
        return None;
    }
    let (id, generation, asked) = (row.id(), row.generation, Instant::now());
    if let Ok(mib) = app.disk_use.look(id, generation, asked) {
        return mib;
    }
    let mib = ask(app, row).await;
    let known = Known {
        asked,
        generation,
        mib,
    };
    app.disk_use.keep(id, known);
    mib
}

async fn ask(app: &App, row: &SandboxRow) -> Option<u64> {
    let client = app.pool.client(row.host_id()?).await.ok()??;
    let request = GetSandboxRequest {
        sandbox_id: row.id().to_string(),
        ..Default::default()
    };
    let answer = client
        .get_sandbox_with_options(request, within(WITHIN))
        .await
        .ok()?;
    let bytes = answer.into_owned().sandbox.as_option()?.disk_used_bytes;
    Some(bytes.div_ceil(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_those_who_read_asks_and_a_new_generation_is_not_the_old_one() {
        let (all, id, start) = (DiskUse::default(), SandboxId::new(), Instant::now());
        assert_eq!(all.look(id, 1, start), Err(()));
        let known = Known {
            asked: start,
            generation: 1,
            mib: Some(7),
        };
        all.keep(id, known);
        assert_eq!(all.look(id, 1, start + FRESH / 2), Ok(Some(7)));
        assert_eq!(all.look(id, 2, start + FRESH / 2), Err(()));
        // The first one after a second asks, the next one does not wait for it.
        assert_eq!(all.look(id, 1, start + FRESH), Err(()));
        assert_eq!(all.look(id, 1, start + FRESH), Ok(Some(7)));
    }

    #[test]
    fn sandboxes_do_not_pile_up() {
        let (all, start) = (DiskUse::default(), Instant::now());
        for n in 0..=MOST {
            let known = Known {
                asked: start + Duration::from_millis(n as u64),
                generation: 1,
                mib: None,
            };
            all.keep(SandboxId::new(), known);
        }
        assert!(all.known().len() <= MOST);
    }
}
