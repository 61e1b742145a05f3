//! `wrenn up` as a user runs it: a whole platform on this machine, real microVMs included, in a state directory and
//! on a port of its own.
//!
//! One test, because it is one life: first run, use, each service killed while a sandbox runs, second run, down, up
//! again with the data still there, purge. The virtual host is slow where it is emulated; every wait is for an event.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and shows what the commands said"
)]

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// How long a broken service may take to be back.
const BACK: Duration = Duration::from_secs(120);

/// A user with a home and a state directory of their own.
struct User {
    dir: tempfile::TempDir,
    listen: String,
}

impl User {
    fn new() -> Self {
        // Below a directory that the services' users can enter.
        let dir = tempfile::Builder::new()
            .prefix("wrenn-up-")
            .tempdir_in("/var/tmp")
            .unwrap();
        std::fs::set_permissions(
            dir.path(),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )
        .unwrap();
        let free = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        Self {
            dir,
            listen: free.to_string(),
        }
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wrenn"));
        command
            .args(arguments)
            .env("WRENN_STATE_DIR", self.state())
            .env("WRENN_CONFIG", self.dir.path().join("config.toml"))
            .env("XDG_STATE_HOME", self.dir.path().join("home"))
            .env_remove("DATABASE_URL")
            .env_remove("REDIS_URL")
            .stdin(Stdio::null());
        command
    }

    /// Runs a command and shows what it said, so that a failure can be understood.
    fn try_run(&self, arguments: &[&str]) -> Output {
        let begun = Instant::now();
        let output = self.command(arguments).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        eprintln!(
            "$ wrenn {}  → {} in {:.1} s",
            arguments.join(" "),
            output.status,
            begun.elapsed().as_secs_f64()
        );
        eprint!("{}{}", text(&output.stdout), text(&output.stderr));
        output
    }

    #[track_caller]
    fn run(&self, arguments: &[&str], code: i32) -> String {
        let output = self.try_run(arguments);
        assert_eq!(
            output.status.code(),
            Some(code),
            "wrenn {}",
            arguments.join(" ")
        );
        String::from_utf8(output.stdout).unwrap()
    }

    fn status(&self) -> Value {
        let output = self.command(&["status", "--json"]).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    fn pid(&self, component: &str) -> Option<u32> {
        let status = self.status();
        let of = |entry: &&Value| entry["name"] == component && entry["phase"] == "running";
        let pid = status["components"].as_array()?.iter().find(of)?["pid"].as_u64()?;
        u32::try_from(pid).ok()
    }

    /// Kills a component as an accident would and waits until another process is in its place and all is well.
    fn kill_and_wait(&self, component: &str) {
        let old = self
            .pid(component)
            .unwrap_or_else(|| panic!("{component} runs: {}", self.status()));
        kill(old);
        let begun = Instant::now();
        while self.pid(component).is_none_or(|pid| pid == old) || self.status()["healthy"] != true {
            assert!(
                begun.elapsed() < BACK,
                "{component} did not come back: {}",
                self.status()
            );
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Runs a command in a sandbox until it works: a service may be coming back.
    fn exec_eventually(&self, id: &str, words: &[&str]) -> String {
        let arguments = [&["exec", id, "--"][..], words].concat();
        let begun = Instant::now();
        loop {
            let output = self.try_run(&arguments);
            if output.status.success() {
                return String::from_utf8(output.stdout).unwrap();
            }
            assert!(begun.elapsed() < BACK, "exec does not work again");
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// Processes whose command line names our state directory.
    fn processes(&self) -> Vec<String> {
        let state = self.state().display().to_string();
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        processes
            .filter(|process| process.file_name().to_string_lossy().parse::<u32>().is_ok())
            .filter_map(|process| {
                let line = std::fs::read(process.path().join("cmdline")).ok()?;
                let line = String::from_utf8_lossy(&line).replace('\0', " ");
                line.contains(&state).then_some(line)
            })
            .collect()
    }
}

impl Drop for User {
    fn drop(&mut self) {
        if self.state().exists() {
            if std::thread::panicking() {
                let _ = self.try_run(&["logs", "--tail", "60"]);
            }
            let _ = self.try_run(&["down", "--force", "--purge", "--yes"]);
        }
    }
}

fn kill(pid: u32) {
    kill_process(
        Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(),
        Signal::KILL,
    )
    .unwrap();
}

fn file(path: &Path, text: &str) -> String {
    std::fs::write(path, text).unwrap();
    path.display().to_string()
}

#[test]
fn a_platform_lives_from_up_to_purge() {
    let user = User::new();
    user.run(&["status"], 7);
    user.run(&["down"], 0);
    user.run(&["up", "--plan", "--listen", &user.listen], 0);
    assert!(!user.state().exists(), "a plan changes nothing");

    a_taken_port_is_refused_and_nothing_stays(&user);

    let first = user.run(
        &[
            "up",
            "--listen",
            &user.listen,
            "--memory",
            "4G",
            "--cpus",
            "2",
        ],
        0,
    );
    assert!(
        first.contains("is up") && first.contains("API key") && first.contains("password"),
        "{first}"
    );
    assert!(
        first.contains("First run") && first.contains("create "),
        "{first}"
    );
    let key = first
        .lines()
        .find_map(|line| {
            line.split_whitespace()
                .find(|word| word.starts_with("wrn_"))
        })
        .unwrap()
        .to_owned();

    let begun = Instant::now();
    let second = user.run(&["up"], 0);
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "a second up took {:?}",
        begun.elapsed()
    );
    assert!(
        !second.contains("wrn_") && !second.contains("password"),
        "{second}"
    );
    user.run(&["status"], 0);

    assert_eq!(
        user.run(&["run", "--", "python3", "-c", "print(6*7)"], 0),
        "42\n"
    );
    user.run(&["run", "--", "false"], 1);

    let created = user.run(&["sandbox", "create", "--template", "minimal"], 0);
    let id = created.split_whitespace().next().unwrap().to_owned();
    assert!(user.run(&["sandbox", "ls"], 0).contains(&id));
    assert!(
        user.run(&["sandbox", "exec", &id, "--", "uname", "-a"], 0)
            .starts_with("Linux")
    );
    let local = file(&user.dir.path().join("file"), "carried in\n");
    user.run(&["sandbox", "cp", &local, &format!("{id}:/root/file")], 0);
    assert!(
        user.run(&["sandbox", "cp", &format!("{id}:/etc/os-release"), "-"], 0)
            .contains("Debian")
    );

    for component in ["control-plane", "redis", "postgres"] {
        user.kill_and_wait(component);
        assert_eq!(
            user.exec_eventually(&id, &["cat", "/root/file"]),
            "carried in\n"
        );
    }
    kill_the_agent(&user);
    assert_eq!(
        user.exec_eventually(&id, &["cat", "/root/file"]),
        "carried in\n"
    );

    // The supervisor's death takes the services along, but not the sandbox; the next up completes.
    let supervisor = user.status()["supervisor_pid"].as_u64().unwrap();
    kill(u32::try_from(supervisor).unwrap());
    user.run(&["up"], 0);
    assert_eq!(
        user.exec_eventually(&id, &["cat", "/root/file"]),
        "carried in\n"
    );

    let refused = user.try_run(&["down"]);
    assert_eq!(refused.status.code(), Some(6));
    assert!(String::from_utf8_lossy(&refused.stderr).contains(&id));
    user.run(&["sandbox", "rm", &id], 0);
    user.run(&["down"], 0);
    assert_eq!(user.processes(), Vec::<String>::new());
    user.run(&["down"], 0);

    user.run(&["up"], 0);
    let mut listing = user.command(&["--json", "ls", "--all"]);
    listing
        .env("WRENN_API_KEY", &key)
        .env("WRENN_BASE_URL", format!("http://{}", user.listen));
    let listing = listing.output().unwrap();
    assert!(
        String::from_utf8_lossy(&listing.stdout).contains(&id),
        "records survive: {listing:?}"
    );
    assert_eq!(user.run(&["run", "--", "echo", "again"], 0), "again\n");

    user.run(&["down", "--purge", "--yes"], 0);
    assert_eq!(user.processes(), Vec::<String>::new());
    assert!(!user.state().exists());
}

fn a_taken_port_is_refused_and_nothing_stays(user: &User) {
    let _holder = TcpListener::bind(&user.listen).unwrap();
    let refused = user.try_run(&["up", "--listen", &user.listen]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        said.contains("is taken") && said.contains("--listen"),
        "{said}"
    );
    assert!(!user.state().exists() && user.processes().is_empty());
}

/// Kills the host agent where it runs: here, or in the virtual host.
fn kill_the_agent(user: &User) {
    match user.pid("host-agent") {
        Some(_) => user.kill_and_wait("host-agent"),
        None => {
            user.run(&["machine", "ssh", "--", "kill -9 $(pidof -s wrenn)"], 0);
        }
    }
}
