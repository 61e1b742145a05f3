//! `wrenn-init`: the first process of the guest, which mounts, names and connects the machine and then
//! becomes the agent.
//!
//! The steps are those of the guest specification, by direct system calls and in order. A failed step
//! that leaves nothing to serve ends the boot: the process returns, the kernel panics, the VM ends and
//! the host reports it. Every other failure is one warning on the console.
//!
//! Last, the process replaces itself by `tini -- envd`, so that tini is process 1 and reaps orphans. In an
//! image without tini it becomes envd itself, which then reaps them (`process::orphans`).

mod cmdline;
mod mounts;
pub(crate) mod network;

#[cfg(feature = "fuzzing")]
pub(crate) use self::cmdline::fuzz;

use std::{
    fmt::Display,
    fs,
    io::{self, Write as _},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, ExitCode, Stdio},
};

use thiserror::Error;

use crate::guest::{cgroup, names};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const ENVD: &str = "/usr/local/bin/envd";
const TINI: [&str; 4] = [
    "/usr/bin/tini",
    "/sbin/tini",
    "/bin/tini",
    "/usr/local/bin/tini",
];
const PHC: &str = "/dev/ptp0";
/// The kernel's own limit is 128; envd may have 256 and root's programs have theirs.
const WATCHERS_OF_A_USER: &str = "/proc/sys/fs/inotify/max_user_instances";
const MOST_WATCHERS: &str = "1024";

/// A step without which there is nothing to serve.
#[derive(Debug, Error)]
enum BootError {
    #[error("mount {target}")]
    Mount {
        target: &'static str,
        source: io::Error,
    },
    #[error("read the kernel's arguments")]
    Arguments(#[source] io::Error),
    #[error("find the guest's address in the kernel's arguments")]
    Address(#[source] cmdline::AddressError),
    #[error("configure the network")]
    Network(#[source] network::NetworkError),
    #[error("start {program}")]
    Exec {
        program: &'static str,
        source: io::Error,
    },
}

/// Boots the guest. Returns only when that failed.
pub(crate) fn run() -> ExitCode {
    let Err(fault) = boot();
    let mut text = fault.to_string();
    let mut cause = std::error::Error::source(&fault);
    while let Some(one) = cause {
        text = format!("{text}: {one}");
        cause = one.source();
    }
    tell(&format!("boot stopped: {text}"));
    ExitCode::FAILURE
}

fn boot() -> Result<std::convert::Infallible, BootError> {
    mounts::mount_all()?;
    mounts::link_all();
    let line = fs::read("/proc/cmdline").map_err(BootError::Arguments)?;
    let arguments = cmdline::parse(&line);
    warn(
        "set the host name",
        names::set_hostname(names::FIRST_HOSTNAME),
    );
    let address = arguments.address.map_err(BootError::Address)?;
    network::configure(&address).map_err(BootError::Network)?;
    warn(
        "write resolv.conf",
        names::write_resolvers(&arguments.resolvers),
    );
    warn(
        "set up cgroups",
        cgroup::prepare(Path::new("/sys/fs/cgroup")),
    );
    warn(
        "raise the limit of watchers",
        fs::write(WATCHERS_OF_A_USER, MOST_WATCHERS),
    );
    if Path::new(PHC).exists() {
        warn("start chronyd", start_chrony());
    }
    become_agent()
}

fn start_chrony() -> io::Result<()> {
    // Not waited for: it is re-parented to whatever process 1 becomes, and reaped there.
    Command::new("/usr/sbin/chronyd")
        .args(["-f", "/etc/chrony/chrony.conf"])
        .env_clear()
        .env("PATH", PATH)
        .stdin(Stdio::null())
        .spawn()
        .map(drop)
}

fn become_agent() -> Result<std::convert::Infallible, BootError> {
    let tini = TINI.into_iter().find(|path| Path::new(path).exists());
    let mut command = match tini {
        Some(tini) => {
            let mut command = Command::new(tini);
            command.args(["--", ENVD]);
            command
        }
        None => Command::new(ENVD),
    };
    let source = command
        .env_clear()
        .env("PATH", PATH)
        .env("HOME", "/root")
        .env("LANG", "C.UTF-8")
        .current_dir("/")
        .exec();
    Err(BootError::Exec {
        program: tini.unwrap_or(ENVD),
        source,
    })
}

/// Tells of a step that failed and may.
fn warn<E: Display>(attempt: &str, result: Result<(), E>) {
    if let Err(fault) = result {
        tell(&format!("cannot {attempt}: {fault}"));
    }
}

fn tell(text: &str) {
    // Standard error of process 1 is the console; when it takes nothing, nobody is left to tell.
    let _ = writeln!(io::stderr(), "wrenn-init: {text}");
}
