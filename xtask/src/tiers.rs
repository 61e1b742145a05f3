//! The test suite: tiers in order, each timed, the first failing one ends the run.
//!
//! Everything is built once in the release profile, the one the product is built in, so that what is
//! tested is what is shipped and a cold run compiles each crate once.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    envd, fuzz,
    programs::{self, Program},
    python, sdk,
};

/// How much of the long proofs to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    /// Sampled: what `make test` runs.
    Short,
    /// Whole: what `make soak` runs.
    Whole,
}

/// What a tier works on.
struct Run {
    length: Length,
    programs: Vec<Program>,
    /// Whether clippy is wanted, and then clippy itself once all is built.
    lints: bool,
    clippy: Option<Clippy>,
}

/// Clippy at work; dropped, it is ended.
struct Clippy(Child);

/// A tier: its name, what it proves, and its work.
struct Tier {
    name: &'static str,
    proves: &'static str,
    work: fn(&mut Run) -> Result<()>,
}

const TIERS: [Tier; 9] = [
    Tier {
        name: "style",
        proves: "formatting",
        work: style,
    },
    Tier {
        name: "build",
        proves: "the binary, the static guest agent and every test program build",
        work: build,
    },
    Tier {
        name: "unit",
        proves: "each crate alone; the arrows between them; generated code is fresh",
        work: |run| run.all("unit", &[]),
    },
    Tier {
        name: "service",
        proves: "each program against real PostgreSQL and Redis and a simulated agent",
        work: service,
    },
    Tier {
        name: "sdk",
        proves: "the guest agent, driven by the published Python package",
        work: |_| sdk::run(),
    },
    Tier {
        name: "fuzz",
        proves: "no bytes make a parser of the guest agent panic, hang or grow",
        work: |run| {
            fuzz::run(match run.length {
                Length::Short => Duration::from_secs(6),
                Length::Whole => Duration::from_secs(600),
            })
        },
    },
    Tier {
        name: "lints",
        proves: "clippy has nothing to say: it worked beside the tiers before this",
        work: lints,
    },
    Tier {
        name: "end-to-end",
        proves: "`wrenn up` as a user runs it; beside it, what the host agent is made of",
        work: end_to_end,
    },
    Tier {
        name: "host",
        proves: "the host agent: real Firecracker, device-mapper and namespaces in virtual hosts",
        work: host,
    },
];

/// Runs all tiers, or those whose names are given (and the build that they need).
pub(crate) fn run(length: Length, only: &[String]) -> Result<()> {
    let unknown = only
        .iter()
        .find(|name| TIERS.iter().all(|tier| tier.name != name.as_str()));
    if let Some(name) = unknown {
        bail!("there is no tier `{name}`");
    }
    let mut run = Run {
        length,
        programs: Vec::new(),
        lints: only.is_empty() || only.iter().any(|name| name == "lints"),
        clippy: None,
    };
    let mut times: Vec<(&str, Duration)> = Vec::new();
    let mut outcome = Ok(());
    for tier in &TIERS {
        let named = only.iter().any(|name| name == tier.name);
        if !only.is_empty() && !named && tier.name != "build" {
            continue;
        }
        say(&format!("── {}: {}", tier.name, tier.proves));
        let begun = Instant::now();
        outcome = (tier.work)(&mut run).with_context(|| format!("tier `{}` failed", tier.name));
        times.push((tier.name, begun.elapsed()));
        if outcome.is_err() {
            break;
        }
    }
    say("── times");
    for (name, time) in &times {
        say(&format!("{name:<12} {:>6.1} s", time.as_secs_f64()));
    }
    let total: Duration = times.iter().map(|(_, time)| *time).sum();
    say(&format!("{:<12} {:>6.1} s", "total", total.as_secs_f64()));
    outcome
}

fn style(run: &mut Run) -> Result<()> {
    run.command(Command::new("cargo").args(["fmt", "--all", "--check"]))
}

/// Waits for clippy.
fn lints(run: &mut Run) -> Result<()> {
    let mut clippy = run.clippy.take().context("clippy was not begun")?;
    let status = clippy.0.wait().context("wait for clippy")?;
    ensure!(status.success(), "clippy ended with {status}");
    Ok(())
}

impl Clippy {
    /// With what the processors have left: half of its time it has work for one of them, as have the tests.
    fn begin() -> Result<Self> {
        let begun = Command::new("nice")
            .args(["-n", "19", "cargo", "clippy", "--release", "--locked"])
            .args(["--quiet", "--workspace", "--all-targets", "--all-features"])
            .args(["--", "--deny", "warnings"])
            .stdin(Stdio::null())
            .spawn();
        Ok(Self(begun.context("start clippy")?))
    }
}

impl Drop for Clippy {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended
        let _ = self.0.wait();
    }
}

fn build(run: &mut Run) -> Result<()> {
    run.programs = programs::build()?;
    envd::run()?;
    if run.lints {
        run.clippy = Some(Clippy::begin()?);
    }
    Ok(())
}

fn service(run: &mut Run) -> Result<()> {
    for package in [
        "wrenn-firecracker",
        "wrenn-envd",
        "wrenn-memory",
        "wrenn-database",
        "wrenn-control-plane",
        "wrenn",
    ] {
        // Those of the control plane wait for reports and periods most of their time.
        let at_once: &[&str] = match package {
            "wrenn-control-plane" => &["--test-threads=4"],
            _ => &[],
        };
        run.one(package, "it", at_once)?;
    }
    let requirements = Path::new("sdk-tests/schemathesis/requirements.txt");
    let environment = [("WRENN_SCHEMATHESIS", python::environment(requirements)?)];
    let api = programs::find(&run.programs, "wrenn-control-plane", "api")?;
    run.start(api, &[], &environment)
}

/// Two at once, each with one virtual host at a time: that has one processor where it is emulated.
fn end_to_end(run: &mut Run) -> Result<()> {
    let run = &*run;
    // Once through, for the images that all others find then: no test waits for their making.
    run.command(&mut Command::new("target/release/in-virtual-host"))?;
    thread::scope(|scope| {
        let parts = scope.spawn(|| parts(run));
        let up = run.one("wrenn", "up", &["--test-threads=1"]);
        let parts = parts.join();
        up.and(parts.unwrap_or_else(|_| bail!("the parts' tests could not be run")))
    })
}

/// Two tests at once, each in a virtual host.
fn host(run: &mut Run) -> Result<()> {
    let agent = programs::find(&run.programs, "wrenn-host-agent", "host")?;
    let environment = [("WRENN_SDK_ENVIRONMENT", sdk::newest()?)];
    run.start(agent, &["--test-threads=2"], &environment)
}

/// What the agent is made of.
fn parts(run: &Run) -> Result<()> {
    run.one("wrenn-virtual-host", "it", &["--test-threads=1"])?;
    let mut inside = Vec::new();
    for package in ["wrenn-block", "wrenn-network", "wrenn-firecracker"] {
        inside.push(programs::find(&run.programs, package, "host")?.path.clone());
    }
    run.command(Command::new("target/release/in-virtual-host").args(inside))
}

impl Run {
    /// Runs every program of this target name.
    fn all(&self, target: &str, arguments: &[&str]) -> Result<()> {
        let mut programs = self
            .programs
            .iter()
            .filter(|program| program.target == target);
        programs.try_for_each(|program| self.start(program, arguments, &[]))
    }

    fn one(&self, package: &str, target: &str, arguments: &[&str]) -> Result<()> {
        let program = programs::find(&self.programs, package, target)?;
        self.start(program, arguments, &[])
    }

    /// Starts a test program as `cargo test` would.
    fn start(
        &self,
        program: &Program,
        arguments: &[&str],
        variables: &[(&str, PathBuf)],
    ) -> Result<()> {
        say(&format!("── {} {}", program.package, program.target));
        self.command(
            Command::new(&program.path)
                .args(arguments)
                .arg("--quiet")
                .current_dir(&program.directory)
                .env("CARGO_MANIFEST_DIR", &program.directory)
                .envs(variables.iter().map(|(name, value)| (name, value))),
        )
    }

    fn command(&self, command: &mut Command) -> Result<()> {
        if self.length == Length::Whole {
            command.env("WRENN_SOAK", "1");
        }
        let shown = format!("{:?}", command.get_program());
        let status = command
            .stdin(Stdio::null())
            .status()
            .with_context(|| format!("start {shown}"))?;
        ensure!(status.success(), "{shown} ended with {status}");
        Ok(())
    }
}

#[expect(clippy::print_stderr, reason = "the progress of a development task")]
pub(crate) fn say(line: &str) {
    eprintln!("{line}");
}
