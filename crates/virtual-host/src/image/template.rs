//! The built-in template `minimal` (guest.md §11): Debian 12 with our agent and init.
//!
//! Built in three cached steps, the dear ones first: the Debian tree, the file system of it, and a
//! copy of that with one envd, so a new envd costs seconds.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::debian::Tree;
use super::ext4::{self, EPOCH};
use super::machine_root::remove;
use super::{EnvdBinary, ImageError, MINIMAL_TEMPLATE_ID, publish};
use crate::cache::{Cache, Key, sha256_file};
use crate::tool::Tool;
use crate::{FileError, Progress};

const SIZE_MIB: u64 = 1024;
const COPY_DEADLINE: Duration = Duration::from_secs(300);

const TREE: Tree<'_> = Tree {
    name: "minimal-tree",
    packages: include_str!("../../../../guest/minimal/packages"),
    finish: include_str!("../../../../guest/minimal/finish"),
};

/// `manifest.json` of an image template.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    format: u32,
    id: String,
    name: String,
    disk_mib: u64,
    envd_version: String,
    default_user: String,
    /// Allocated bytes of the image.
    size_bytes: u64,
    sha256: String,
}

/// A finished template in the cache.
#[derive(Debug)]
pub(crate) struct Template {
    dir: PathBuf,
}

impl Template {
    pub(crate) fn rootfs(&self) -> PathBuf {
        self.dir.join("rootfs.ext4")
    }

    pub(crate) fn manifest(&self) -> PathBuf {
        self.dir.join("manifest.json")
    }

    /// Name and version of every Debian package in it.
    pub(crate) fn packages(&self) -> PathBuf {
        self.dir.join("packages.list")
    }

    /// SHA-256 of the file system, as the manifest has it.
    pub(crate) fn sha256(&self) -> Result<String, FileError> {
        let path = self.manifest();
        let failed = FileError::at("reading", &path);
        let bytes = fs::read(&path).map_err(&failed)?;
        let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|e| failed(e.into()))?;
        Ok(manifest.sha256)
    }
}

/// The template with `envd` in it.
pub(crate) fn ensure(
    envd: &EnvdBinary,
    cache: &Cache,
    progress: Progress<'_>,
) -> Result<Template, ImageError> {
    let base = base(cache, progress)?;
    let binary = sha256_file(&envd.path).map_err(FileError::at("reading", &envd.path))?;
    let key = Key::new(1)
        .text(&base.to_string_lossy())
        .text(&binary)
        .text(&envd.version);
    let dir = cache.entry("minimal", &key, progress, |dir| {
        progress("putting envd into the template minimal");
        let template = Template {
            dir: dir.to_owned(),
        };
        let rootfs = template.rootfs();
        Tool::new("cp", COPY_DEADLINE)
            .args(["--reflink=auto", "--sparse=always"])
            .args([base.join("base.ext4"), rootfs.clone()])
            .run()?;
        inject(envd, &rootfs)?;
        ext4::verify(&rootfs)?;
        let packages = ext4::cat(&rootfs, "/usr/share/wrenn/packages.list")?;
        fs::write(template.packages(), packages)
            .map_err(FileError::at("writing", &template.packages()))?;
        let metadata = fs::metadata(&rootfs).map_err(FileError::at("reading", &rootfs))?;
        let manifest = Manifest {
            format: 1,
            id: MINIMAL_TEMPLATE_ID.to_owned(),
            name: "minimal".to_owned(),
            disk_mib: SIZE_MIB,
            envd_version: envd.version.clone(),
            default_user: "root".to_owned(),
            size_bytes: metadata.blocks() * 512,
            sha256: sha256_file(&rootfs).map_err(FileError::at("reading", &rootfs))?,
        };
        publish::write_json(&template.manifest(), &manifest).map_err(ImageError::from)
    })?;
    cache.prune("minimal", &dir);
    Ok(Template { dir })
}

/// The directory of `base.ext4`: the template without envd.
fn base(cache: &Cache, progress: Progress<'_>) -> Result<PathBuf, ImageError> {
    let tree = TREE.ensure(cache, progress)?;
    let key = Key::new(1)
        .text(&tree.to_string_lossy())
        .bytes(&EPOCH.to_le_bytes());
    cache.entry("minimal-base", &key, progress, |dir| {
        progress("building the file system of the template minimal");
        let root = tempfile::tempdir_in(dir).map_err(FileError::at("making", dir))?;
        let image = dir.join("base.ext4");
        ext4::unpack_tree(&tree, root.path())?;
        ext4::touch(root.path())?;
        ext4::make(
            root.path(),
            &image,
            ext4::Layout::Template { size_mib: SIZE_MIB },
        )?;
        ext4::fix_times(root.path(), &image)?;
        remove(root)
    })
}

/// Puts envd, and its second name wrenn-init, into the file system `image`.
fn inject(envd: &EnvdBinary, image: &Path) -> Result<(), ImageError> {
    let staged = tempfile::tempdir().map_err(FileError::at("staging", &envd.path))?;
    // debugfs splits its commands at spaces: give it a path that has none.
    let plain = staged.path().join("envd");
    fs::copy(&envd.path, &plain).map_err(FileError::at("copying", &envd.path))?;
    let mut commands = format!(
        "cd /usr/local/bin\nrm envd\nrm wrenn-init\nwrite {} envd\nln envd wrenn-init\n\
         set_inode_field envd mode 0100755\nset_inode_field envd links_count 2\n\
         set_inode_field envd uid 0\nset_inode_field envd gid 0\n",
        plain.display()
    );
    for path in ["envd", "."] {
        for time in ["atime", "ctime", "mtime", "crtime"] {
            commands.push_str(&format!("set_inode_field {path} {time} @{EPOCH}\n"));
        }
    }
    ext4::debugfs(image, commands)?;
    let written = fs::read(&envd.path).map_err(FileError::at("reading", &envd.path))?;
    for name in ["/usr/local/bin/envd", "/usr/local/bin/wrenn-init"] {
        if ext4::cat(image, name)? != written {
            return Err(ImageError::NotInjected(name.to_owned()));
        }
    }
    Ok(())
}
