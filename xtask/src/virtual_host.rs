//! Runs test programs that need root and a kernel of their own inside a virtual host.
//!
//! The programs are built here and handed to `in-virtual-host` of the test kit, which starts the machine.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use cargo_metadata::Message;

/// Builds the `host` test program of each package and runs them all in one virtual host.
pub(crate) fn run(packages: &[String]) -> Result<()> {
    let programs = packages
        .iter()
        .map(|package| build(package))
        .collect::<Result<Vec<_>>>()?;
    let status = Command::new(cargo())
        .args([
            "run",
            "--release",
            "--locked",
            "--quiet",
            "-p",
            "wrenn-testkit",
        ])
        .args(["--bin", "in-virtual-host", "--"])
        .args(programs)
        .stdin(Stdio::null())
        .status()
        .context("start the virtual host's test runner")?;
    ensure!(
        status.success(),
        "tests in the virtual host ended with {status}"
    );
    Ok(())
}

/// The path of the package's `host` test program, built.
fn build(package: &str) -> Result<String> {
    let output = Command::new(cargo())
        .args([
            "test",
            "--release",
            "--locked",
            "--quiet",
            "--no-run",
            "--test",
            "host",
        ])
        .args([
            "-p",
            package,
            "--features",
            &format!("{package}/host-tests"),
        ])
        .args(["--message-format", "json-render-diagnostics"])
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("build the host tests of {package}"))?;
    ensure!(
        output.status.success(),
        "building the host tests of {package} failed"
    );
    for message in Message::parse_stream(output.stdout.as_slice()) {
        if let Message::CompilerArtifact(artifact) = message?
            && let Some(program) = artifact.executable
            && artifact.target.name == "host"
        {
            return Ok(program.into_string());
        }
    }
    bail!("{package} has no test program named `host`")
}

fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}
