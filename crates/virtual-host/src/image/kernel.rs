//! Debian's cloud kernel, used by the virtual host (as bzImage) and by guests (as ELF).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::debian::Package;
use super::{ImageError, bzimage};
use crate::cache::{Cache, Key};
use crate::tool::Tool;
use crate::{FileError, Progress};

const DEPMOD_DEADLINE: Duration = Duration::from_secs(120);

/// One kernel version, unpacked in the cache.
#[derive(Debug, Clone)]
pub(crate) struct Kernel {
    /// Debian's package version, such as `6.1.192-2`: what kernels are called in `kernels/`.
    pub(crate) version: String,
    /// What `uname -r` says.
    pub(crate) release: String,
    dir: PathBuf,
}

impl Kernel {
    /// The newest cloud kernel of the machine's apt sources.
    pub(crate) fn ensure(cache: &Cache, progress: Progress<'_>) -> Result<Self, ImageError> {
        let package = Package::behind("linux-image-cloud-amd64")?;
        let key = Key::new(1).text(&package.name).text(&package.version);
        let dir = cache.entry("kernel", &key, progress, |dir| {
            progress(&format!("downloading {} {}", package.name, package.version));
            unpack(&package, dir)
        })?;
        let release = package
            .name
            .strip_prefix("linux-image-")
            .unwrap_or(&package.name);
        Ok(Self {
            release: release.to_owned(),
            version: package.version,
            dir,
        })
    }

    /// The bzImage.
    pub(crate) fn vmlinuz(&self) -> PathBuf {
        self.dir.join("vmlinuz")
    }

    /// The ELF file.
    pub(crate) fn vmlinux(&self) -> PathBuf {
        self.dir.join("vmlinux")
    }

    /// `lib/modules/<release>` with depmod's indices.
    pub(crate) fn modules(&self) -> PathBuf {
        self.dir.join("lib/modules").join(&self.release)
    }
}

fn unpack(package: &Package, dir: &Path) -> Result<(), ImageError> {
    package.unpack(dir)?;
    let release = package
        .name
        .strip_prefix("linux-image-")
        .unwrap_or(&package.name);
    let packed = dir.join(format!("boot/vmlinuz-{release}"));
    let image = fs::read(&packed).map_err(FileError::at("reading", &packed))?;
    let (vmlinuz, vmlinux) = (dir.join("vmlinuz"), dir.join("vmlinux"));
    fs::write(&vmlinux, bzimage::vmlinux(&image)?).map_err(FileError::at("writing", &vmlinux))?;
    fs::rename(&packed, &vmlinuz).map_err(FileError::at("writing", &vmlinuz))?;
    for rest in ["boot", "usr"] {
        let path = dir.join(rest);
        fs::remove_dir_all(&path).map_err(FileError::at("removing", &path))?;
    }
    Tool::new("depmod", DEPMOD_DEADLINE)
        .arg("-b")
        .arg(dir)
        .arg(release)
        .run()?;
    Ok(())
}
