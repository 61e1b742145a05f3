//! Published Python programs and packages, in virtual environments: one is made once for a content of its
//! requirements, which name every package by hash.

use std::{
    collections::hash_map::DefaultHasher,
    fs,
    hash::{Hash, Hasher},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::envd;

/// Debian's own, not one of the caller's: only this machine's `/usr` is there where the SDK's tests run.
const PYTHON: &str = "/usr/bin/python3";

/// Where environments lie.
pub(crate) fn work() -> PathBuf {
    envd::target_directory().join("sdk")
}

/// The virtual environment with these requirements, made if it is not there.
pub(crate) fn environment(requirements: &Path) -> Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    fs::read(requirements)
        .with_context(|| format!("read {}", requirements.display()))?
        .hash(&mut hasher);
    // Another minor version of Python looks for its packages elsewhere.
    fs::canonicalize(PYTHON)
        .with_context(|| format!("find {PYTHON}"))?
        .hash(&mut hasher);
    let made = work().join(format!("venv-{:016x}", hasher.finish()));
    if made.exists() {
        return Ok(made);
    }
    let fresh = made.with_extension("new");
    succeed(
        Command::new(PYTHON)
            .args(["-m", "venv", "--clear"])
            .arg(&fresh),
    )?;
    succeed(
        Command::new(fresh.join("bin/python"))
            .args(["-m", "pip", "install", "--quiet", "--require-hashes"])
            .args(["--only-binary=:all:", "--disable-pip-version-check"])
            .arg("--requirement")
            .arg(requirements),
    )?;
    fs::rename(&fresh, &made).with_context(|| format!("rename {}", fresh.display()))?;
    Ok(made)
}

/// Runs a command to its end.
fn succeed(command: &mut Command) -> Result<()> {
    let shown = format!("{:?}", command.get_program());
    let status = command.status().with_context(|| format!("start {shown}"))?;
    ensure!(status.success(), "{shown} ended with {status}");
    Ok(())
}
