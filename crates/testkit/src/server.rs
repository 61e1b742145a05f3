//! A private server program of a test: a child that never outlives the test process.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

/// How long a server may take until it answers.
const START: Duration = Duration::from_secs(60);

/// A running server. Killed when dropped, and by the kernel when this process ends in any other way.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// Ends the thread that stands as the child's parent.
    _parent: mpsc::Sender<()>,
}

impl Server {
    /// Starts `program`, as `user` when this process is root and a user is given, and waits until `ready`.
    ///
    /// The kernel's parent-death signal follows the *thread* that started the child, so a thread of its
    /// own stands as the parent for as long as this value lives.
    ///
    /// # Errors
    /// When the program cannot be started, ends, or is not ready within a minute.
    pub(crate) fn start(
        program: &Path,
        arguments: &[&str],
        user: Option<&str>,
        log: &Path,
        ready: impl Fn() -> bool,
    ) -> Result<Self> {
        let mut command = as_user(user);
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(log).with_context(|| format!("make {}", log.display()))?)
            .stderr(std::fs::File::options().append(true).open(log)?);
        let (parent, stop) = mpsc::channel::<()>();
        let (spawned, child) = mpsc::channel();
        thread::spawn(move || {
            let _ = spawned.send(command.spawn());
            let _ = stop.recv();
        });
        let child = child
            .recv()?
            .with_context(|| format!("start {}", program.display()))?;
        let mut server = Self {
            child,
            _parent: parent,
        };
        let begun = Instant::now();
        while !ready() {
            if let Some(status) = server.child.try_wait()? {
                let said = std::fs::read_to_string(log).unwrap_or_default();
                bail!("{} ended with {status}: {said}", program.display());
            }
            ensure!(
                begun.elapsed() < START,
                "{} is not ready",
                program.display()
            );
            thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }

    /// Kills it, as a crash would.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A directory that is removed when dropped, or, where this process could not, by a later one.
pub(crate) fn scratch(name: &str) -> Result<TempDir> {
    const MARK: &str = "wrenn-test-";
    for entry in std::fs::read_dir(std::env::temp_dir())?.flatten() {
        let name = entry.file_name();
        let owner = name
            .to_str()
            .and_then(|name| name.strip_prefix(MARK)?.split('-').next());
        if owner.is_some_and(|owner| !Path::new("/proc").join(owner).exists()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    let prefix = format!("{MARK}{}-{name}-", std::process::id());
    tempfile::Builder::new()
        .prefix(&prefix)
        .tempdir()
        .context("make a scratch directory")
}

/// `setpriv` with the identity to take: servers that refuse to run as root get their own user.
pub(crate) fn as_user(user: Option<&str>) -> Command {
    let mut command = Command::new("setpriv");
    if let Some(user) = user.filter(|_| rustix::process::geteuid().is_root()) {
        command.args(["--reuid", user, "--regid", user, "--clear-groups"]);
    }
    command
}

/// The first of `names` below `directories` or in the `PATH`.
///
/// # Errors
/// When there is none.
pub(crate) fn find_program(name: &str, directories: &[PathBuf]) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path);
    directories
        .iter()
        .cloned()
        .chain(in_path)
        .map(|directory| directory.join(name))
        .find(|program| program.is_file())
        .with_context(|| format!("find `{name}`; `make test` installs it"))
}
