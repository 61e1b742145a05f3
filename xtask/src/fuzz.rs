//! The fuzz targets of `fuzz/`: foreign bytes against every parser of the guest agent, guided by coverage.
//!
//! They are a workspace of their own, one binary built for coverage on the stable compiler; a target is a
//! folder of its corpus. What a run finds goes to the target directory, and into the corpus by hand.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::{envd, tiers::say};

/// Runs each target over its corpus and for `time` more, as many at once as there are processors.
pub(crate) fn run(time: Duration) -> Result<()> {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let work = envd::target_directory().join("fuzz");
    let program = build(&fuzz, &work)?;
    let mut targets = Vec::new();
    for entry in fs::read_dir(fuzz.join("corpus")).context("list the corpora")? {
        targets.push(entry?.path());
    }
    targets.sort();
    let at_once = thread::available_parallelism().context("count the processors")?;
    for targets in targets.chunks(at_once.get()) {
        let runs: Vec<Run> = targets
            .iter()
            .map(|corpus| Run::start(&program, corpus, &work, time))
            .collect::<Result<_>>()?;
        runs.into_iter().try_for_each(Run::end)?;
    }
    Ok(())
}

fn build(fuzz: &Path, work: &Path) -> Result<PathBuf> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--release", "--locked"])
        .current_dir(fuzz) // its flags are in the configuration there
        .env("CARGO_TARGET_DIR", work)
        .status()
        .context("start cargo")?;
    ensure!(status.success(), "the build of the fuzz targets failed");
    Ok(work.join("x86_64-unknown-linux-gnu/release/wrenn-fuzz"))
}

/// A target that runs.
struct Run {
    name: String,
    log: PathBuf,
    child: Child,
}

impl Run {
    fn start(program: &Path, corpus: &Path, work: &Path, time: Duration) -> Result<Self> {
        let name = corpus.file_name().context("a corpus without a name")?;
        let name = name.to_string_lossy().into_owned();
        let found = work.join("found").join(&name);
        fs::create_dir_all(&found).with_context(|| format!("make {}", found.display()))?;
        let log = work.join(format!("{name}.log"));
        let output = fs::File::create(&log).with_context(|| format!("make {}", log.display()))?;
        let child = Command::new(program)
            .env("WRENN_FUZZ_TARGET", &name)
            .arg(format!("-max_total_time={}", time.as_secs()))
            .args(["-timeout=10", "-rss_limit_mb=2048"])
            .arg(format!("-artifact_prefix={}/", found.display()))
            .args([&found, corpus])
            .stdin(Stdio::null())
            .stdout(output.try_clone().context("share the log")?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        Ok(Self { name, log, child })
    }

    fn end(mut self) -> Result<()> {
        let status = self.child.wait().context("wait for a target")?;
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let done = log.lines().rev().find(|line| line.starts_with("Done "));
        say(&format!("{:<12} {}", self.name, done.unwrap_or("failed")));
        ensure!(
            status.success(),
            "target `{}` ended with {status}:\n{log}",
            self.name
        );
        Ok(())
    }
}
