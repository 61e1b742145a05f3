//! Builds what hosts need, caches it by content, and lays it out as a host agent wants it.
//!
//! [`Images::ensure`] makes an images directory: `kernels/<version>/{vmlinux,initrd}`,
//! `templates/<id>/{manifest.json,rootfs.ext4,packages.list}`, `bin/{firecracker,jailer}` and, last,
//! `images.json`, which lists every file with its SHA-256.
//! Invariant: `images.json` never names a file that is not there, and files are replaced by rename,
//! so whoever has one open keeps what was there before.

mod bzimage;
mod cpio;
mod debian;
mod ext4;
mod firecracker;
mod initrd;
mod kernel;
mod machine_root;
mod modules;
mod product;
mod publish;
mod template;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cache::{Cache, CacheError, Key};
use crate::{FileError, Progress, ToolError};

pub use bzimage::BzImageError;
pub use firecracker::{FirecrackerSource, Release};
pub(crate) use machine_root::MachineRoot;
pub(crate) use product::ensure as product_disk;
pub(crate) use publish::write_json;

/// The id of the built-in template `minimal`.
pub const MINIMAL_TEMPLATE_ID: &str = "tpl-0000000000000000000000000";

/// The guest agent that goes into templates: a fully static executable.
#[derive(Debug, Clone)]
pub struct EnvdBinary {
    /// Where it is.
    pub path: PathBuf,
    /// The version it reports, such as `0.1.0`.
    pub version: String,
}

/// What an images directory is made of.
#[derive(Debug)]
pub struct Images<'a> {
    /// The directory, usually `<state>/images`.
    pub dir: &'a Path,
    /// The guest agent for templates.
    pub envd: &'a EnvdBinary,
    /// Where Firecracker comes from.
    pub firecracker: FirecrackerSource,
}

/// A complete images directory.
#[derive(Debug, Clone)]
pub struct ImagesDir {
    path: PathBuf,
    listing: Listing,
}

/// `images.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Listing {
    format: u32,
    /// Version of the kernel in `kernels/`.
    kernel: String,
    firecracker: String,
    /// SHA-256 by path within the directory.
    files: BTreeMap<String, String>,
}

impl Images<'_> {
    /// Makes the directory complete and current: at once when nothing changed, in seconds for a new
    /// envd, in minutes the first time. Needs the network only for what the cache lacks.
    pub fn ensure(&self, cache: &Cache, progress: Progress<'_>) -> Result<ImagesDir, ImageError> {
        let kernel = kernel::Kernel::ensure(cache, progress)?;
        let initrd = initrd::GUEST.ensure(&kernel, cache, progress)?;
        let firecracker = self
            .firecracker
            .ensure(&self.dir.join("bin"), cache, progress)?;
        let template = template::ensure(self.envd, cache, progress)?;

        let mut directory = publish::Directory::open(self.dir)?;
        let kernels = format!("kernels/{}", kernel.version);
        directory.place(&kernel.vmlinux(), &format!("{kernels}/vmlinux"))?;
        directory.place(&initrd, &format!("{kernels}/initrd"))?;
        directory.place(&firecracker.dir.join("firecracker"), "bin/firecracker")?;
        directory.place(&firecracker.dir.join("jailer"), "bin/jailer")?;
        let to = |file: &str| format!("templates/{MINIMAL_TEMPLATE_ID}/{file}");
        directory.place_known(&template.rootfs(), &to("rootfs.ext4"), template.sha256()?)?;
        directory.place(&template.packages(), &to("packages.list"))?;
        directory.place(&template.manifest(), &to("manifest.json"))?;
        let listing = Listing {
            format: 1,
            kernel: kernel.version,
            firecracker: firecracker.version,
            files: directory.finish(),
        };
        publish::write_json(&self.dir.join("images.json"), &listing)?;
        Ok(ImagesDir {
            path: self.dir.to_owned(),
            listing,
        })
    }
}

impl ImagesDir {
    /// The images directory at `path`, if it was completed; checks that its files exist, not their
    /// content.
    pub fn open(path: &Path) -> Result<Option<Self>, ImageError> {
        let json = path.join("images.json");
        let bytes = match std::fs::read(&json) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(FileError::at("reading", &json))?,
        };
        let Ok(listing) = serde_json::from_slice::<Listing>(&bytes) else {
            return Ok(None);
        };
        let complete = listing.format == 1 && listing.files.keys().all(|f| path.join(f).is_file());
        Ok(complete.then(|| Self {
            path: path.to_owned(),
            listing,
        }))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The version of its guest kernel.
    pub fn kernel_version(&self) -> &str {
        &self.listing.kernel
    }

    /// The version of its Firecracker.
    pub fn firecracker_version(&self) -> &str {
        &self.listing.firecracker
    }

    /// Reads every file and compares its SHA-256; the paths of those that differ.
    pub fn damaged(&self) -> Result<Vec<PathBuf>, ImageError> {
        let mut damaged = Vec::new();
        for (file, sha256) in &self.listing.files {
            let path = self.path.join(file);
            let found = crate::cache::sha256_file(&path);
            if &found.map_err(FileError::at("reading", &path))? != sha256 {
                damaged.push(path);
            }
        }
        Ok(damaged)
    }

    fn key(&self, key: Key) -> Key {
        self.listing
            .files
            .iter()
            .fold(key, |key, (file, sha)| key.text(file).text(sha))
    }
}

/// Why an image could not be built.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A program of the system failed or is missing.
    #[error("building an image")]
    Tool(#[from] ToolError),
    /// The cache could not be used.
    #[error("building an image")]
    Cache(#[from] CacheError),
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The machine's apt does not know the package.
    #[error("apt knows no package {0}; run apt-get update on a Debian 12 machine")]
    NoPackage(String),
    /// The kernel has no such module.
    #[error("the kernel package has no module {0}")]
    NoModule(String),
    /// The kernel package's `vmlinuz` could not be used.
    #[error("taking the kernel out of its package")]
    Kernel(#[from] BzImageError),
    /// A Firecracker binary is not one of the known releases.
    #[error("{} is not a known Firecracker release (SHA-256 {sha256})", path.display())]
    UnknownFirecracker { path: PathBuf, sha256: String },
    /// Firecracker could be had from nowhere.
    #[error("no Firecracker {version} found or downloaded: {}", tried.join("; "))]
    NoFirecracker { version: String, tried: Vec<String> },
    /// A file that was put into an image did not come out again.
    #[error("{0} was not written to the image as it should be")]
    NotInjected(String),
}
