//! A user with a home and a state directory of their own, and what they type.

use std::{
    net::TcpListener,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// How long a broken service may take to be back.
const BACK: Duration = Duration::from_secs(120);
/// Debian's user without rights.
const NOBODY: u32 = 65534;

/// Who types the commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Root,
    Nobody,
}

/// See the module.
pub(crate) struct User {
    dir: tempfile::TempDir,
    who: Who,
    pub(crate) listen: String,
    /// Set for every command.
    pub(crate) environment: Vec<(&'static str, String)>,
}

impl User {
    pub(crate) fn new() -> Self {
        // Below a directory that the services' users can enter.
        let dir = tempfile::Builder::new()
            .prefix("wrenn-up-")
            .tempdir_in("/var/tmp")
            .unwrap();
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        Self {
            dir,
            who: Who::Root,
            listen: free.local_addr().unwrap().to_string(),
            environment: Vec::new(),
        }
    }

    /// One without root's rights.
    pub(crate) fn without_root() -> Self {
        let mut user = Self::new();
        user.who = Who::Nobody;
        chown(user.dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        // The build's own directory may be closed to others.
        std::fs::copy(env!("CARGO_BIN_EXE_wrenn"), user.binary()).unwrap();
        user
    }

    fn binary(&self) -> PathBuf {
        match self.who {
            Who::Root => PathBuf::from(env!("CARGO_BIN_EXE_wrenn")),
            Who::Nobody => self.dir.path().join("wrenn"),
        }
    }

    pub(crate) fn home(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// Writes a file; its path.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.home().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = match self.who {
            Who::Root => Command::new(self.binary()),
            Who::Nobody => {
                let mut command = Command::new("setpriv");
                let ids = [
                    format!("--reuid={NOBODY}"),
                    format!("--regid={NOBODY}"),
                    "--clear-groups".to_owned(),
                ];
                command.args(ids).arg("--").arg(self.binary());
                command
            }
        };
        command
            .args(arguments)
            .current_dir(self.home())
            .env("HOME", self.home())
            .env("WRENN_STATE_DIR", self.state())
            .env("WRENN_CONFIG", self.home().join("config.toml"))
            .env("XDG_STATE_HOME", self.home().join("home"))
            .env("WRENN_CACHE_DIR", cache())
            .env_remove("DATABASE_URL")
            .env_remove("REDIS_URL")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// Runs a command and shows what it said, so that a failure can be understood.
    pub(crate) fn try_run(&self, arguments: &[&str]) -> Said {
        self.start(arguments).end()
    }

    /// Runs a command that ends with `code`; what it said on stdout.
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str], code: i32) -> String {
        let said = self.try_run(arguments);
        assert_eq!(said.code, Some(code), "wrenn {}", arguments.join(" "));
        said.stdout
    }

    /// Starts a command and does not wait for it.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        let mut command = self.command(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Running {
            line: arguments.join(" "),
            begun: Instant::now(),
            child: command.spawn().unwrap(),
        }
    }

    pub(crate) fn status(&self) -> Value {
        let output = self.command(&["status", "--json"]).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    /// The process of a component that runs.
    pub(crate) fn pid(&self, component: &str) -> Option<u32> {
        let status = self.status();
        let of = |entry: &&Value| entry["name"] == component && entry["phase"] == "running";
        let pid = status["components"].as_array()?.iter().find(of)?["pid"].as_u64()?;
        u32::try_from(pid).ok()
    }

    /// Kills a component as an accident would and waits until another process is in its place and all is well.
    pub(crate) fn kill_and_wait(&self, component: &str) {
        let old = self
            .pid(component)
            .unwrap_or_else(|| panic!("{component} runs: {}", self.status()));
        kill(old);
        eventually(component, || {
            self.pid(component).is_some_and(|pid| pid != old) && self.status()["healthy"] == true
        });
    }

    /// Runs a command in a sandbox until it works: a service may be coming back.
    pub(crate) fn exec_eventually(&self, id: &str, words: &[&str]) -> String {
        let arguments = [&["exec", id, "--"][..], words].concat();
        let mut answer = None;
        eventually("exec", || {
            let said = self.try_run(&arguments);
            answer = (said.code == Some(0)).then_some(said.stdout);
            answer.is_some()
        });
        answer.unwrap()
    }

    /// Processes that name our state directory or work in it.
    pub(crate) fn processes(&self) -> Vec<String> {
        let state = self.state();
        let named = state.display().to_string();
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        processes
            .filter(|process| process.file_name().to_string_lossy().parse::<u32>().is_ok())
            .filter_map(|process| {
                let line = std::fs::read(process.path().join("cmdline")).ok()?;
                let line = String::from_utf8_lossy(&line).replace('\0', " ");
                let works_there = std::fs::read_link(process.path().join("cwd"))
                    .is_ok_and(|cwd| cwd.starts_with(&state));
                (line.contains(&named) || works_there).then_some(line)
            })
            .collect()
    }

    #[track_caller]
    pub(crate) fn assert_nothing_runs(&self) {
        assert_eq!(self.processes(), Vec::<String>::new());
    }
}

impl Drop for User {
    fn drop(&mut self) {
        if self.state().join("up.json").exists() {
            if std::thread::panicking() {
                let _ = self.try_run(&["logs", "--tail", "60"]);
            }
            let _ = self.try_run(&["down", "--force", "--purge", "--yes"]);
        }
    }
}

/// What a command said.
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Said {
    /// Checks the exit code and that the words stand on stderr.
    #[track_caller]
    pub(crate) fn failed(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "`{word}`: {}", self.stderr);
        }
    }
}

/// A command that runs.
pub(crate) struct Running {
    line: String,
    begun: Instant,
    pub(crate) child: Child,
}

impl Running {
    /// Sends what Ctrl-C sends.
    pub(crate) fn interrupt(&self) {
        signal(self.child.id(), Signal::INT);
    }

    /// Waits for its end.
    pub(crate) fn end(self) -> Said {
        let Output {
            status,
            stdout,
            stderr,
        } = self.child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let said = Said {
            code: status.code(),
            stdout: text(stdout),
            stderr: text(stderr),
        };
        eprintln!(
            "$ wrenn {}  → {status} in {:.1} s",
            self.line,
            self.begun.elapsed().as_secs_f64()
        );
        eprint!("{}{}", said.stdout, said.stderr);
        said
    }
}

/// The caller's image cache, also for users with another home.
fn cache() -> PathBuf {
    std::env::var_os("WRENN_CACHE_DIR")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("XDG_CACHE_HOME")?).join("wrenn")))
        .or_else(|| Some(std::env::home_dir()?.join(".cache/wrenn")))
        .unwrap()
}

pub(crate) fn kill(pid: u32) {
    signal(pid, Signal::KILL);
}

fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// Waits until `holds`.
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < BACK, "not in {BACK:?}: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
