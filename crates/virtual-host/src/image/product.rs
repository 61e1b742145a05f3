//! The product disk: an images directory and the `wrenn` binary, mounted read-only at `/opt/wrenn`
//! in the virtual host.

use std::path::{Path, PathBuf};

use super::{ImageError, ImagesDir, ext4, publish};
use crate::cache::{Cache, Key, sha256_file};
use crate::{FileError, Progress};

/// The path of the disk with `images` and, as `bin/wrenn`, `binary`; without either it is smaller.
pub(crate) fn ensure(
    images: Option<&ImagesDir>,
    binary: Option<&Path>,
    cache: &Cache,
    progress: Progress<'_>,
) -> Result<PathBuf, ImageError> {
    let mut key = Key::new(1);
    if let Some(images) = images {
        key = images.key(key);
    }
    if let Some(binary) = binary {
        let sum = sha256_file(binary).map_err(FileError::at("reading", binary))?;
        key = key.text("wrenn").text(&sum);
    }
    let dir = cache.entry("product-disk", &key, progress, |dir| {
        progress("building the product disk of the virtual host");
        let tree = tempfile::tempdir_in(dir).map_err(FileError::at("making", dir))?;
        let staged = publish::Directory::open(tree.path())?;
        if let Some(images) = images {
            for file in images.listing.files.keys() {
                staged.stage(&images.path.join(file), file)?;
            }
            staged.stage(&images.path.join("images.json"), "images.json")?;
        }
        if let Some(binary) = binary {
            staged.stage(binary, "bin/wrenn")?;
        }
        let layout = ext4::Layout::ReadOnly { spare_mib: 0 };
        ext4::make(tree.path(), &dir.join("product.ext4"), layout)
    })?;
    cache.prune("product-disk", &dir);
    Ok(dir.join("product.ext4"))
}
