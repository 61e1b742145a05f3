//! The images that host tests need, built once into the target directory.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use wrenn_virtual_host::{
    Cache, Progress,
    image::{EnvdBinary, FirecrackerSource, Images, ImagesDir},
};

/// The workspace's target directory, seen from a program of it.
///
/// # Errors
/// When the program was moved out of it.
pub fn target_directory() -> Result<PathBuf> {
    let program = std::env::current_exe().context("find this program")?;
    program
        .ancestors()
        .find(|directory| directory.join("CACHEDIR.TAG").exists())
        .map(Path::to_owned)
        .context("find the target directory above this program")
}

/// Builds what is missing of the images: minutes on a machine that has none, at once afterwards.
///
/// # Errors
/// When envd was not built (`cargo xtask envd`) or an image cannot be made.
pub fn ensure(progress: Progress<'_>) -> Result<ImagesDir> {
    let target = target_directory()?;
    let envd = EnvdBinary {
        path: target.join("x86_64-unknown-linux-gnu/envd/envd"),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let dir = target.join("test-images");
    let images = Images {
        dir: &dir,
        envd: &envd,
        firecracker: FirecrackerSource::from_env(),
    };
    let cache = Cache::from_env().context("open the cache")?;
    images.ensure(&cache, progress).context("build the images")
}
