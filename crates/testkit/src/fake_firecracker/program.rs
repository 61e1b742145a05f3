//! The fake as programs: a jailer that jails nothing, and the Firecracker that it starts.
//!
//! One executable is both. Beside the name `firecracker` lies the scenario. The jailer joins the VM's
//! cgroup, starts Firecracker, writes its pid file and ends, as the real one does; there is no chroot, no
//! namespace and no other user.

use std::{
    io::Write as _,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    sync::Arc,
};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use tokio::net::UnixListener;

use super::{SOCKET, Script, Vmm};

const SCENARIO: &str = "scenario.json";
/// Where cgroup v2 is mounted.
const CGROUPS: &str = "/sys/fs/cgroup";

/// How a launch goes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Scenario {
    /// The jailer says this and ends with status 1.
    JailerRefuses(String),
    /// The jailer never ends.
    JailerHangs,
    /// The pid file holds no number.
    PidFileIsGarbage,
    /// The pid file names a process that is not the VM's.
    PidFileNamesAnother,
    /// Firecracker says this and ends before it makes its socket.
    DiesBeforeListening(String),
    /// Firecracker runs without a socket.
    NeverListens,
    /// Firecracker serves.
    Serves(Script),
}

/// Where the two programs are.
#[derive(Debug, Clone)]
pub struct Installed {
    /// Named `firecracker`.
    pub firecracker: PathBuf,
    /// Its jailer.
    pub jailer: PathBuf,
}

/// Makes `program` (the test kit's `fake-firecracker`) both programs in `directory`, with this scenario.
///
/// # Errors
/// When the directory cannot be written.
pub fn install(directory: &Path, program: &Path, scenario: &Scenario) -> Result<Installed> {
    let installed = Installed {
        firecracker: directory.join("firecracker"),
        jailer: directory.join("jailer"),
    };
    std::fs::write(directory.join(SCENARIO), serde_json::to_vec(scenario)?)
        .context("write the scenario")?;
    symlink(program, &installed.firecracker).context("install the fake Firecracker")?;
    symlink(program, &installed.jailer).context("install the fake jailer")?;
    Ok(installed)
}

/// What the executable does, by the words that it was started with.
///
/// # Errors
/// When it was not started as Firecracker or its jailer are.
pub fn run(words: &[String]) -> Result<ExitCode> {
    let value = |name: &str| {
        let mut rest = words.iter().skip_while(|word| *word != name);
        rest.nth(1).with_context(|| format!("{name} is missing"))
    };
    let scenario = |firecracker: &str| -> Result<Scenario> {
        let scenario = std::fs::read(Path::new(firecracker).with_file_name(SCENARIO));
        Ok(serde_json::from_slice(
            &scenario.context("read the scenario")?,
        )?)
    };
    match value("--exec-file") {
        Err(_) => firecracker(
            &scenario(words.first().context("a program has a name")?)?,
            value("--api-sock")?,
        ),
        Ok(firecracker) => {
            let directory = Path::new(value("--chroot-base-dir")?).join("firecracker");
            let root = directory.join(value("--id")?).join("root");
            let group = Path::new(CGROUPS)
                .join(value("--parent-cgroup")?)
                .join(value("--id")?);
            jailer(&scenario(firecracker)?, firecracker, &root, &group)
        }
    }
}

fn jailer(scenario: &Scenario, firecracker: &str, root: &Path, group: &Path) -> Result<ExitCode> {
    std::fs::write(group.join("cgroup.procs"), "0").context("join the VM's cgroup")?;
    let start = || -> Result<u32> {
        let child = Command::new(firecracker)
            .arg("--api-sock")
            .arg(root.join(SOCKET))
            .stdin(Stdio::null())
            .spawn()
            .context("start Firecracker")?;
        Ok(child.id())
    };
    let pid = match scenario {
        Scenario::JailerRefuses(why) => {
            writeln!(std::io::stderr(), "{why}")?;
            return Ok(ExitCode::FAILURE);
        }
        Scenario::JailerHangs => {
            start()?;
            hang()
        }
        Scenario::PidFileIsGarbage => format!("{} and more", start()?),
        Scenario::PidFileNamesAnother => {
            start()?;
            "1".to_owned()
        }
        _ => start()?.to_string(),
    };
    std::fs::write(root.join("firecracker.pid"), pid).context("write the pid file")?;
    Ok(ExitCode::SUCCESS)
}

fn firecracker(scenario: &Scenario, socket: &str) -> Result<ExitCode> {
    let script = match scenario {
        Scenario::DiesBeforeListening(why) => bail!("{why}"),
        Scenario::Serves(script) => script.clone(),
        _ => hang(),
    };
    let runtime = tokio::runtime::Runtime::new().context("start a runtime")?;
    runtime.block_on(async {
        let listener = UnixListener::bind(socket).context("make the socket")?;
        Arc::new(Vmm::new(script)).serve(listener).await;
        Ok(ExitCode::FAILURE)
    })
}

/// Until killed.
fn hang() -> ! {
    loop {
        std::thread::park();
    }
}
