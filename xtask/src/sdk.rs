//! The SDK's tests: the guest agent driven by the published Python package, in each version that
//! `sdk-tests/python/requirements` pins.
//!
//! Where the tests run, the `namespace` script says.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{
    envd,
    python::{environment, succeed, work},
    tiers::say,
};

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
