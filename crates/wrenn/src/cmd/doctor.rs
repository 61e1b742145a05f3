//! `wrenn doctor`: checks in groups, each with a finding and a remedy. Exit 0, or 9 when one failed.

use std::path::PathBuf;

use clap::Args;

use crate::{
    DONE, Outcome,
    context::Context,
    error::Exit,
    interruptible,
    local::{
        checks::{self, Group, Verdict},
        state::StateDir,
    },
    out::Style,
};

#[derive(Debug, Args)]
#[command(
    after_help = "Works before anything is installed and without root.\nExit codes: 0 all well, 9 a check failed\n\nExamples:\n  \
                        wrenn doctor\n  wrenn doctor --only network\n\nSee also: wrenn status, wrenn logs"
)]
pub(crate) struct Arguments {
    /// Only this group (repeatable)
    #[arg(long, value_name = "GROUP")]
    only: Vec<Group>,
    /// The state directory
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

/// Runs the checks.
pub(crate) fn run(context: &Context, arguments: &Arguments) -> Outcome {
    let state = StateDir::locate(arguments.state_dir.as_deref())?;
    let wanted = |group: &Group| arguments.only.is_empty() || arguments.only.contains(group);
    let mut all = Vec::new();
    for group in Group::ALL.into_iter().filter(wanted) {
        let found = interruptible(async { Ok(checks::group(group, &state, context).await) })?;
        if !context.out.is_json() {
            context
                .out
                .line(&context.out.paint(Style::Bold, group.title()))?;
            for check in &found {
                show(context, check)?;
            }
        }
        all.extend(found);
    }
    if context.out.is_json() {
        context.out.json(&all)?;
    }
    let count = |verdict| all.iter().filter(|check| check.verdict == verdict).count();
    let failed = count(Verdict::Fail);
    context.out.note(&format!(
        "\n{} ok, {} warnings, {failed} failed, {} skipped",
        count(Verdict::Ok),
        count(Verdict::Warn),
        count(Verdict::Skip)
    ));
    Ok(if failed == 0 { DONE } else { Exit::Unhealthy })
}

fn show(context: &Context, check: &checks::Check) -> Result<(), crate::error::CliError> {
    let (style, word) = match check.verdict {
        Verdict::Ok => (Style::Good, "ok"),
        Verdict::Warn => (Style::Warning, "warn"),
        Verdict::Fail => (Style::Bad, "fail"),
        Verdict::Skip => (Style::Dim, "skip"),
    };
    context.out.line(&format!(
        "  {}  {:<18} {}",
        context.out.paint(style, &format!("{word:<4}")),
        check.name,
        check.finding
    ))?;
    if let Some(remedy) = &check.remedy {
        context
            .out
            .line(&format!("        {:<18} → {remedy}", ""))?;
    }
    Ok(())
}
