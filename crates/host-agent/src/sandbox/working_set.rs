//! Working sets: the pages that a guest used after its last restore, brought ahead of it by the next one.
//!
//! ```text
//! <directory>/working-set        known; shared with copies, by hard links
//! <directory>/working-set.new    what the page server of now records; it becomes known when it is whole
//! <directory>/pages.stats        what that page server has done
//! ```
//!
//! All three are hints: a copy goes without, a restore goes on without, and the page server reads them as
//! hostile. Only memory of several layers has a page server, and so a working set; a whole snapshot begins anew.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::{MissedTickBehavior, interval};
use wrenn_memory::page_server::Stats;

use crate::config::Prefetch;

const KNOWN: &str = "working-set";
const NEW: &str = "working-set.new";
const STATS: &str = "pages.stats";
/// Between two looks at what a page server has done.
const LOOK: Duration = Duration::from_secs(2);

/// Makes the working set known that the last page server has recorded, if it has.
pub(crate) fn publish(directory: &Path) {
    let stats = Stats::read(&directory.join(STATS)).unwrap_or_default();
    if stats.recorded_pages > 0 && is_plain(&directory.join(NEW)) {
        let _ = fs::rename(directory.join(NEW), directory.join(KNOWN)); // it stays as it was
    }
}

/// Gives a copy of a sandbox what is known of it.
pub(crate) fn share(from: &Path, to: &Path) {
    publish(from);
    let known = from.join(KNOWN);
    if is_plain(&known)
        && let Err(error) = fs::hard_link(known, to.join(KNOWN))
        && error.kind() != io::ErrorKind::AlreadyExists
    {
        tracing::debug!(%error, "a copy goes without a working set");
    }
}

/// Forgets what is known: the memory is another one now.
pub(crate) fn forget(directory: &Path) {
    for name in [KNOWN, NEW, STATS] {
        clear(&directory.join(name));
    }
}

/// Arguments that have the next page server bring what is known and record what is used.
pub(crate) fn arguments(directory: &Path, prefetch: Prefetch) -> Vec<OsString> {
    publish(directory);
    let (known, new, stats) = (
        directory.join(KNOWN),
        directory.join(NEW),
        directory.join(STATS),
    );
    let mut arguments = Vec::new();
    let mut give = |name: &str, path: PathBuf| arguments.extend([name.into(), path.into()]);
    let mut mode = "off";
    if prefetch == Prefetch::On {
        mode = "none";
        if is_plain(&known) {
            mode = "on";
            give("--prefetch", known);
        }
        if clear(&new) {
            give("--record", new);
        }
    }
    if clear(&stats) {
        give("--stats", stats);
    }
    metrics::counter!("wrenn_agent_page_servers_total", "prefetch" => mode).increment(1);
    arguments
}

/// Counts what one page server does.
#[derive(Debug)]
pub(crate) struct Watch {
    directory: PathBuf,
    /// What the sandbox was created from: it learns from the first.
    template: Option<PathBuf>,
    counted: Stats,
}

impl Watch {
    pub(crate) fn new(directory: &Path, template: Option<PathBuf>) -> Self {
        Self {
            directory: directory.to_owned(),
            template,
            counted: Stats::default(),
        }
    }

    /// Counts until the server has ended.
    pub(crate) async fn until<T>(mut self, ended: impl Future<Output = T>) -> T {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tokio::pin!(ended);
        loop {
            tokio::select! {
                done = &mut ended => {
                    self.look();
                    return done;
                }
                _ = looks.tick() => self.look(),
            }
        }
    }

    fn look(&mut self) {
        let Ok(now) = Stats::read(&self.directory.join(STATS)) else {
            return; // none yet, or the sandbox is gone with its files
        };
        let count = |name: &'static str, now: u64, before: u64| {
            metrics::counter!(name).increment(now.saturating_sub(before));
        };
        let last = &self.counted;
        for (name, now, before) in [
            ("wrenn_agent_page_faults_total", now.faults, last.faults),
            (
                "wrenn_agent_pages_copied_total",
                now.copied_pages,
                last.copied_pages,
            ),
            (
                "wrenn_agent_pages_zero_total",
                now.zero_pages,
                last.zero_pages,
            ),
            (
                "wrenn_agent_pages_removed_total",
                now.removed_pages,
                last.removed_pages,
            ),
            (
                "wrenn_agent_pages_prefetched_total",
                now.prefetched_pages,
                last.prefetched_pages,
            ),
        ] {
            count(name, now, before);
        }
        if now.recorded_pages > 0 && last.recorded_pages == 0 {
            publish(&self.directory);
            metrics::counter!("wrenn_agent_working_sets_recorded_total").increment(1);
            metrics::gauge!("wrenn_agent_working_set_pages").set(now.recorded_pages as f64);
            if let Some(template) = self.template.take().filter(|template| template.exists()) {
                share(&self.directory, &template);
            }
        }
        self.counted = now;
    }
}

fn is_plain(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|stat| stat.is_file())
}

/// Whether nothing is left under this name.
fn clear(path: &Path) -> bool {
    let removed = match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => fs::remove_dir_all(path),
        removed => removed,
    };
    removed.map_or_else(|error| error.kind() == io::ErrorKind::NotFound, |()| true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(arguments: &[OsString]) -> Vec<&str> {
        let names = arguments.iter().step_by(2);
        names.filter_map(|name| name.to_str()).collect()
    }

    /// As a page server leaves them that has recorded so many pages.
    fn recorded(directory: &Path, pages: u64) {
        let words = [u64::from_le_bytes(*b"WRENNPGS"), 3, 0, 0, 0, 0, 0, pages];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        fs::write(directory.join(STATS), bytes).unwrap();
        fs::write(directory.join(NEW), format!("{pages}")).unwrap();
    }

    #[test]
    fn what_was_recorded_whole_is_brought_the_next_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let check = |expected: &[&str]| assert_eq!(names(&arguments(path, Prefetch::On)), expected);
        check(&["--record", "--stats"]);
        recorded(path, 0);
        check(&["--record", "--stats"]);
        recorded(path, 7);
        check(&["--prefetch", "--record", "--stats"]);
        recorded(path, 0);
        check(&["--prefetch", "--record", "--stats"]);
        assert_eq!(fs::read(path.join(KNOWN)).unwrap(), b"7");
        assert_eq!(names(&arguments(path, Prefetch::Off)), ["--stats"]);
        forget(path);
        check(&["--record", "--stats"]);
    }

    #[test]
    fn nothing_that_lies_in_the_way_is_given_to_a_page_server() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        for name in [KNOWN, NEW, STATS] {
            fs::create_dir_all(path.join(name).join("more")).unwrap();
        }
        let given = arguments(path, Prefetch::On);
        assert_eq!(names(&given), ["--record", "--stats"]);
        assert!(!path.join(NEW).exists() && !path.join(STATS).exists());
    }

    #[test]
    fn a_copy_has_it_and_a_template_learns_it_once() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        share(from.path(), to.path());
        assert!(!to.path().join(KNOWN).exists());
        for (pages, expected) in [(5, "5"), (9, "5")] {
            recorded(from.path(), pages);
            Watch::new(from.path(), Some(to.path().to_owned())).look();
            let learnt = fs::read_to_string(to.path().join(KNOWN)).unwrap();
            assert_eq!(learnt, expected);
            let own = fs::read_to_string(from.path().join(KNOWN)).unwrap();
            assert_eq!(own, pages.to_string());
        }
    }
}
