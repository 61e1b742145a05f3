//! Needs that the kernel meets.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

use super::{Check, KvmProbe};

/// Oldest kernel that has everything.
const OLDEST: (u32, u32) = (5, 10);

pub(super) fn checks(kvm: KvmProbe) -> Vec<Check> {
    vec![
        Check::of(
            "root",
            "root, or the capabilities of host.md",
            root(),
            "run the agent as root",
        ),
        Check::of(
            "kernel",
            "Linux 5.10 or newer",
            kernel(),
            "install a newer kernel",
        ),
        Check::of(
            "KVM",
            "a /dev/kvm on which a test VM runs",
            opens("/dev/kvm").and_then(|found| (kvm.0)().map(|()| found)),
            "enable virtualisation (vmx or svm) in firmware or in the machine's host and load kvm_intel \
             or kvm_amd; without it use `wrenn up`, which starts a virtual host",
        ),
        Check::of(
            "cgroup v2",
            "cgroup v2 at /sys/fs/cgroup with cpu, io, memory, pids",
            cgroup(),
            "boot with systemd.unified_cgroup_hierarchy=1, or mount cgroup2 at /sys/fs/cgroup",
        ),
        Check::of(
            "device-mapper",
            "/dev/mapper/control and the snapshot target",
            opens("/dev/mapper/control").and_then(|found| module("dm_snapshot").map(|()| found)),
            "modprobe dm_mod dm_snapshot",
        ),
        Check::of(
            "loop",
            "/dev/loop-control",
            opens("/dev/loop-control"),
            "modprobe loop",
        ),
        Check::of("tun", "/dev/net/tun", opens("/dev/net/tun"), "modprobe tun"),
        Check::of(
            "userfaultfd",
            "the userfaultfd system call",
            userfaultfd(),
            "use a kernel with CONFIG_USERFAULTFD",
        ),
    ]
}

fn root() -> Result<String, String> {
    let uid = rustix::process::geteuid();
    let found = format!("uid {}", uid.as_raw());
    if uid.is_root() { Ok(found) } else { Err(found) }
}

fn kernel() -> Result<String, String> {
    let release = crate::facts::kernel_release();
    if version(&release).is_some_and(|version| version >= OLDEST) {
        Ok(release)
    } else {
        Err(release)
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Whether a device opens for reading and writing.
fn opens(path: &str) -> Result<String, String> {
    match File::options().read(true).write(true).open(path) {
        Ok(_) => Ok(path.to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(format!("no {path}")),
        Err(error) => Err(format!("{path}, which does not open: {error}")),
    }
}

fn cgroup() -> Result<String, String> {
    let path = "/sys/fs/cgroup/cgroup.controllers";
    let found =
        fs::read_to_string(path).map_err(|_| "no cgroup v2 at /sys/fs/cgroup".to_owned())?;
    let has = |name: &&str| !found.split_whitespace().any(|word| word == *name);
    let missing: Vec<_> = ["cpu", "io", "memory", "pids"]
        .into_iter()
        .filter(has)
        .collect();
    if missing.is_empty() {
        Ok(found.trim().to_owned())
    } else {
        Err(format!("no {}", missing.join(", ")))
    }
}

/// Whether a module is loaded, built in, or can be loaded on demand.
fn module(name: &str) -> Result<(), String> {
    let base = Path::new("/lib/modules").join(crate::facts::kernel_release());
    let listed = |file: &str| {
        fs::read_to_string(base.join(file)).is_ok_and(|text| {
            text.lines()
                .filter_map(|line| line.split(':').next())
                .any(|path| {
                    let stem = Path::new(path)
                        .file_name()
                        .and_then(|name| name.to_str())
                        .unwrap_or("");
                    stem.split('.').next().unwrap_or("").replace('-', "_") == name
                })
        })
    };
    if Path::new("/sys/module").join(name).exists()
        || listed("modules.builtin")
        || listed("modules.dep")
    {
        return Ok(());
    }
    Err(format!("no kernel module {name}"))
}

/// The system call's presence shows in the sysctl that governs it, or in its device.
fn userfaultfd() -> Result<String, String> {
    for path in ["/dev/userfaultfd", "/proc/sys/vm/unprivileged_userfaultfd"] {
        if Path::new(path).exists() {
            return Ok("available".to_owned());
        }
    }
    Err("none".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(release: &str, expected: Option<(u32, u32)>) {
        assert_eq!(version(release), expected, "{release}");
    }

    #[test]
    fn a_release_begins_with_its_version() {
        check("6.1.0-40-cloud-amd64", Some((6, 1)));
        check("5.10", Some((5, 10)));
        check("garbage", None);
        assert!(version("5.9.1") < Some(OLDEST));
    }

    #[test]
    fn a_missing_device_is_said_to_be_missing() {
        assert_eq!(
            opens("/dev/no-such-device"),
            Err("no /dev/no-such-device".to_owned())
        );
    }
}
