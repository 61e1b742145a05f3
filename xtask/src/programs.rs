//! The workspace's test programs, built in one go.
//!
//! One build of everything with every feature: building package by package would unify the dependencies'
//! features anew each time and compile them again.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use cargo_metadata::{Artifact, Message, TargetKind};

/// A test program and where it expects to be started.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) package: String,
    /// `it`, `host`, `up` of a test target; `unit` of a library's or binary's own tests.
    pub(crate) target: String,
    pub(crate) path: PathBuf,
    pub(crate) directory: PathBuf,
}

/// Builds the product, the test kit and every test program; the programs, by package and target.
pub(crate) fn build() -> Result<Vec<Program>> {
    // In one call: with the test kit's features in the second only, half of the first would be built again.
    let output = cargo(&[
        "build",
        "--bins",
        "--tests",
        "--message-format",
        "json-render-diagnostics",
    ])?;
    let mut programs = BTreeMap::new();
    for message in Message::parse_stream(output.as_slice()) {
        if let Message::CompilerArtifact(artifact) = message?
            && artifact.profile.test
            && let Some(program) = program(&artifact)?
        {
            programs.insert(program.path.clone(), program);
        }
    }
    ensure!(!programs.is_empty(), "the workspace has no test program");
    let mut programs: Vec<Program> = programs.into_values().collect();
    programs.sort_by(|a, b| (&a.package, &a.target).cmp(&(&b.package, &b.target)));
    Ok(programs)
}

/// The one program of `package` named `target`.
pub(crate) fn find<'a>(
    programs: &'a [Program],
    package: &str,
    target: &str,
) -> Result<&'a Program> {
    let mut found = programs
        .iter()
        .filter(|one| one.package == package && one.target == target);
    match (found.next(), found.next()) {
        (Some(program), None) => Ok(program),
        (None, _) => bail!("{package} has no test program `{target}`"),
        (Some(_), Some(_)) => bail!("{package} has several test programs `{target}`"),
    }
}

fn program(artifact: &Artifact) -> Result<Option<Program>> {
    let Some(path) = &artifact.executable else {
        return Ok(None);
    };
    let directory = artifact
        .manifest_path
        .parent()
        .context("a manifest without a directory")?;
    let package = artifact
        .package_id
        .repr
        .rsplit('/')
        .next()
        .unwrap_or_default();
    let package = match package.split_once('#') {
        Some((_, name)) if name.contains('@') => name.split('@').next().unwrap_or_default(),
        Some((folder, _)) => folder,
        None => package,
    };
    let test = artifact.target.kind.contains(&TargetKind::Test);
    Ok(Some(Program {
        package: package.to_owned(),
        target: if test {
            artifact.target.name.clone()
        } else {
            "unit".to_owned()
        },
        path: path.clone().into_std_path_buf(),
        directory: directory.to_owned().into_std_path_buf(),
    }))
}

/// Runs cargo over the whole workspace in the release profile; its standard output.
pub(crate) fn cargo(words: &[&str]) -> Result<Vec<u8>> {
    let program = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(program)
        .args(words)
        .args(["--release", "--locked", "--workspace", "--all-features"])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("start `cargo {}`", words.join(" ")))?;
    ensure!(
        output.status.success(),
        "`cargo {}` failed",
        words.join(" ")
    );
    Ok(output.stdout)
}
