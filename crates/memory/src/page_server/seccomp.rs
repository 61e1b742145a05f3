//! The system calls that are left once a VM is connected.
//!
//! No file, socket or process can be opened or made, nothing made executable, and of the ioctls only three are
//! left, which no other descriptor knows. What is not left fails with EPERM.

use std::{collections::BTreeMap, env::consts::ARCH};

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Is,
    SeccompCondition as Condition, SeccompFilter, SeccompRule as Rule, TargetArch,
};

use super::uffd;

/// Why the filter is not in force.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SeccompError {
    /// There is none for this machine.
    #[error("cannot build the system call filter")]
    Build(#[source] BackendError),
    /// The kernel does not take it.
    #[error("cannot install the system call filter")]
    Install(#[source] seccompiler::Error),
}

/// The calls of the loop, of the allocator, and of a process that ends and says why.
const FREE: &[i64] = &[
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_getrandom,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_ppoll,
    libc::SYS_pwrite64,
    libc::SYS_read,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_write,
    libc::SYS_writev,
];

/// Takes every other system call from every thread of this process.
pub(super) fn confine() -> Result<(), SeccompError> {
    seccompiler::apply_filter_all_threads(&program().map_err(SeccompError::Build)?)
        .map_err(SeccompError::Install)
}

fn program() -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<i64, Vec<Rule>> = FREE.iter().map(|&call| (call, Vec::new())).collect();
    let ioctls = [uffd::WAKE, uffd::COPY, uffd::ZEROPAGE];
    let ioctl = |request| argument(1, Is::Eq, u64::from(request));
    rules.insert(
        libc::SYS_ioctl,
        ioctls.into_iter().map(ioctl).collect::<Result<_, _>>()?,
    );
    let executable = Is::MaskedEq(libc::PROT_EXEC as u64);
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(call, vec![argument(2, executable.clone(), 0)?]);
    }
    let refused = SeccompAction::Errno(libc::EPERM as u32);
    let arch = TargetArch::try_from(ARCH)?;
    SeccompFilter::new(rules, refused, SeccompAction::Allow, arch)?.try_into()
}

fn argument(number: u8, is: Is, value: u64) -> Result<Rule, BackendError> {
    let condition = Condition::new(number, Length::Dword, is, value)?;
    Rule::new(vec![condition])
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File, hint::black_box, io::ErrorKind::PermissionDenied, net::TcpListener,
        os::unix::fs::FileExt, process::Command, ptr, thread,
    };

    use rustix::{
        io::Errno,
        mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap},
    };

    use super::*;

    #[test]
    fn what_the_server_does_not_need_is_refused() {
        let file = tempfile::tempfile().unwrap();
        let program = program().unwrap();
        // The filter is one thread's here: the other tests need their calls.
        let confined = thread::spawn(move || {
            seccompiler::apply_filter(&program).unwrap();
            let opened = File::open("/dev/null").unwrap_err().kind();
            let connected = TcpListener::bind("127.0.0.1:0").unwrap_err().kind();
            let started = Command::new("/bin/true").spawn().unwrap_err().kind();
            let asked = rustix::io::ioctl_fionread(&file).unwrap_err();
            let map = |protection| {
                // SAFETY: a new mapping, which nobody uses.
                unsafe { mmap_anonymous(ptr::null_mut(), 4096, protection, MapFlags::PRIVATE) }
            };
            let code = map(ProtFlags::READ | ProtFlags::EXEC).unwrap_err();
            let data = map(ProtFlags::READ | ProtFlags::WRITE).unwrap();
            // SAFETY: the mapping is ours, and nobody uses it.
            let made = unsafe { mprotect(data, 4096, MprotectFlags::EXEC) }.unwrap_err();
            // SAFETY: as before.
            unsafe { munmap(data, 4096) }.unwrap();
            // What it needs is left.
            file.write_all_at(&black_box(vec![1; 1 << 20]), 0).unwrap();
            let kinds = [opened, connected, started];
            (kinds, [asked, code, made])
        });
        let (kinds, errors) = confined.join().unwrap();
        assert_eq!(kinds, [PermissionDenied; 3]);
        assert_eq!(errors, [Errno::PERM; 3]);
    }
}
