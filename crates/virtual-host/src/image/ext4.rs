//! Makes ext4 images from trees, and puts files into finished images, with e2fsprogs alone: nothing
//! is mounted and no root is needed outside a user namespace.

use std::fmt::Write as _;
use std::fs::File;
use std::path::Path;
use std::time::Duration;

use super::ImageError;
use crate::FileError;
use crate::tool::Tool;

const DEADLINE: Duration = Duration::from_secs(900);
/// All times in images, seconds since 1970: a fixed moment, so that times differ in no two builds.
pub(crate) const EPOCH: u64 = 1_760_000_000;

/// How an image is laid out.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Layout {
    /// A read-only disk of the virtual host: no journal, no spare room but the given MiB.
    ReadOnly { spare_mib: u64 },
    /// The base of guests' disks: journal, fixed identity, fixed size in MiB.
    Template { size_mib: u64 },
}

/// Unpacks the tar file `archive` into the existing directory `tree`, with owners and attributes.
pub(crate) fn unpack_tree(archive: &Path, tree: &Path) -> Result<(), ImageError> {
    Tool::as_root("tar", DEADLINE)
        .args([
            "--numeric-owner",
            "--same-permissions",
            "--xattrs",
            "--xattrs-include=*",
        ])
        .arg("-xf")
        .arg(archive)
        .arg("-C")
        .arg(tree)
        .run()?;
    Ok(())
}

/// Makes `image` from `tree`.
pub(crate) fn make(tree: &Path, image: &Path, layout: Layout) -> Result<(), ImageError> {
    let mke2fs = Tool::as_root("mke2fs", DEADLINE)
        .args([
            "-q", "-t", "ext4", "-b", "4096", "-i", "8192", "-I", "256", "-m", "0",
        ])
        .env("E2FSPROGS_FAKE_TIME", EPOCH.to_string());
    let (mke2fs, size_mib) = match layout {
        Layout::ReadOnly { spare_mib } => {
            (mke2fs.args(["-O", "^has_journal"]), used_mib(tree)? * 21 / 20 + 16 + spare_mib)
        }
        Layout::Template { size_mib } => (
            mke2fs
                .args(["-U", "5772656e-6e00-4000-8000-6d696e696d61"])
                .arg("-E")
                .arg("hash_seed=5772656e-6e00-4000-8000-73656564696e,lazy_itable_init=1,root_owner=0:0"),
            size_mib,
        ),
    };
    let file = File::create(image).map_err(FileError::at("creating", image))?;
    file.set_len(size_mib << 20)
        .map_err(FileError::at("sizing", image))?;
    mke2fs.arg("-d").arg(tree).arg(image).run()?;
    Ok(())
}

/// Sets the access and change times of every file of `tree` in its `image`: `mke2fs` copies them
/// from the tree, where they are those of the build.
pub(crate) fn fix_times(tree: &Path, image: &Path) -> Result<(), ImageError> {
    let found = Tool::as_root("find", DEADLINE)
        .arg(".")
        .arg("-print0")
        .dir(tree)
        .run()?;
    let mut script = String::new();
    for path in found
        .stdout
        .split(|b| *b == 0)
        .filter(|path| !path.is_empty())
    {
        let path = String::from_utf8_lossy(path).replace('"', "\"\"");
        for field in ["atime", "ctime"] {
            // Writing to a String cannot fail.
            let _ = writeln!(script, "set_inode_field \"{path}\" {field} @{EPOCH}");
        }
    }
    debugfs(image, script)
}

/// Sets all times of the files of `tree` to [`EPOCH`].
pub(crate) fn touch(tree: &Path) -> Result<(), ImageError> {
    let time = format!("@{EPOCH}");
    Tool::as_root("find", DEADLINE)
        .arg(tree)
        .args([
            "-exec",
            "touch",
            "--no-dereference",
            "--date",
            &time,
            "{}",
            "+",
        ])
        .run()?;
    Ok(())
}

/// Runs debugfs commands, one a line, on `image`.
///
/// debugfs ends with 0 whatever happens: the caller checks what it did.
pub(crate) fn debugfs(image: &Path, commands: String) -> Result<(), ImageError> {
    Tool::new("debugfs", DEADLINE)
        .args(["-w", "-f", "-"])
        .arg(image)
        .env("E2FSPROGS_FAKE_TIME", EPOCH.to_string())
        .stdin(commands.into_bytes())
        .run()?;
    Ok(())
}

/// The content of `path` in `image`.
pub(crate) fn cat(image: &Path, path: &str) -> Result<Vec<u8>, ImageError> {
    let read = Tool::new("debugfs", DEADLINE)
        .arg("-R")
        .arg(format!("cat {path}"))
        .arg(image);
    Ok(read.run()?.stdout)
}

/// Fails unless `image` is a clean file system.
pub(crate) fn verify(image: &Path) -> Result<(), ImageError> {
    Tool::new("e2fsck", DEADLINE).arg("-fn").arg(image).run()?;
    Ok(())
}

fn used_mib(tree: &Path) -> Result<u64, ImageError> {
    let du = Tool::as_root("du", DEADLINE)
        .args(["-sm", "--apparent-size"])
        .arg(tree)
        .run()?;
    let du_blocks = Tool::as_root("du", DEADLINE).arg("-sm").arg(tree).run()?;
    let number = |text: String| -> u64 {
        text.split_whitespace()
            .next()
            .and_then(|n| n.parse().ok())
            .unwrap_or(0)
    };
    Ok(number(du.text()).max(number(du_blocks.text())))
}
