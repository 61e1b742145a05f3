//! Whether this machine can run KVM guests itself.
//!
//! The existence of `/dev/kvm` says little: some machines expose one on which an ordinary kernel
//! never boots. KVM counts as usable only if the device speaks API version 12, the CPU shows its
//! virtualisation extension, and a one-page test VM really runs.

mod test_vm;

use std::fs::{self, File};
use std::io;

pub use test_vm::TestVmError;

/// The API version of every KVM since Linux 2.6.22.
const API_VERSION: i32 = 12;

/// Why KVM cannot be used here, as a sentence for people.
#[derive(Debug, thiserror::Error)]
pub enum Why {
    /// The kernel offers no KVM.
    #[error("there is no /dev/kvm: the kvm module is not loaded or this machine has none")]
    NoDevice,
    /// The caller may not use it.
    #[error("/dev/kvm may not be opened by this user; add the user to its group, or be root")]
    Denied,
    /// The device does not open.
    #[error("/dev/kvm does not open")]
    Device(#[source] io::Error),
    /// Not the stable API.
    #[error("/dev/kvm speaks API version {0}, not 12")]
    ApiVersion(i32),
    /// The CPU has, or this machine's host passes on, no virtualisation.
    #[error("the CPU shows neither vmx nor svm: this machine has no hardware virtualisation")]
    NoExtension,
    /// All looks well, but a guest does not run.
    #[error("/dev/kvm is there, but a test VM does not run on it")]
    TestVm(#[from] TestVmError),
}

/// Finds out whether KVM is usable; takes at most a few seconds.
pub fn usable() -> Result<(), Why> {
    let device = File::options()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Why::NoDevice,
            io::ErrorKind::PermissionDenied => Why::Denied,
            _ => Why::Device(error),
        })?;
    let version = test_vm::api_version(&device).map_err(Why::Device)?;
    if version != API_VERSION {
        return Err(Why::ApiVersion(version));
    }
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    if cfg!(target_arch = "x86_64") && !shows_extension(&cpuinfo) {
        return Err(Why::NoExtension);
    }
    Ok(test_vm::run(&device)?)
}

fn shows_extension(cpuinfo: &str) -> bool {
    cpuinfo
        .lines()
        .filter_map(|line| line.strip_prefix("flags"))
        .any(|flags| {
            flags
                .split_whitespace()
                .any(|flag| flag == "vmx" || flag == "svm")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(cpuinfo: &str, expected: bool) {
        assert_eq!(shows_extension(cpuinfo), expected, "{cpuinfo}");
    }

    #[test]
    fn the_extension_is_a_whole_word_of_the_flags() {
        check("flags\t\t: fpu svm sse\n", true);
        check("processor: 0\nflags\t: fpu vmx\n", true);
        check("flags\t\t: fpu svm_lock vmxx\nmodel name: svm\n", false);
        check("", false);
    }
}
