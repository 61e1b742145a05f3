//! What this host is and has left, read from the kernel.

use std::{fs, path::Path};

/// Memory in MiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// All of it.
    pub total_mib: u64,
    /// What a new process could get.
    pub free_mib: u64,
}

/// Disk space of one file system in MiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Disk {
    /// All of it.
    pub total_mib: u64,
    /// Free to us.
    pub free_mib: u64,
}

/// Version of this agent.
pub const AGENT_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Memory of this host.
#[must_use]
pub fn memory() -> Memory {
    parse_meminfo(&fs::read_to_string("/proc/meminfo").unwrap_or_default())
}

/// Space of the file system that holds `path`.
#[must_use]
pub fn disk(path: &Path) -> Disk {
    let Ok(stat) = rustix::fs::statvfs(path) else {
        return Disk::default();
    };
    let mib = |blocks: u64| ((u128::from(blocks) * u128::from(stat.f_frsize)) >> 20) as u64;
    Disk {
        total_mib: mib(stat.f_blocks),
        free_mib: mib(stat.f_bavail),
    }
}

/// Processors that run.
#[must_use]
pub fn cpu_cores() -> u32 {
    std::thread::available_parallelism()
        .map_or(1, |cores| cores.get().try_into().unwrap_or(u32::MAX))
}

/// Release of the running kernel.
#[must_use]
pub fn kernel_release() -> String {
    rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned()
}

/// Identifies this boot of the host.
#[must_use]
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn parse_meminfo(text: &str) -> Memory {
    let mib = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib / 1024)
    };
    Memory {
        total_mib: mib("MemTotal:").unwrap_or(0),
        free_mib: mib("MemAvailable:").unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_mib() {
        let text = "MemTotal:        4028224 kB\nMemFree:  1 kB\nMemAvailable:    3000000 kB\n";
        assert_eq!(
            parse_meminfo(text),
            Memory {
                total_mib: 3933,
                free_mib: 2929
            }
        );
        assert_eq!(parse_meminfo("MemTotal: many kB"), Memory::default());
    }

    #[test]
    fn this_machine_has_memory_and_disk() {
        assert!(memory().total_mib > 0);
        assert!(disk(Path::new("/")).total_mib > 0);
        assert!(!boot_id().is_empty());
    }
}
