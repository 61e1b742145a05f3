//! The root disk of the virtual host: Debian 12, the cloud kernel's modules and our boot scripts.
//!
//! It holds nothing of the product, which comes on a disk of its own, so a code change does not
//! rebuild it. It is mounted read-only and shared by all virtual hosts of a user.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::debian::Tree;
use super::initrd::{self, busybox};
use super::kernel::Kernel;
use super::{ImageError, ext4};
use crate::cache::{Cache, Key};
use crate::tool::Tool;
use crate::{FileError, Progress};

const COPY_DEADLINE: Duration = Duration::from_secs(300);

const TREE: Tree<'_> = Tree {
    name: "machine-tree",
    packages: "ca-certificates curl dmsetup e2fsprogs iproute2 iputils-ping kmod nftables \
               openssh-server procps psmisc socat",
    finish: include_str!("../../assets/finish-root"),
};

/// Scripts of the virtual host, by path.
const SCRIPTS: [(&str, &str, u32); 6] = [
    ("etc/inittab", include_str!("../../assets/inittab"), 0o644),
    // Where busybox's acpid looks for what to do at the power button.
    (
        "etc/acpi/PWRF/00000080",
        include_str!("../../assets/power-button"),
        0o755,
    ),
    (
        "usr/lib/wrenn/boot",
        include_str!("../../assets/boot"),
        0o755,
    ),
    (
        "usr/lib/wrenn/run-agent",
        include_str!("../../assets/run-agent"),
        0o755,
    ),
    (
        "usr/lib/wrenn/stop",
        include_str!("../../assets/stop"),
        0o755,
    ),
    (
        "etc/ssh/sshd_config",
        include_str!("../../assets/sshd_config"),
        0o644,
    ),
];

/// What QEMU boots.
#[derive(Debug, Clone)]
pub(crate) struct MachineRoot {
    pub(crate) vmlinuz: PathBuf,
    pub(crate) initrd: PathBuf,
    /// ext4, to be attached read-only.
    pub(crate) disk: PathBuf,
}

impl MachineRoot {
    /// Builds what the cache lacks: minutes the first time.
    pub(crate) fn ensure(cache: &Cache, progress: Progress<'_>) -> Result<Self, ImageError> {
        let kernel = Kernel::ensure(cache, progress)?;
        let initrd = initrd::MACHINE.ensure(&kernel, cache, progress)?;
        let busybox = busybox(cache, progress)?;
        let tree = TREE.ensure(cache, progress)?;
        let mut key = Key::new(1)
            .text(&tree.to_string_lossy())
            .text(&busybox.to_string_lossy())
            .text(&kernel.modules().to_string_lossy());
        for (path, text, mode) in SCRIPTS {
            key = key.text(path).text(text).bytes(&mode.to_le_bytes());
        }
        let dir = cache.entry("machine-root", &key, progress, |dir| {
            progress("building the root disk of the virtual host");
            let root = tempfile::tempdir_in(dir).map_err(FileError::at("making", dir))?;
            ext4::unpack_tree(&tree, root.path())?;
            add(root.path(), &busybox, &kernel)?;
            let layout = ext4::Layout::ReadOnly { spare_mib: 0 };
            ext4::make(root.path(), &dir.join("root.ext4"), layout)?;
            remove(root)
        })?;
        Ok(Self {
            vmlinuz: kernel.vmlinuz(),
            initrd,
            disk: dir.join("root.ext4"),
        })
    }
}

/// Puts busybox, modules and scripts into the unpacked tree.
fn add(root: &Path, busybox: &Path, kernel: &Kernel) -> Result<(), ImageError> {
    let staged = tempfile::tempdir().map_err(FileError::at("making", root))?;
    for (path, text, mode) in SCRIPTS {
        let path = staged.path().join(path);
        let parent = path.parent().unwrap_or(staged.path());
        fs::create_dir_all(parent).map_err(FileError::at("making", parent))?;
        fs::write(&path, text).map_err(FileError::at("writing", &path))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))
            .map_err(FileError::at("writing", &path))?;
    }
    // The tree belongs to the ids of the namespace: only programs run there may write to it.
    let copy = |from: &Path, to: &str| {
        let copy = Tool::as_root("cp", COPY_DEADLINE).args(["-rT", "--preserve=mode"]);
        copy.arg(from).arg(root.join(to)).run()
    };
    copy(staged.path(), "")?;
    copy(busybox, "usr/bin/busybox")?;
    Tool::as_root("mkdir", COPY_DEADLINE)
        .arg("-p")
        .arg(root.join("usr/lib/modules"))
        .run()?;
    copy(
        &kernel.modules(),
        &format!("usr/lib/modules/{}", kernel.release),
    )?;
    Ok(())
}

/// Removes an unpacked tree, whose files may belong to the ids of a namespace.
pub(crate) fn remove(tree: tempfile::TempDir) -> Result<(), ImageError> {
    Tool::as_root("rm", COPY_DEADLINE)
        .arg("-rf")
        .arg(tree.path())
        .run()?;
    Ok(())
}
