//! One QEMU machine that carries a host agent, and everything that belongs to it.
//!
//! ```text
//!            start                 stop, or power-off inside
//! (stopped) ───────▶ [running] ─────────────────────────────▶ (stopped)
//!     ▲  attach from another process ─┘
//! ```
//!
//! All of a machine is in its state directory: `machine.json` (process and ports), `data.raw` (the
//! disk that persists), `config.tar`, `keys/`, `console.log`, `agent.log`, `qmp.sock`.
//! Invariant: at most one QEMU runs on a state directory, and `machine.json` identifies it by pid
//! and start time, so a reused pid is never taken for it or signalled.
//! Ports on 127.0.0.1 are kept over restarts while they are free.

mod config;
mod disks;
mod logs;
mod ports;
mod process;
mod qemu;
mod qmp;
mod ready;
mod ssh;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::cache::Cache;
use crate::image::{ImageError, MachineRoot, product_disk};
use crate::{Captured, FileError, Progress, ToolError};

pub use config::{Acceleration, MachineConfig, OnDrop};

use logs::LogKeeper;
use ports::Ports;
use process::{Lifeline, Process};
use ssh::Ssh;

use crate::tool::is_interrupted;

/// From power-on to the first answer of the machine's sshd; about 5 s on an idle machine.
const BOOT_DEADLINE: Duration = Duration::from_secs(180);
/// A taken port is seen only when QEMU starts: so many times other ports are tried.
const START_TRIES: usize = 5;

/// A running virtual host.
///
/// Dropping it kills the machine or leaves it running, as [`MachineConfig::on_drop`] says;
/// an attached one is always left running.
#[derive(Debug)]
pub struct VirtualHost {
    state_dir: PathBuf,
    record: Record,
    process: Process,
    ssh: Ssh,
    on_drop: OnDrop,
    _logs: LogKeeper,
    _lifeline: Option<Lifeline>,
}

/// `machine.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    format: u32,
    pid: i32,
    /// Clock ticks after boot, from `/proc/<pid>/stat`.
    start_time: u64,
    agent_port: u16,
    ssh_port: u16,
    acceleration: Acceleration,
    memory_mib: u32,
    cpus: u32,
}

/// How a machine came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// It shut itself down.
    Clean,
    /// It did not within the deadline, and was killed.
    Killed,
}

impl VirtualHost {
    /// Builds what is missing, starts the machine and returns when it answers on ssh. The agent,
    /// if there is one, starts at about the same time: see [`VirtualHost::wait_for_agent`].
    pub fn start(
        config: &MachineConfig,
        cache: &Cache,
        progress: Progress<'_>,
    ) -> Result<Self, MachineError> {
        let dir = &config.state_dir;
        fs::create_dir_all(dir).map_err(FileError::at("making", dir))?;
        let _lock = lock(dir)?;
        let last = read_record(dir)?;
        if let Some(pid) = last.as_ref().and_then(Process::of_record) {
            return Err(MachineError::AlreadyRunning { pid: pid.pid() });
        }
        let root = MachineRoot::ensure(cache, progress)?;
        let product = product_disk(
            config.images.as_ref(),
            config.wrenn.as_deref(),
            cache,
            progress,
        )?;
        let keys = ssh::Keys::ensure(&dir.join("keys"))?;
        disks::ensure_data(&dir.join("data.raw"), config.disk_gib)?;

        progress("starting the virtual host");
        let mut ports = Ports::pick(last.map(|r| (r.agent_port, r.ssh_port)))?;
        let mut tries = 1;
        let process = loop {
            disks::write_config(&dir.join("config.tar"), config, &keys, ports)?;
            match qemu::start(config, &root, &product, ports) {
                Err(ToolError::Failed { message, .. })
                    if message.contains("host forwarding") && tries < START_TRIES =>
                {
                    tries += 1;
                    ports = Ports::pick(None)?;
                }
                started => break Process::of_pid_file(&dir.join("qemu.pid"), started?)?,
            }
        };
        let lifeline = match config.on_drop {
            OnDrop::Kill => Some(Lifeline::tie(&process).map_err(FileError::at("guarding", dir))?),
            OnDrop::Leave => None,
        };
        let record = Record {
            format: 1,
            pid: process.pid(),
            start_time: process.start_time(),
            agent_port: ports.agent,
            ssh_port: ports.ssh,
            acceleration: config.acceleration,
            memory_mib: config.memory_mib,
            cpus: config.cpus,
        };
        // From here on the guard kills the machine if it does not become ready.
        let mut host = Self::assemble(dir, record, process, OnDrop::Kill, lifeline)?;
        write_record(dir, &host.record)?;
        host.wait_for_ssh(Instant::now() + BOOT_DEADLINE)?;
        host.on_drop = config.on_drop;
        Ok(host)
    }

    /// The machine that runs on `state_dir`, if one does.
    pub fn attach(state_dir: &Path) -> Result<Option<Self>, MachineError> {
        let Some(record) = read_record(state_dir)? else {
            return Ok(None);
        };
        let Some(process) = Process::of_record(&record) else {
            return Ok(None);
        };
        Self::assemble(state_dir, record, process, OnDrop::Leave, None).map(Some)
    }

    /// Shuts the machine down: the agent is asked to end, the data disk unmounted, the power goes
    /// off. After `deadline` it is killed.
    pub fn stop(mut self, deadline: Duration) -> Result<Stopped, MachineError> {
        let until = Instant::now() + deadline;
        self.on_drop = OnDrop::Kill;
        self.ssh.disconnect();
        // A machine that no longer listens is killed below.
        let asked = qmp::execute(&self.state_dir, "system_powerdown", deadline);
        if asked.is_ok() && self.process.wait_for_end(until)? {
            return Ok(Stopped::Clean);
        }
        self.process.kill();
        Ok(Stopped::Killed)
    }

    /// Runs a shell command in the machine as root, for at most `deadline`; any exit code is a
    /// result.
    pub fn exec(&self, command: &str, deadline: Duration) -> Result<Captured, MachineError> {
        Ok(self.ssh.exec(command, Vec::new(), deadline)?)
    }

    /// Writes a file of the machine, executable by everyone, making the directories above it.
    pub fn put(&self, path: &str, bytes: &[u8]) -> Result<(), MachineError> {
        Ok(self.ssh.put(path, bytes)?)
    }

    /// A system command that opens a shell in the machine, or runs what is added to it.
    pub fn ssh_command(&self) -> std::process::Command {
        self.ssh.command()
    }

    /// Waits until the agent's port answers with TLS.
    pub fn wait_for_agent(&self, deadline: Duration) -> Result<(), MachineError> {
        let answered = |port, until| ready::tls(port, until);
        self.wait(
            "the host agent",
            self.record.agent_port,
            Instant::now() + deadline,
            answered,
        )
    }

    /// Stops all virtual CPUs, and with them the machine's clock, until [`VirtualHost::unfreeze`].
    pub fn freeze(&self) -> Result<(), MachineError> {
        self.qmp("stop")
    }

    /// Lets a frozen machine go on.
    pub fn unfreeze(&self) -> Result<(), MachineError> {
        self.qmp("cont")
    }

    /// Ends the machine at once, as a power cut does.
    pub fn kill(mut self) {
        self.on_drop = OnDrop::Kill;
    }

    /// Cuts the power and starts the machine again on its disk. What the machine's kernel had not yet
    /// written to the disk is lost.
    pub fn power_cycle(
        &mut self,
        config: &MachineConfig,
        cache: &Cache,
        progress: Progress<'_>,
    ) -> Result<(), MachineError> {
        self.process.kill();
        *self = Self::start(config, cache, progress)?;
        Ok(())
    }

    /// Whether the machine still runs.
    pub fn is_running(&self) -> bool {
        self.process.is_alive()
    }

    /// Waits until the machine ends by itself; false at the deadline.
    pub fn wait_for_end(&self, deadline: Duration) -> Result<bool, MachineError> {
        Ok(self.process.wait_for_end(Instant::now() + deadline)?)
    }

    /// The port of 127.0.0.1 that reaches the agent.
    pub fn agent_port(&self) -> u16 {
        self.record.agent_port
    }

    /// The port of 127.0.0.1 that reaches sshd.
    pub fn ssh_port(&self) -> u16 {
        self.record.ssh_port
    }

    /// QEMU's process id.
    pub fn pid(&self) -> i32 {
        self.record.pid
    }

    /// How the machine's CPUs are run.
    pub fn acceleration(&self) -> Acceleration {
        self.record.acceleration
    }

    /// The serial console: kernel and boot messages. Bounded, with one older file `.1` beside it.
    pub fn log_path(&self) -> PathBuf {
        self.state_dir.join(logs::CONSOLE)
    }

    /// The agent's log, bounded likewise.
    pub fn agent_log_path(&self) -> PathBuf {
        self.state_dir.join(logs::AGENT)
    }

    fn assemble(
        state_dir: &Path,
        record: Record,
        process: Process,
        on_drop: OnDrop,
        lifeline: Option<Lifeline>,
    ) -> Result<Self, MachineError> {
        Ok(Self {
            ssh: Ssh::new(&state_dir.join("keys"), record.ssh_port),
            _logs: LogKeeper::watch(state_dir).map_err(FileError::at("watching", state_dir))?,
            state_dir: state_dir.to_owned(),
            record,
            process,
            on_drop,
            _lifeline: lifeline,
        })
    }

    fn wait_for_ssh(&self, until: Instant) -> Result<(), MachineError> {
        let answered = |port, until| ready::ssh(port, until);
        self.wait("the virtual host", self.record.ssh_port, until, answered)
    }

    fn wait(
        &self,
        what: &'static str,
        port: u16,
        until: Instant,
        answered: impl Fn(u16, Instant) -> bool,
    ) -> Result<(), MachineError> {
        let began = Instant::now();
        while !answered(port, until) {
            let reason = if !self.process.is_alive() {
                "it ended".to_owned()
            } else if is_interrupted() {
                "interrupted".to_owned()
            } else if Instant::now() < until {
                continue;
            } else {
                format!("no answer in {} s", began.elapsed().as_secs())
            };
            let console = logs::tail(&self.log_path());
            return Err(MachineError::NotReady {
                what,
                reason,
                console,
            });
        }
        Ok(())
    }

    fn qmp(&self, command: &'static str) -> Result<(), MachineError> {
        qmp::execute(&self.state_dir, command, Duration::from_secs(10))
            .map_err(|source| MachineError::Control { command, source })
    }
}

impl Drop for VirtualHost {
    fn drop(&mut self) {
        if self.on_drop == OnDrop::Kill {
            self.ssh.disconnect();
            self.process.kill();
        }
    }
}

/// Why a virtual host could not be started or used.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// Its images could not be built.
    #[error("building the virtual host")]
    Image(#[from] ImageError),
    /// QEMU, ssh or another program failed or is missing.
    #[error("running the virtual host")]
    Tool(#[from] ToolError),
    /// A file of the state directory could not be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// A machine already runs on the state directory.
    #[error("a virtual host is already running as process {pid}")]
    AlreadyRunning { pid: i32 },
    /// Another process is starting a machine on the state directory.
    #[error("another process is starting the virtual host in {}", .0.display())]
    Busy(PathBuf),
    /// The machine or its agent did not answer.
    #[error("{what} did not become ready: {reason}; its console ends: {console}")]
    NotReady {
        what: &'static str,
        reason: String,
        console: String,
    },
    /// QEMU did not take a command.
    #[error("sending {command} to QEMU")]
    Control {
        command: &'static str,
        #[source]
        source: io::Error,
    },
}

/// Held while a machine is started, so that two starters do not both find none running.
fn lock(dir: &Path) -> Result<File, MachineError> {
    let path = dir.join("machine.lock");
    let file = File::create(&path).map_err(FileError::at("making", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(MachineError::Busy(dir.to_owned())),
        Err(fs::TryLockError::Error(e)) => Err(FileError::at("locking", &path)(e).into()),
    }
}

fn read_record(dir: &Path) -> Result<Option<Record>, FileError> {
    let path = dir.join("machine.json");
    match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::at("reading", &path)(error)),
        // A damaged record tells nothing about any process.
        Ok(bytes) => Ok(serde_json::from_slice(&bytes)
            .ok()
            .filter(|r: &Record| r.format == 1)),
    }
}

fn write_record(dir: &Path, record: &Record) -> Result<(), FileError> {
    crate::image::write_json(&dir.join("machine.json"), record)
}
