//! The private PostgreSQL: made once, reached by a Unix socket only, never run as root.
//!
//! The cluster is made beside its place and renamed, so that a killed `initdb` leaves nothing that looks whole.
//! Access is by the directory of the socket: the service's user and root, nobody else, can enter it.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use super::{
    component::{Component, Phase, Spec},
    program::{User, as_user, find, missing, service_user},
    state::StateDir,
};
use crate::error::{Attempt, CliError};

/// Role and database of the platform.
const ROLE: &str = "wrenn";
const DATABASE: &str = "wrenn";
/// Oldest version that is supported.
const OLDEST: u32 = 15;
const PACKAGES: &str = "postgresql";
const READY_LIMIT: Duration = Duration::from_secs(60);

/// The programs of one installed version.
#[derive(Debug, Clone)]
pub(crate) struct Binaries {
    dir: PathBuf,
    major: u32,
}

impl Binaries {
    /// The newest that is installed.
    pub(crate) fn find() -> Result<Self, CliError> {
        let versions = fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path().join("bin"));
        let on_path = find("initdb")
            .and_then(|initdb| fs::canonicalize(initdb).ok()?.parent().map(Path::to_owned));
        let newest = versions
            .chain(on_path)
            .filter(|dir| dir.join("initdb").is_file())
            .filter_map(|dir| major_version(&dir.join("postgres")).map(|major| Self { dir, major }))
            .max_by_key(|binaries| binaries.major);
        match newest {
            Some(binaries) if binaries.major >= OLDEST => Ok(binaries),
            Some(old) => Err(CliError::local(format_args!(
                "PostgreSQL {} is installed, {OLDEST} or newer is needed",
                old.major
            ))
            .hint(
                "install",
                format_args!("sudo apt-get install -y {PACKAGES}"),
            )
            .hint("or", "DATABASE_URL=postgres://… wrenn up")),
            None => {
                Err(missing("PostgreSQL", PACKAGES)
                    .hint("or", "DATABASE_URL=postgres://… wrenn up"))
            }
        }
    }

    /// Its major version.
    pub(crate) fn major(&self) -> u32 {
        self.major
    }
}

pub(super) fn major_version(postgres: &Path) -> Option<u32> {
    let output = std::process::Command::new(postgres)
        .arg("--version")
        .output()
        .ok()?;
    parse_version(&String::from_utf8_lossy(&output.stdout))
}

fn parse_version(text: &str) -> Option<u32> {
    text.split_whitespace()
        .find_map(|word| word.split('.').next()?.parse().ok())
}

/// A private PostgreSQL in a state directory.
#[derive(Debug, Clone)]
pub(crate) struct Postgres {
    binaries: Binaries,
    user: Option<User>,
    home: PathBuf,
    sockets: PathBuf,
    log: PathBuf,
    record: PathBuf,
}

impl Postgres {
    pub(crate) fn new(state: &StateDir) -> Result<Self, CliError> {
        Ok(Self {
            binaries: Binaries::find()?,
            user: service_user("postgres", PACKAGES)?,
            home: state.at("postgres"),
            sockets: state.at("run/postgres"),
            log: state.at("logs/postgres.log"),
            record: state.at("run/postgres.pid"),
        })
    }

    /// How the control plane reaches it.
    pub(crate) fn url(state: &StateDir) -> String {
        let sockets = state.at("run/postgres");
        let encoded: String =
            form_urlencoded::byte_serialize(sockets.as_os_str().as_encoded_bytes()).collect();
        format!("postgres://{ROLE}@localhost/{DATABASE}?host={encoded}")
    }

    fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    /// Makes the cluster and its database unless they exist.
    pub(crate) fn prepare(&self) -> Result<(), CliError> {
        for dir in [&self.home, &self.sockets] {
            match &self.user {
                Some(user) => user.make_dir(dir)?,
                None => super::state::make_dir(dir, 0o700)?,
            }
        }
        let data = self.data();
        if data.exists() {
            return self.check_version(&data);
        }
        let half = self.home.join("data.new");
        if half.exists() {
            fs::remove_dir_all(&half).attempt(|| format!("remove {}", half.display()))?;
        }
        let half_text = half.display().to_string();
        let arguments = [
            "-D",
            &half_text,
            "-U",
            ROLE,
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "--auth-local=trust",
            "--auth-host=reject",
        ];
        self.run("initdb", &arguments, "")?;
        self.run(
            "postgres",
            &["--single", "-D", &half_text, "postgres"],
            &format!("CREATE DATABASE {DATABASE}\n"),
        )?;
        fs::rename(&half, &data).attempt(|| format!("make {}", data.display()))
    }

    fn check_version(&self, data: &Path) -> Result<(), CliError> {
        let found = fs::read_to_string(data.join("PG_VERSION"))
            .attempt(|| format!("read {}", data.display()))?;
        if found.trim() == self.binaries.major.to_string() {
            return Ok(());
        }
        Err(CliError::local(format_args!(
            "{} was made by PostgreSQL {}, but {} is installed",
            data.display(),
            found.trim(),
            self.binaries.major
        ))
        .hint(
            "install",
            format_args!("sudo apt-get install -y postgresql-{}", found.trim()),
        ))
    }

    fn run(&self, program: &str, arguments: &[&str], input: &str) -> Result<(), CliError> {
        let failed = |why: &str| {
            CliError::local(format_args!("make the database with {program}: {why}"))
                .hint("check", "wrenn doctor --only services")
        };
        let mut child = as_user(
            &self.binaries.dir.join(program),
            self.user.as_ref(),
            Some("KILL"),
        )
        .args(arguments)
        .current_dir("/")
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(&error.to_string()))?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin
                .write_all(input.as_bytes())
                .map_err(|error| failed(&error.to_string()))?;
        }
        let output = child
            .wait_with_output()
            .map_err(|error| failed(&error.to_string()))?;
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stderr);
        Err(failed(reason(&text)))
    }

    /// The component that runs it.
    pub(crate) fn spec(&self) -> Spec {
        let setting = |name: &str, value: &str| ["-c".to_owned(), format!("{name}={value}")];
        let arguments = [
            ["-D".to_owned(), self.data().display().to_string()],
            setting("listen_addresses", ""),
            setting(
                "unix_socket_directories",
                &self.sockets.display().to_string(),
            ),
            setting("unix_socket_permissions", "0700"),
            setting("log_destination", "stderr"),
            setting("logging_collector", "off"),
            setting("log_line_prefix", ""),
            setting("jit", "off"),
        ];
        Spec {
            name: "postgres",
            program: self.binaries.dir.join("postgres"),
            arguments: arguments.concat(),
            environment: BTreeMap::from([("LC_ALL".to_owned(), "C.UTF-8".to_owned())]),
            user: self.user.clone(),
            // Fast shutdown: ends sessions, writes a checkpoint.
            stop_signal: Signal::INT,
            grace: Duration::from_secs(60),
            log: self.log.clone(),
            record: self.record.clone(),
            address: self.sockets.display().to_string(),
        }
    }

    /// Waits until it takes connections.
    pub(crate) async fn wait_ready(&self, component: &Component) -> Result<(), CliError> {
        let begun = Instant::now();
        loop {
            let mut probe = tokio::process::Command::new(self.binaries.dir.join("pg_isready"));
            probe
                .arg("-q")
                .arg("-h")
                .arg(&self.sockets)
                .args(["-U", ROLE, "-d", DATABASE, "-t", "3"]);
            let ready = probe.status().await.attempt(|| "run pg_isready")?;
            let status = component.status();
            if ready.success() && status.phase == Phase::Running {
                return Ok(());
            }
            if status.phase == Phase::Failed || begun.elapsed() > READY_LIMIT {
                let why = status
                    .last_error
                    .unwrap_or_else(|| component.tail().join(" | "));
                return Err(
                    CliError::local(format_args!("PostgreSQL does not start: {why}"))
                        .hint("logs", "wrenn logs postgres --tail 50"),
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// The line that says why a program of PostgreSQL failed; what it does about it comes after.
pub(super) fn reason(said: &str) -> &str {
    let is_fault = |line: &&str| {
        ["error:", "ERROR:", "FATAL:", "PANIC:"]
            .iter()
            .any(|word| line.contains(word))
    };
    let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
    lines()
        .find(is_fault)
        .or_else(|| lines().next_back())
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_by_its_fault_and_not_by_the_clearing_up() {
        let check = |said: &str, expected: &str| assert_eq!(reason(said), expected);
        check(
            "initdb: error: could not write file \"x\": No space left on device\ninitdb: removing data directory \"y\"\n",
            "initdb: error: could not write file \"x\": No space left on device",
        );
        check("odd\nwords\n\n", "words");
        check("", "no message");
    }

    #[test]
    fn versions_are_read_as_debian_prints_them() {
        assert_eq!(
            parse_version("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"),
            Some(15)
        );
        assert_eq!(parse_version("postgres (PostgreSQL) 17beta1"), None);
        assert_eq!(parse_version(""), None);
    }
}
