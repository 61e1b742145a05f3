//! One cgroup (v2) a VM, by plain files.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::JailError;

/// Controllers that a VM's cgroup needs, enabled from the root down.
const CONTROLLERS: &str = "+cpu +io +memory +pids";
/// CPU accounting period, microseconds.
const PERIOD_US: u64 = 100_000;
/// Memory beyond the guest's own: the VMM, its page tables, and page cache of its disk.
const MEMORY_OVERHEAD: u64 = 128 << 20;
/// CPU beyond the guest's own, in percent of one: device emulation on the VMM's own threads.
const CPU_OVERHEAD_PERCENT: u64 = 25;
/// vCPU threads, API and device threads, a page server, and the jailer before it ends.
const PROCESSES_BESIDE_VCPUS: u32 = 32;

/// Bounds on what the VM's processes may use together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// CPU time, percent of one CPU.
    pub cpu_percent: u64,
    /// Bytes.
    pub memory: u64,
    /// Threads and processes.
    pub processes: u32,
    /// Block devices with bounds; others are not bounded.
    pub io: Vec<IoLimit>,
}

/// Bounds on one block device, each a second; `None` does not bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoLimit {
    pub major: u32,
    pub minor: u32,
    pub read_bytes: Option<u64>,
    pub write_bytes: Option<u64>,
    pub reads: Option<u64>,
    pub writes: Option<u64>,
}

impl Limits {
    /// What a guest of this size needs, plus a fixed overhead for the VMM.
    pub fn of_guest(vcpus: u32, memory_mib: u32) -> Self {
        Self {
            cpu_percent: u64::from(vcpus) * 100 + CPU_OVERHEAD_PERCENT,
            memory: (u64::from(memory_mib) << 20) + MEMORY_OVERHEAD,
            processes: vcpus + PROCESSES_BESIDE_VCPUS,
            io: Vec::new(),
        }
    }
}

impl IoLimit {
    /// A line of `io.max`.
    fn line(&self) -> String {
        let bound = |value: Option<u64>| value.map_or("max".into(), |value| value.to_string());
        format!(
            "{}:{} rbps={} wbps={} riops={} wiops={}",
            self.major,
            self.minor,
            bound(self.read_bytes),
            bound(self.write_bytes),
            bound(self.reads),
            bound(self.writes)
        )
    }
}

/// The cgroup `<root>/<parent>/<id>`; may or may not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cgroup {
    root: PathBuf,
    parent: String,
    id: String,
}

impl Cgroup {
    pub(crate) fn new(root: &Path, parent: &str, id: &str) -> Self {
        Self {
            root: root.to_owned(),
            parent: parent.to_owned(),
            id: id.to_owned(),
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.root.join(&self.parent).join(&self.id)
    }

    /// Its name as `/proc/<pid>/cgroup` shows it.
    pub(crate) fn name(&self) -> String {
        format!("/{}/{}", self.parent, self.id)
    }

    /// Makes it and sets its limits.
    pub(crate) fn create(&self, limits: &Limits) -> Result<(), JailError> {
        let parent = self.root.join(&self.parent);
        write(&self.root.join("cgroup.subtree_control"), CONTROLLERS)?;
        std::fs::create_dir_all(&parent)
            .map_err(|source| JailError::file("create", &parent, source))?;
        write(&parent.join("cgroup.subtree_control"), CONTROLLERS)?;
        let path = self.path();
        std::fs::create_dir(&path).map_err(|source| JailError::file("create", &path, source))?;
        // A VM without its VMM's threads is no VM: the kernel's out-of-memory kill takes all or none.
        write(&path.join("memory.oom.group"), "1")?;
        self.limit(limits)
    }

    /// Sets its limits.
    pub(crate) fn limit(&self, limits: &Limits) -> Result<(), JailError> {
        let path = self.path();
        let quota = limits.cpu_percent * PERIOD_US / 100;
        write(&path.join("cpu.max"), &format!("{quota} {PERIOD_US}"))?;
        write(&path.join("memory.max"), &limits.memory.to_string())?;
        write(&path.join("pids.max"), &limits.processes.to_string())?;
        for limit in &limits.io {
            write(&path.join("io.max"), &limit.line())?;
        }
        Ok(())
    }

    /// Kills everything in it. `cgroup.kill` is atomic but came with Linux 5.14; before, each process in turn.
    pub(crate) fn kill(&self) -> Result<(), JailError> {
        let path = self.path();
        match std::fs::write(path.join("cgroup.kill"), "1") {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(JailError::file("kill the processes of", &path, source)),
        }
        for pid in self.processes()? {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                // One that is gone by now is what we wanted.
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        Ok(())
    }

    /// The processes in it; none if it does not exist.
    pub(crate) fn processes(&self) -> Result<Vec<i32>, JailError> {
        let list = self.path().join("cgroup.procs");
        match std::fs::read_to_string(&list) {
            Ok(text) => Ok(text.lines().filter_map(|line| line.parse().ok()).collect()),
            Err(error) if gone(&error) => Ok(Vec::new()),
            Err(source) => Err(JailError::file("read", &list, source)),
        }
    }

    /// Kills what is in it, waits for the kernel to have it ended, and removes it. The wait is a bounded
    /// retry: an exiting process leaves its cgroup a moment after its death is announced.
    pub(crate) async fn remove(&self) -> Result<(), JailError> {
        let path = self.path();
        for pause in [1, 2, 5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000, 1000] {
            match tokio::fs::remove_dir(&path).await {
                Ok(()) => return Ok(()),
                Err(error) if gone(&error) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                    self.kill()?;
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                }
                Err(source) => return Err(JailError::file("remove", &path, source)),
            }
        }
        tokio::fs::remove_dir(&path)
            .await
            .map_err(|source| JailError::file("remove", &path, source))
    }
}

/// ENOENT, or ENODEV: the directory vanished while a file of it was open.
fn gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

fn write(path: &Path, value: &str) -> Result<(), JailError> {
    std::fs::write(path, value).map_err(|source| JailError::file("set", path, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_a_guest_leave_room_for_its_vmm() {
        let limits = Limits::of_guest(2, 512);
        assert_eq!(
            (limits.cpu_percent, limits.memory, limits.processes),
            (225, 640 << 20, 34)
        );
    }

    #[test]
    fn an_io_limit_is_a_line_of_io_max() {
        let limit = IoLimit {
            major: 253,
            minor: 4,
            write_bytes: Some(1000),
            ..IoLimit::default()
        };
        assert_eq!(limit.line(), "253:4 rbps=max wbps=1000 riops=max wiops=max");
    }

    #[test]
    fn a_cgroup_is_named_as_proc_names_it() {
        let cgroup = Cgroup::new(Path::new("/sys/fs/cgroup"), "wrenn", "sbx-1");
        assert_eq!(cgroup.name(), "/wrenn/sbx-1");
        assert_eq!(cgroup.path(), Path::new("/sys/fs/cgroup/wrenn/sbx-1"));
    }
}
