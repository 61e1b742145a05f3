//! One child process that is kept running.
//!
//! ```text
//!            spawn           exits            back-off over
//! starting ───────▶ running ───────▶ waiting ──────────────▶ starting
//!                      │                │ 5 failures in a minute
//!                      │ stop           ▼
//!                      ▼             failed ── restart ──▶ starting
//!                   stopped
//! ```
//!
//! Output goes to the component's log. A child never outlives its supervisor: it is stopped in order, and the
//! kernel signals it should the supervisor be killed. That signal follows the thread that forked, so children
//! are spawned on the supervisor's only thread.

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::Child,
    sync::Notify,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    log_file::LogFile,
    program::{User, as_user},
};
use crate::process;

/// So many failures within [`FAILURE_WINDOW`] and the component is given up.
const FAILURES: usize = 5;
const FAILURE_WINDOW: Duration = Duration::from_secs(60);
/// First and longest pause before another try.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A line longer than this is cut.
const LINE_LIMIT: usize = 64 * 1024;

/// Where a component stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    Starting,
    Running,
    /// It ended; another try follows.
    Waiting,
    /// Given up.
    Failed,
    #[default]
    Stopped,
}

/// What `wrenn status` shows of a component.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Status {
    pub(crate) name: String,
    pub(crate) phase: Phase,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) pid: Option<u32>,
    /// Unix milliseconds of the last change.
    pub(crate) since_ms: i64,
    pub(crate) restarts: u32,
    /// Where it listens, or how it runs.
    pub(crate) address: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) last_error: Option<String>,
}

/// A status that the component's task writes and others read.
#[derive(Debug, Clone)]
pub(crate) struct StatusCell(Arc<Mutex<Status>>);

impl StatusCell {
    pub(crate) fn new(name: &str, address: &str) -> Self {
        Self(Arc::new(Mutex::new(Status {
            name: name.to_owned(),
            phase: Phase::Starting,
            pid: None,
            since_ms: now_ms(),
            restarts: 0,
            address: address.to_owned(),
            last_error: None,
        })))
    }

    pub(crate) fn get(&self) -> Status {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Enters `phase`.
    pub(crate) fn enter(&self, phase: Phase, change: impl FnOnce(&mut Status)) {
        let mut status = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        status.phase = phase;
        status.since_ms = now_ms();
        status.pid = None;
        change(&mut status);
    }
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// How a child is started and stopped.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub(crate) name: &'static str,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    /// Added to the supervisor's environment.
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) user: Option<User>,
    /// The signal that asks it to end, also sent when the supervisor dies.
    pub(crate) stop_signal: Signal,
    /// How long it may take to end before it is killed.
    pub(crate) grace: Duration,
    pub(crate) log: PathBuf,
    /// Names the running child, for the next supervisor should this one be killed.
    pub(crate) record: PathBuf,
    pub(crate) address: String,
}

impl Spec {
    fn spawn(&self) -> std::io::Result<Child> {
        let signal = match self.stop_signal {
            Signal::INT => "INT",
            _ => "TERM",
        };
        let mut command =
            tokio::process::Command::from(as_user(&self.program, self.user.as_ref(), Some(signal)));
        command
            .args(&self.arguments)
            .envs(&self.environment)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C on a terminal reaches the supervisor alone, which stops its children in order.
            .process_group(0)
            .spawn()
    }
}

/// A component that is being kept running.
#[derive(Debug)]
pub(crate) struct Component {
    pub(crate) spec: Spec,
    status: StatusCell,
    log: Arc<Mutex<LogFile>>,
    restart: Arc<Notify>,
    stop: CancellationToken,
    task: TaskTracker,
}

impl Component {
    /// Starts `spec` and keeps it running until [`Component::stop`].
    pub(crate) fn start(spec: Spec) -> Self {
        let status = StatusCell::new(spec.name, &spec.address);
        let log = Arc::new(Mutex::new(LogFile::open(&spec.log)));
        let (restart, stop, task) = (
            Arc::new(Notify::new()),
            CancellationToken::new(),
            TaskTracker::new(),
        );
        task.spawn(keep(
            spec.clone(),
            status.clone(),
            Arc::clone(&log),
            Arc::clone(&restart),
            stop.clone(),
        ));
        task.close();
        Self {
            spec,
            status,
            log,
            restart,
            stop,
            task,
        }
    }

    pub(crate) fn status(&self) -> Status {
        self.status.get()
    }

    /// The last lines it wrote.
    pub(crate) fn tail(&self) -> Vec<String> {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .tail()
    }

    /// Tries again when it was given up.
    pub(crate) fn retry(&self) {
        self.restart.notify_one();
    }

    /// Stops it and waits until it is gone.
    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        self.task.wait().await;
    }
}

async fn keep(
    spec: Spec,
    status: StatusCell,
    log: Arc<Mutex<LogFile>>,
    restart: Arc<Notify>,
    stop: CancellationToken,
) {
    end_left_behind(&spec).await;
    let mut failures: VecDeque<Instant> = VecDeque::new();
    loop {
        let ended = match spec.spawn() {
            Ok(child) => run(&spec, child, &status, &log, &stop).await,
            Err(error) => Some(format!("start {}: {error}", spec.program.display())),
        };
        let Some(ended) = ended else { break };
        tracing::warn!(component = spec.name, "{ended}");
        failures.retain(|at| at.elapsed() < FAILURE_WINDOW);
        failures.push_back(Instant::now());
        let gave_up = failures.len() >= FAILURES;
        if gave_up {
            let lines = log.lock().unwrap_or_else(PoisonError::into_inner).tail();
            let last = lines[lines.len().saturating_sub(3)..].join(" | ");
            status.enter(Phase::Failed, |status| {
                status.last_error = Some(format!(
                    "given up after {FAILURES} failures in a minute: {ended}: {last}"
                ));
            });
        } else {
            status.enter(Phase::Waiting, |status| {
                status.restarts += 1;
                status.last_error = Some(ended);
            });
        }
        let pause = async {
            if gave_up {
                restart.notified().await;
            } else {
                tokio::time::sleep(pause_after(failures.len())).await;
            }
        };
        tokio::select! {
            () = pause => {}
            () = stop.cancelled() => break,
        }
        if gave_up {
            failures.clear();
        }
    }
    status.enter(Phase::Stopped, |_| {});
}

fn pause_after(failures: usize) -> Duration {
    let doublings = u32::try_from(failures.saturating_sub(1))
        .unwrap_or(u32::MAX)
        .min(8);
    (FIRST_PAUSE * 2u32.pow(doublings)).min(LONGEST_PAUSE)
}

/// Runs one child to its end; `None` when it ended because it was to stop.
async fn run(
    spec: &Spec,
    mut child: Child,
    status: &StatusCell,
    log: &Arc<Mutex<LogFile>>,
    stop: &CancellationToken,
) -> Option<String> {
    let pid = child.id();
    status.enter(Phase::Running, |status| status.pid = pid);
    if let Some(identity) = pid.and_then(process::identity) {
        // Lost, it costs the next supervisor no more than a retry.
        let _ = std::fs::write(&spec.record, identity);
    }
    tracing::info!(component = spec.name, pid, "started");
    let readers = TaskTracker::new();
    if let Some(stdout) = child.stdout.take() {
        readers.spawn(copy_lines(stdout, Arc::clone(log)));
    }
    if let Some(stderr) = child.stderr.take() {
        readers.spawn(copy_lines(stderr, Arc::clone(log)));
    }
    readers.close();
    let ended = tokio::select! {
        exit = child.wait() => Some(describe(&exit)),
        () = stop.cancelled() => {
            end(spec, &mut child).await;
            None
        }
    };
    // A grandchild may hold the pipes open; what it writes later is nobody's.
    let _ = tokio::time::timeout(Duration::from_secs(1), readers.wait()).await;
    ended
}

/// Ends the child of a supervisor that was killed; it has been signalled, but may still be at it.
async fn end_left_behind(spec: &Spec) {
    let begun = Instant::now();
    let left = || process::living(&std::fs::read_to_string(&spec.record).ok()?);
    while let Some(pid) = left().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) {
        let signal = if begun.elapsed() < spec.grace {
            spec.stop_signal
        } else {
            Signal::KILL
        };
        let _ = kill_process(pid, signal);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn end(spec: &Spec, child: &mut Child) {
    let pid = child
        .id()
        .and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    if let Some(pid) = pid {
        let _ = kill_process(pid, spec.stop_signal);
    }
    if tokio::time::timeout(spec.grace, child.wait())
        .await
        .is_err()
    {
        tracing::warn!(
            component = spec.name,
            "did not end in {} s and is killed",
            spec.grace.as_secs()
        );
        let _ = child.kill().await;
    }
}

fn describe(exit: &std::io::Result<ExitStatus>) -> String {
    match exit {
        Ok(status) => format!("ended: {status}"),
        Err(error) => format!("ended: {error}"),
    }
}

async fn copy_lines(from: impl AsyncRead + Unpin, log: Arc<Mutex<LogFile>>) {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut limited = tokio::io::AsyncReadExt::take(&mut from, LINE_LIMIT as u64);
        match limited.read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let text = String::from_utf8_lossy(&line);
                log.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .line(text.trim_end());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(dir: &std::path::Path, script: &str) -> Spec {
        Spec {
            name: "test",
            program: PathBuf::from("/bin/sh"),
            arguments: vec!["-c".into(), script.into()],
            environment: BTreeMap::new(),
            user: None,
            stop_signal: Signal::TERM,
            grace: Duration::from_secs(5),
            log: dir.join("test.log"),
            record: dir.join("test.pid"),
            address: String::new(),
        }
    }

    async fn until(component: &Component, holds: impl Fn() -> bool) {
        for _ in 0..3000 {
            if holds() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("never: {:?}, {:?}", component.status(), component.tail());
    }

    async fn wait_for(component: &Component, phase: Phase) -> Status {
        until(component, || component.status().phase == phase).await;
        component.status()
    }

    #[tokio::test]
    async fn a_killed_child_is_started_again_and_stopped_in_order() {
        let dir = tempfile::tempdir().expect("a directory");
        let component = Component::start(spec(
            dir.path(),
            "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done",
        ));
        let lives = || component.tail().iter().filter(|line| *line == "up").count();
        let first = wait_for(&component, Phase::Running).await;
        let first = first.pid.expect("a pid");
        until(&component, || lives() == 1).await;
        kill_process(Pid::from_raw(first as i32).expect("a pid"), Signal::KILL).expect("killed");
        until(&component, || {
            component.status().pid.is_some_and(|pid| pid != first)
        })
        .await;
        assert_eq!(component.status().restarts, 1);
        // It has its trap by then.
        until(&component, || lives() == 2).await;
        component.stop().await;
        assert_eq!(component.status().phase, Phase::Stopped);
        assert!(
            component.tail().iter().any(|line| line == "bye"),
            "{:?}",
            component.tail()
        );
    }

    #[tokio::test]
    async fn a_child_that_keeps_failing_is_given_up_with_its_last_words() {
        let dir = tempfile::tempdir().expect("a directory");
        let component = Component::start(spec(dir.path(), "echo no such luck; exit 3"));
        let status = wait_for(&component, Phase::Failed).await;
        let error = status.last_error.expect("an error");
        assert!(
            error.contains("no such luck") && error.contains("exit status: 3"),
            "{error}"
        );
        component.stop().await;
    }

    #[tokio::test]
    async fn what_a_killed_supervisor_left_is_ended_first() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut left = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .expect("spawned");
        std::fs::write(
            dir.path().join("test.pid"),
            process::identity(left.id()).expect("alive"),
        )
        .expect("written");
        let reaper = std::thread::spawn(move || left.wait());
        let component = Component::start(spec(dir.path(), "sleep 60"));
        wait_for(&component, Phase::Running).await;
        let exit = reaper.join().expect("joined").expect("ended");
        assert!(!exit.success());
        component.stop().await;
    }
}
