//! The SDK's tests: the guest agent driven by the published Python package, in each version that
//! `sdk-tests/python/requirements` pins.
//!
//! A virtual environment is made once for a content of its requirements. Where the tests run, the
//! `namespace` script says.

use std::{
    collections::hash_map::DefaultHasher,
    fs,
    hash::{Hash, Hasher},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::{envd, tiers::say};

/// Debian's own, not one of the caller's: only this machine's `/usr` is there where the tests run.
const PYTHON: &str = "/usr/bin/python3";

/// Runs the tests with every pinned version of the package against the static guest agent.
pub(crate) fn run() -> Result<()> {
    let agent = envd::binary()?;
    for requirements in pinned()? {
        let version = requirements.file_stem().context("a file without a name")?;
        say(&format!("── {}", version.display()));
        let environment = environment(&requirements)?;
        let root = work().join("root").join(version);
        succeed(Command::new(tests().join("namespace")).args([&root, &environment, &agent]))?;
    }
    Ok(())
}

/// The virtual environment with the newest pinned version.
pub(crate) fn newest() -> Result<PathBuf> {
    environment(&pinned()?.pop().context("no version is pinned")?)
}

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../sdk-tests/python")
}

fn work() -> PathBuf {
    envd::target_directory().join("sdk")
}

/// The requirements of each version, oldest first.
fn pinned() -> Result<Vec<PathBuf>> {
    let directory = tests().join("requirements");
    let mut files = Vec::new();
    for entry in
        fs::read_dir(&directory).with_context(|| format!("list {}", directory.display()))?
    {
        files.push(entry?.path());
    }
    files.sort();
    Ok(files)
}

/// The virtual environment with these requirements, made if it is not there.
fn environment(requirements: &Path) -> Result<PathBuf> {
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

fn succeed(command: &mut Command) -> Result<()> {
    let shown = format!("{:?}", command.get_program());
    let status = command.status().with_context(|| format!("start {shown}"))?;
    ensure!(status.success(), "{shown} ended with {status}");
    Ok(())
}
