//! The three cgroups of a guest: `envd` for the agent, `user` for processes, `pty` for terminals.
//!
//! A guest without cgroup v2 works without placement; every failure here is told and lived with.

use std::{fs, io, os::fd::OwnedFd, path::Path, sync::Arc};

use rustix::fs::{Mode, OFlags};

use super::{freezer::Freezer, vital};

/// Which group a process belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    User,
    Pty,
}

/// The groups that envd places processes in, held open for `CLONE_INTO_CGROUP`.
#[derive(Debug)]
pub(crate) struct Cgroups {
    user: Arc<OwnedFd>,
    pty: Arc<OwnedFd>,
    freezer: Freezer,
}

impl Cgroups {
    /// Makes the groups under `root` and applies their limits.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        let memory = vital::memory().total;
        let reserve = (memory / 8).clamp(32 << 20, 128 << 20);
        let limit = memory.saturating_sub(reserve).to_string();
        let pids = fs::read_to_string("/proc/sys/kernel/pid_max")?;
        let pids = pids.trim().parse::<u64>().unwrap_or(32768) * 9 / 10;

        let own = root.join("envd");
        fs::create_dir_all(&own)?;
        set(&own, "cpu.weight", "300");
        set(&own, "memory.min", &(50_u64 << 20).to_string());
        let pty = root.join("pty");
        fs::create_dir_all(&pty)?;
        set(&pty, "cpu.weight", "200");
        let user = root.join("user");
        fs::create_dir_all(&user)?;
        set(&user, "cpu.weight", "50");
        set(&user, "pids.max", &pids.to_string());
        for group in [&pty, &user] {
            set(group, "memory.high", &limit);
            set(group, "memory.max", &limit);
        }
        Ok(Self {
            user: open_directory(&user)?.into(),
            pty: open_directory(&pty)?.into(),
            freezer: Freezer::new([user, pty]),
        })
    }

    /// The directory of a group.
    pub(crate) fn group(&self, group: Group) -> Arc<OwnedFd> {
        Arc::clone(match group {
            Group::User => &self.user,
            Group::Pty => &self.pty,
        })
    }

    /// What stops and continues all of their processes.
    pub(crate) fn freezer(&self) -> &Freezer {
        &self.freezer
    }
}

/// At boot: hands the controllers down and moves this process to the group of the agent.
pub(crate) fn prepare(root: &Path) -> io::Result<()> {
    fs::write(
        root.join("cgroup.subtree_control"),
        "+cpu +memory +io +pids",
    )?;
    let own = root.join("envd");
    fs::create_dir_all(&own)?;
    fs::write(own.join("cgroup.procs"), "0")
}

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

fn set(group: &Path, name: &str, value: &str) {
    let file = group.join(name);
    if let Err(fault) = fs::write(&file, value) {
        tracing::warn!(file = %file.display(), %fault, "cannot set a cgroup value");
    }
}
