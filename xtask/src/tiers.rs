//! The test suite: tiers in order, each timed, the first failing one ends the run.
//!
//! Everything is built once in the release profile, the one the product is built in, so that what is
//! tested is what is shipped and a cold run compiles each crate once.

use std::{
    env,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// How much of the long proofs to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    /// Sampled: what `make test` runs.
    Short,
    /// Whole: what `make soak` runs.
    Whole,
}

/// One tier: a name and the commands that prove it.
struct Tier {
    name: &'static str,
    proves: &'static str,
    commands: Vec<Vec<&'static str>>,
}

fn tiers() -> Vec<Tier> {
    let cargo_test = |rest: &[&'static str]| {
        let mut words = vec!["cargo", "test", "--release", "--locked", "--quiet"];
        words.extend_from_slice(rest);
        words
    };
    vec![
        Tier {
            name: "style",
            proves: "formatting, lints, invariants, generated code is fresh",
            commands: vec![
                vec!["cargo", "fmt", "--all", "--check"],
                vec!["cargo", "xtask", "invariants"],
                vec![
                    "cargo",
                    "run",
                    "--release",
                    "--locked",
                    "--quiet",
                    "-p",
                    "xtask",
                    "--features",
                    "xtask/codegen",
                    "--",
                    "codegen",
                    "--check",
                ],
                vec![
                    "cargo",
                    "clippy",
                    "--release",
                    "--locked",
                    "--quiet",
                    "--workspace",
                    "--all-targets",
                    "--all-features",
                    "--",
                    "--deny",
                    "warnings",
                ],
            ],
        },
        Tier {
            name: "product",
            proves: "the binary, the static guest agent and every test program build",
            commands: vec![
                vec![
                    "cargo",
                    "build",
                    "--release",
                    "--locked",
                    "--quiet",
                    "-p",
                    "wrenn",
                    "-p",
                    "wrenn-testkit",
                ],
                vec!["cargo", "xtask", "envd"],
            ],
        },
        Tier {
            name: "unit",
            proves: "each crate alone",
            commands: vec![cargo_test(&["--workspace", "--lib", "--bins"])],
        },
        Tier {
            name: "service",
            proves: "each program against real PostgreSQL and Redis and a simulated agent",
            commands: vec![cargo_test(&[
                "-p",
                "wrenn-envd",
                "-p",
                "wrenn-control-plane",
                "-p",
                "wrenn",
                "--test",
                "it",
            ])],
        },
        Tier {
            name: "host",
            proves: "real Firecracker, device-mapper and namespaces in a virtual host",
            commands: vec![
                cargo_test(&["-p", "wrenn-virtual-host", "--test", "it"]),
                vec![
                    "cargo",
                    "xtask",
                    "in-virtual-host",
                    "wrenn-block",
                    "wrenn-network",
                    "wrenn-firecracker",
                ],
                cargo_test(&[
                    "-p",
                    "wrenn-host-agent",
                    "--features",
                    "wrenn-host-agent/host-tests",
                    "--test",
                    "host",
                    "--",
                    "--test-threads=1",
                ]),
            ],
        },
        Tier {
            name: "end to end",
            proves: "`wrenn up` as a user runs it",
            commands: vec![cargo_test(&[
                "-p",
                "wrenn",
                "--features",
                "wrenn/up-tests",
                "--test",
                "up",
                "--",
                "--test-threads=1",
            ])],
        },
    ]
}

/// Runs all tiers, or those whose names are given.
pub(crate) fn run(length: Length, only: &[String]) -> Result<()> {
    let mut times: Vec<(&str, Duration)> = Vec::new();
    let mut failed = None;
    for tier in tiers() {
        if !only.is_empty() && !only.iter().any(|name| name == tier.name) {
            continue;
        }
        say(&format!("── {}: {}", tier.name, tier.proves));
        let begun = Instant::now();
        let outcome = tier
            .commands
            .iter()
            .try_for_each(|words| command(words, length));
        times.push((tier.name, begun.elapsed()));
        if let Err(error) = outcome {
            failed = Some((tier.name, error));
            break;
        }
    }
    say("── times");
    for (name, time) in &times {
        say(&format!("{name:<12} {:>6.1} s", time.as_secs_f64()));
    }
    let total: Duration = times.iter().map(|(_, time)| *time).sum();
    say(&format!("{:<12} {:>6.1} s", "total", total.as_secs_f64()));
    match failed {
        None => Ok(()),
        Some((name, error)) => Err(error.context(format!("tier `{name}` failed"))),
    }
}

fn command(words: &[&str], length: Length) -> Result<()> {
    say(&format!("$ {}", words.join(" ")));
    let (program, arguments) = words.split_first().context("an empty command")?;
    let program = if *program == "cargo" {
        env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
    } else {
        (*program).to_owned()
    };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    if length == Length::Whole {
        command.env("WRENN_SOAK", "1");
    }
    let status = command
        .status()
        .with_context(|| format!("start `{}`", words.join(" ")))?;
    if !status.success() {
        bail!("`{}` ended with {status}", words.join(" "));
    }
    Ok(())
}

#[expect(clippy::print_stderr, reason = "the progress of a development task")]
fn say(line: &str) {
    eprintln!("{line}");
}
