//! The SDK's tests: the guest agent driven by the published Python package, in each version that
//! `sdk-tests/python/requirements` pins.
//!
//! Where the tests run, the `namespace` script says.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    envd,
    python::{environment, work},
    tiers::say,
};

/// Runs the tests with every pinned version of the package against the static guest agent, all versions at once: each
/// has a machine of its own, and most of its time it waits.
pub(crate) fn run() -> Result<()> {
    let agent = envd::binary()?;
    let mut runs = Vec::new();
    for requirements in pinned()? {
        let version = requirements.file_stem().context("a file without a name")?;
        let mut tests = Command::new(tests().join("namespace"));
        tests.arg(work().join("root").join(version));
        tests.args([&environment(&requirements)?, &agent]);
        runs.push((version.display().to_string(), tests));
    }
    thread::scope(|scope| {
        let begun: Vec<_> = runs
            .iter_mut()
            .map(|(version, tests)| scope.spawn(move || told(version, tests)))
            .collect();
        let ended = begun.into_iter().map(|run| {
            run.join()
                .unwrap_or_else(|_| bail!("the tests could not be run"))
        });
        ended.fold(Ok(()), Result::and)
    })
}

/// Runs the tests of one version; what they say is told at their end, so that it is not mixed with another's.
fn told(version: &str, tests: &mut Command) -> Result<()> {
    let done = tests.stdin(Stdio::null()).output().context("start them")?;
    say(&format!("── {version}"));
    say(&String::from_utf8_lossy(&done.stdout));
    say(&String::from_utf8_lossy(&done.stderr));
    ensure!(
        done.status.success(),
        "the tests of {version} ended with {}",
        done.status
    );
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
