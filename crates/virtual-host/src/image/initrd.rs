//! The two initrds: of the virtual host and of guests.
//!
//! Each holds a static busybox, the few modules that are needed to reach the root disk, and an init
//! script that loads them and switches to the real root.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::cpio::Archive;
use super::debian::Package;
use super::kernel::Kernel;
use super::{ImageError, modules};
use crate::cache::{Cache, Key};
use crate::{FileError, Progress};

/// What makes one initrd differ from the other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Initrd {
    name: &'static str,
    init: &'static str,
    modules: &'static [&'static str],
}

/// For guests under Firecracker: disk, network and balloon, the host's clock, and the file systems
/// and devices that programs expect and nothing loads on demand (guest.md §12).
pub(crate) const GUEST: Initrd = Initrd {
    name: "guest-initrd",
    init: include_str!("../../../../guest/initrd-init"),
    modules: &[
        "virtio_mmio",
        "virtio_blk",
        "virtio_net",
        "virtio_balloon",
        "virtio-rng",
        "ptp_kvm",
        "fuse",
        "overlay",
        "tun",
    ],
};

/// For the virtual host under QEMU.
pub(crate) const MACHINE: Initrd = Initrd {
    name: "machine-initrd",
    init: include_str!("../../assets/initrd-init"),
    modules: &["virtio_pci", "virtio_blk"],
};

impl Initrd {
    /// The path of the initrd for `kernel`.
    pub(crate) fn ensure(
        &self,
        kernel: &Kernel,
        cache: &Cache,
        progress: Progress<'_>,
    ) -> Result<PathBuf, ImageError> {
        let busybox = busybox(cache, progress)?;
        let key = Key::new(1)
            .text(&kernel.release)
            .text(&kernel.version)
            .text(&busybox.to_string_lossy())
            .text(self.init)
            .text(&self.modules.join(" "));
        let dir = cache.entry(self.name, &key, progress, |dir| {
            let files = modules::load_order(&kernel.modules(), self.modules)?;
            let archive = self.archive(&busybox, &files)?;
            write(&dir.join("initrd"), &archive).map_err(ImageError::from)
        })?;
        Ok(dir.join("initrd"))
    }

    fn archive(&self, busybox: &Path, modules: &[PathBuf]) -> Result<Vec<u8>, FileError> {
        let read = |path: &Path| fs::read(path).map_err(FileError::at("reading", path));
        let mut archive = Archive::default();
        for dir in ["bin", "dev", "modules", "proc", "root", "sys"] {
            archive.dir(dir);
        }
        archive.executable("bin/busybox", &read(busybox)?);
        archive.executable("init", self.init.as_bytes());
        // The init script loads them in the order of their names.
        for (n, path) in modules.iter().enumerate() {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            archive.executable(&format!("modules/{n:02}-{name}"), &read(path)?);
        }
        Ok(archive.finish())
    }
}

/// A static busybox out of Debian's package.
pub(crate) fn busybox(cache: &Cache, progress: Progress<'_>) -> Result<PathBuf, ImageError> {
    let package = Package::candidate("busybox-static")?;
    let key = Key::new(1).text(&package.version);
    let dir = cache.entry("busybox", &key, progress, |dir| {
        progress("downloading busybox");
        package.unpack(dir)
    })?;
    Ok(dir.join("bin/busybox"))
}

fn write(path: &Path, archive: &[u8]) -> Result<(), FileError> {
    let failed = FileError::at("writing", path);
    let pack = || {
        let file = fs::File::create(path)?;
        // Little work for the guest, which unpacks it at every boot.
        let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        encoder.write_all(archive)?;
        encoder.finish()?.sync_all()
    };
    pack().map_err(failed)
}
