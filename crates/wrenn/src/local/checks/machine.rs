//! The machine itself, and what virtualisation it has.

use wrenn_virtual_host::kvm;

use super::{Check, Group, Verdict};
use crate::{
    error::{CliError, Hint},
    local::{
        program::{find, missing},
        state::{HostChoice, Settings, StateDir},
    },
    units,
};

/// MiB that a fresh instance needs: images and a young database.
const DISK_NEEDED: u64 = 4096;
/// MiB that an instance with its images needs: little more is written.
const DISK_RUNNING: u64 = 256;
/// MiB that are comfortable.
const DISK_GOOD: u64 = 20480;
const MEMORY_NEEDED: u64 = 3 * 1024;
/// MiB of a virtual host that can hold one sandbox.
const VIRTUAL_HOST_NEEDED: u64 = 1024;

/// Programs that building images and running the virtual host need, with Debian's packages.
const PROGRAMS: [(&str, &str); 5] = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("mmdebstrap", "mmdebstrap"),
    ("mke2fs", "e2fsprogs"),
    ("ssh-keygen", "openssh-client"),
    ("depmod", "kmod"),
];

/// Fails on a machine that Wrenn does not know.
pub(super) fn supported() -> Result<(), CliError> {
    if std::env::consts::ARCH != "x86_64" {
        return Err(CliError::local(format_args!(
            "this machine is {}; the server parts need x86_64",
            std::env::consts::ARCH
        )));
    }
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    if kernel_version(&release) < (5, 10) {
        return Err(CliError::local(format_args!(
            "the kernel is {release}; 5.10 or newer is needed"
        ))
        .hint("upgrade", "the kernel, then reboot"));
    }
    if find("setpriv").is_none() {
        return Err(missing("setpriv", "util-linux"));
    }
    Ok(())
}

/// Fails when a program of the virtual host is missing; names all of them.
pub(super) fn virtual_host_programs() -> Result<(), CliError> {
    let absent: Vec<_> = PROGRAMS
        .iter()
        .filter(|(program, _)| find(program).is_none())
        .collect();
    if absent.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = absent.iter().map(|(program, _)| *program).collect();
    let packages: Vec<&str> = absent.iter().map(|(_, package)| *package).collect();
    Err(missing(&names.join(", "), &packages.join(" ")))
}

/// Fails when the virtual host that was asked for cannot work on this machine.
pub(super) fn virtual_host_fits(settings: &Settings) -> Result<(), CliError> {
    let (Some(asked), total) = (settings.memory_mib.map(u64::from), total_mebibytes()) else {
        return Ok(());
    };
    let why = if asked < VIRTUAL_HOST_NEEDED {
        format!(
            "{} or more are needed",
            units::show_mebibytes(VIRTUAL_HOST_NEEDED)
        )
    } else if asked > total {
        format!("this machine has {}", units::show_mebibytes(total))
    } else {
        return Ok(());
    };
    Err(CliError::usage(format_args!(
        "a virtual host of {} cannot work: {why}",
        units::show_mebibytes(asked)
    ))
    .hint("try", "wrenn up --memory 4G"))
}

fn total_mebibytes() -> u64 {
    let info = rustix::system::sysinfo();
    (info.totalram * u64::from(info.mem_unit)) >> 20
}

/// Fails when the disk is too full to begin.
pub(super) fn enough_disk(state: &StateDir, host: HostChoice) -> Result<(), CliError> {
    let needed = if host == HostChoice::None {
        DISK_NEEDED / 8
    } else {
        DISK_NEEDED
    };
    let needed = if state.at("images/images.json").exists() {
        DISK_RUNNING
    } else {
        needed
    };
    match free_mebibytes(state) {
        Some(free) if free < needed => Err(CliError::local(format_args!(
            "{} has {} free, {} are needed",
            state.root().display(),
            units::show_mebibytes(free),
            units::show_mebibytes(needed)
        ))
        .hint("free", "space there, or choose another disk")
        .hint("try", "wrenn up --state-dir DIR")),
        _ => Ok(()),
    }
}

/// Names the disk as the likely cause of `error` when little of it is left.
pub(crate) fn blame_disk(mut error: CliError, state: &StateDir) -> CliError {
    if let Some(free) = free_mebibytes(state).filter(|free| *free < DISK_RUNNING) {
        let root = state.root().display();
        let hint = Hint {
            verb: "free".to_owned(),
            command: format!(
                "space on the disk of {root}, which has {} left; see df -h {root}",
                units::show_mebibytes(free)
            ),
        };
        error.hints.insert(0, hint);
    }
    error
}

/// Free space on the disk that holds, or will hold, the state directory.
fn free_mebibytes(state: &StateDir) -> Option<u64> {
    let existing = state.root().ancestors().find(|dir| dir.exists())?;
    let disk = rustix::fs::statvfs(existing).ok()?;
    Some((disk.f_bavail * disk.f_frsize) >> 20)
}

fn kernel_version(release: &str) -> (u32, u32) {
    let mut numbers = release
        .split(['.', '-'])
        .map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

pub(super) fn machine(state: &StateDir) -> Vec<Check> {
    let group = Group::Machine;
    let uname = rustix::system::uname();
    let system = format!(
        "Linux {} on {}",
        uname.release().to_string_lossy(),
        std::env::consts::ARCH
    );
    let mut checks = vec![match supported() {
        Ok(()) => group.ok("system", system),
        Err(error) => group.failed("system", &error),
    }];
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    checks.push(if cpus >= 2 {
        group.ok("processors", cpus.to_string())
    } else {
        group.warn(
            "processors",
            "1",
            "give the machine a second processor; everything works, slowly",
        )
    });
    let total = total_mebibytes();
    checks.push(if total >= MEMORY_NEEDED {
        group.ok("memory", units::show_mebibytes(total))
    } else {
        group.warn(
            "memory",
            units::show_mebibytes(total),
            "give the machine 4 GiB or more",
        )
    });
    checks.push(match free_mebibytes(state) {
        None => group.skip("disk", "cannot be read"),
        Some(free) if free >= DISK_GOOD => group.ok(
            "disk",
            format!(
                "{} free for {}",
                units::show_mebibytes(free),
                state.root().display()
            ),
        ),
        Some(free) if free >= DISK_NEEDED => group.warn(
            "disk",
            format!(
                "{} free for {}",
                units::show_mebibytes(free),
                state.root().display()
            ),
            "wrenn up --state-dir DIR, on a larger disk",
        ),
        Some(free) => group.fail(
            "disk",
            format!(
                "{} free for {}",
                units::show_mebibytes(free),
                state.root().display()
            ),
            "wrenn up --state-dir DIR, on a larger disk",
        ),
    });
    let clock =
        std::fs::read_to_string("/sys/devices/system/clocksource/clocksource0/current_clocksource")
            .unwrap_or_default();
    checks.push(group.ok("clock source", clock.trim()));
    checks
}

pub(super) fn virtualisation() -> Vec<Check> {
    let group = Group::Virtualisation;
    let programs = virtual_host_programs();
    let fallback = programs.is_ok();
    let kvm = match kvm::usable() {
        Ok(()) => group.ok("KVM", "usable"),
        Err(why) => {
            let verdict = if fallback {
                Verdict::Warn
            } else {
                Verdict::Fail
            };
            let remedy = "enable virtualisation for this machine; without it sandboxes run emulated: real, but slow";
            group.check("KVM", verdict, why.to_string(), Some(remedy.to_owned()))
        }
    };
    let qemu = match programs {
        Ok(()) => group.ok("virtual host", "QEMU and the image tools are installed"),
        Err(error) => group.failed("virtual host", &error),
    };
    vec![kvm, qemu]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_virtual_host_has_room_for_a_sandbox_and_fits_the_machine() {
        let check = |memory_mib, expected: bool| {
            let settings = Settings {
                memory_mib,
                ..Settings::default()
            };
            assert_eq!(
                virtual_host_fits(&settings).is_ok(),
                expected,
                "{memory_mib:?}"
            );
        };
        check(None, true);
        check(Some(1), false);
        check(Some(1024), true);
        check(Some(u32::MAX), false);
    }

    #[test]
    fn kernel_releases_are_compared_by_number() {
        assert!(kernel_version("5.9.16-1") < (5, 10));
        assert!(kernel_version("5.10.0-28-amd64") >= (5, 10));
        assert!(kernel_version("6.1.0") >= (5, 10));
    }
}
