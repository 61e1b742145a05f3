//! The open connections, so that a restore can drop those of the life before.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

/// One connection's number, rising in order of acceptance.
pub(crate) type Id = u64;

/// All open connections.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connections {
    table: Arc<Mutex<Table>>,
}

#[derive(Debug, Default)]
struct Table {
    last: Id,
    open: HashMap<Id, CancellationToken>,
}

impl Connections {
    /// Enters a connection; the token tells it to end.
    pub(crate) fn register(&self) -> (Registered, CancellationToken) {
        let token = CancellationToken::new();
        let mut table = self.table();
        table.last += 1;
        let id = table.last;
        table.open.insert(id, token.clone());
        (
            Registered {
                id,
                connections: self.clone(),
            },
            token,
        )
    }

    /// The newest connection now.
    pub(crate) fn newest(&self) -> Id {
        self.table().last
    }

    /// Ends every connection up to `newest` but `kept`.
    pub(crate) fn drop_older(&self, newest: Id, kept: Id) {
        for (id, token) in &self.table().open {
            if *id <= newest && *id != kept {
                token.cancel();
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The entry of a connection, which leaves with it.
#[derive(Debug)]
pub(crate) struct Registered {
    id: Id,
    connections: Connections,
}

impl Registered {
    pub(crate) fn id(&self) -> Id {
        self.id
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.connections.table().open.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_older_connections_are_dropped_and_the_asking_one_is_kept() {
        let connections = Connections::default();
        let (_old, old) = connections.register();
        let (asking, own) = connections.register();
        let newest = connections.newest();
        let (_young, young) = connections.register();
        connections.drop_older(newest, asking.id());
        assert!(old.is_cancelled());
        assert!(!own.is_cancelled());
        assert!(!young.is_cancelled());
    }
}
