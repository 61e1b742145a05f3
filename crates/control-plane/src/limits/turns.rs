//! One at a time for each name, in this replica: what is judged by how often it was tried must not be tried many
//! times at once.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Who may stand in one line.
const LINE: usize = 64;
/// Longest wait for one's turn.
const PATIENCE: Duration = Duration::from_secs(15);

/// A line before one door.
#[derive(Debug)]
struct Line {
    door: Arc<Semaphore>,
    standing: usize,
}

type Lines = Mutex<HashMap<String, Line>>;

/// The lines, by name. One where nobody stands is forgotten.
#[derive(Debug, Default)]
pub(super) struct Turns(Arc<Lines>);

fn locked(lines: &Lines) -> MutexGuard<'_, HashMap<String, Line>> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Somebody's turn; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _place: Place,
    _door: OwnedSemaphorePermit,
}

/// A place in a line, given up when dropped.
#[derive(Debug)]
struct Place {
    lines: Arc<Lines>,
    name: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut lines = locked(&self.lines);
        if let Some(line) = lines.get_mut(&self.name) {
            line.standing -= 1;
            if line.standing == 0 {
                lines.remove(&self.name);
            }
        }
    }
}

impl Turns {
    /// Waits for one's turn; `None` where the line is too long, or takes too long.
    pub(super) async fn take(&self, name: String) -> Option<Turn> {
        let door = {
            let mut lines = locked(&self.0);
            let line = lines.entry(name.clone()).or_insert_with(|| Line {
                door: Arc::new(Semaphore::new(1)),
                standing: 0,
            });
            if line.standing >= LINE {
                return None;
            }
            line.standing += 1;
            Arc::clone(&line.door)
        };
        let place = Place {
            lines: Arc::clone(&self.0),
            name,
        };
        let door = tokio::time::timeout(PATIENCE, door.acquire_owned()).await;
        Some(Turn {
            _door: door.ok()?.ok()?,
            _place: place,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn take(turns: &Turns, name: &str) -> Option<Turn> {
        turns.take(name.to_owned()).await
    }

    #[tokio::test]
    async fn each_name_has_its_own_line_and_an_empty_one_is_forgotten() {
        let turns = Turns::default();
        let first = take(&turns, "a").await;
        assert!(first.is_some());
        // Another name does not wait; the same one does.
        assert!(take(&turns, "b").await.is_some());
        let soon = Duration::from_millis(20);
        assert!(tokio::time::timeout(soon, take(&turns, "a")).await.is_err());
        drop(first);
        assert!(take(&turns, "a").await.is_some());
        assert!(locked(&turns.0).is_empty());
    }

    #[tokio::test]
    async fn a_line_has_an_end() {
        let turns = Arc::new(Turns::default());
        let first = take(&turns, "a").await;
        let waiting: Vec<_> = (1..LINE)
            .map(|_| {
                let turns = Arc::clone(&turns);
                tokio::spawn(async move { take(&turns, "a").await.is_some() })
            })
            .collect();
        while locked(&turns.0)["a"].standing < LINE {
            tokio::task::yield_now().await;
        }
        assert!(take(&turns, "a").await.is_none());
        drop(first);
        for waiting in waiting {
            assert!(waiting.await.unwrap());
        }
    }
}
