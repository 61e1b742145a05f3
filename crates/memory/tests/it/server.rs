//! A page server as a child of the test.

use std::{
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use wrenn_memory::page_server::Stats;

use crate::snapshot::Snapshot;

const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `done` gives something.
pub(crate) fn wait_for<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(done) = done() {
            return done;
        }
        assert!(Instant::now() < deadline, "no {what} within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// A running page server; killed when it is dropped.
pub(crate) struct Server {
    child: Child,
    directory: tempfile::TempDir,
}

impl Server {
    pub(crate) fn start(snapshot: &Snapshot) -> Self {
        Self::start_with(snapshot, None, None)
    }

    /// With a working set to bring, and a place where one is recorded.
    pub(crate) fn start_with(
        snapshot: &Snapshot,
        prefetch: Option<&Path>,
        record: Option<&Path>,
    ) -> Self {
        let server = Self::spawn(snapshot, prefetch, record);
        let socket = server.socket();
        wait_for("socket", || socket.exists().then_some(()));
        server
    }

    /// Does not wait until it is ready.
    pub(crate) fn spawn(
        snapshot: &Snapshot,
        prefetch: Option<&Path>,
        record: Option<&Path>,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let none = Path::new("");
        let child = Command::new(env!("CARGO_BIN_EXE_page-server-under-test"))
            .arg(snapshot.directory.path())
            .arg(directory.path().join("socket"))
            .arg(directory.path().join("stats"))
            .arg(prefetch.unwrap_or(none))
            .arg(record.unwrap_or(none))
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child, directory }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats::read(&self.directory.path().join("stats")).unwrap()
    }

    pub(crate) fn wait_for_stats(&self, what: &str, is_so: impl Fn(&Stats) -> bool) -> Stats {
        wait_for(what, || Some(self.stats()).filter(&is_so))
    }

    /// Waits for its end; its status and last words.
    pub(crate) fn ended(&mut self) -> (ExitStatus, String) {
        let status = wait_for("end of the page server", || self.child.try_wait().unwrap());
        let mut words = String::new();
        let stderr = self.child.stderr.as_mut().unwrap();
        stderr.read_to_string(&mut words).unwrap();
        (status, words)
    }

    /// Waits for its end, which must be a good one; its last counters.
    pub(crate) fn ended_well(mut self) -> Stats {
        let (status, words) = self.ended();
        assert!(status.success(), "{status}: {words}");
        assert!(!self.socket().exists());
        self.stats()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
