//! `<state>/images`: kernel, Firecracker, base template. The work is `wrenn-virtual-host`'s; this names its inputs.

use std::path::{Path, PathBuf};

use wrenn_virtual_host::{
    Cache,
    image::{EnvdBinary, FirecrackerSource, Images, ImagesDir},
};

use super::state::{StateDir, make_dir};
use crate::{
    config::write_private,
    error::{Attempt, CliError, chain},
};

/// Makes the images complete and current; `progress` gets a line before each longer step.
pub(crate) fn ensure(
    state: &StateDir,
    envd: Option<&Path>,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<ImagesDir, CliError> {
    let envd = envd_binary(envd)?;
    let dir = state.at("images");
    make_dir(&dir, 0o755)?;
    // Made by this very binary with this very envd: nothing to compare, and the second `up` takes no time.
    let inputs = format!("{}\n{}\n", build_id()?, file_id(&envd.path)?);
    let stamp = state.at("images.stamp");
    if std::fs::read_to_string(&stamp).is_ok_and(|made_from| made_from == inputs)
        && let Some(images) = ImagesDir::open(&dir).attempt(|| "open the images")?
    {
        return Ok(images);
    }
    let cache = Cache::from_env().attempt(|| "find the image cache")?;
    let images = Images {
        dir: &dir,
        envd: &envd,
        firecracker: FirecrackerSource::from_env(),
    };
    let images = images.ensure(&cache, progress).map_err(|error| {
        CliError::local(format_args!("build the images: {}", chain(&error)))
            .hint("check", "wrenn doctor --only images")
            .hint("again", "wrenn setup")
    })?;
    write_private(&stamp, inputs.as_bytes())?;
    Ok(images)
}

/// The guest agent: `named`, `WRENN_ENVD`, beside this binary, or where the build leaves it.
fn envd_binary(named: Option<&Path>) -> Result<EnvdBinary, CliError> {
    let named = named.map(Path::to_owned).or_else(|| {
        std::env::var_os("WRENN_ENVD")
            .filter(|path| !path.is_empty())
            .map(PathBuf::from)
    });
    let path = match named {
        Some(path) => path,
        None => beside(&own_binary()?).ok_or_else(|| {
            CliError::local("the guest agent `envd` is not beside this binary")
                .hint("build", "make up")
                .hint("or", "wrenn setup --envd FILE")
        })?,
    };
    let output = std::process::Command::new(&path)
        .arg("--version")
        .output()
        .attempt(|| format!("run {}", path.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.trim().strip_prefix("envd ").map(str::to_owned);
    let version =
        version.ok_or_else(|| CliError::local(format_args!("{} is no envd", path.display())))?;
    Ok(EnvdBinary { path, version })
}

fn beside(binary: &Path) -> Option<PathBuf> {
    let dir = binary.parent()?;
    let target = format!("../{}-unknown-linux-gnu/envd/envd", std::env::consts::ARCH);
    ["envd", "../lib/wrenn/envd", &target]
        .iter()
        .map(|below| dir.join(below))
        .find(|path| path.is_file())
}

/// This binary, also after it was replaced by a newer one.
pub(crate) fn own_binary() -> Result<PathBuf, CliError> {
    let path = std::env::current_exe().attempt(|| "find this binary")?;
    let text = path.to_string_lossy();
    Ok(text
        .strip_suffix(" (deleted)")
        .map_or_else(|| path.clone(), PathBuf::from))
}

/// Tells one build of this binary from another.
pub(crate) fn build_id() -> Result<String, CliError> {
    Ok(format!(
        "{} {}",
        env!("CARGO_PKG_VERSION"),
        file_id(&own_binary()?)?
    ))
}

/// Tells one content of a file from another, without reading it.
fn file_id(path: &Path) -> Result<String, CliError> {
    use std::os::unix::fs::MetadataExt;
    let meta = std::fs::metadata(path).attempt(|| format!("read {}", path.display()))?;
    Ok(format!(
        "{} {}.{}",
        meta.len(),
        meta.mtime(),
        meta.mtime_nsec()
    ))
}
