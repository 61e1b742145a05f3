//! `wrenn config`: the settings of the server roles.

use clap::{Args, Subcommand};
use wrenn_control_plane::config::Config;

use super::control_plane::sources;
use crate::{
    DONE, Outcome,
    context::Context,
    error::{CliError, Exit},
    out::Table,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print the control plane's effective settings, secrets masked, and what is wrong with them
    Check(Check),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 all well, 9 a setting is missing or bad\n\nExamples:\n  wrenn config check\n  \
                        WRENN_LISTEN=0.0.0.0:80 wrenn config check --json"
)]
pub(crate) struct Check {
    #[command(flatten)]
    flags: super::control_plane::Flags,
}

/// Prints every setting and every fault.
pub(crate) fn run(context: &Context, command: &Command) -> Outcome {
    let Command::Check(check) = command;
    let (effective, warnings, faults) = Config::check(&sources(&check.flags)?);
    if context.out.is_json() {
        let settings: Vec<_> = effective
            .iter()
            .map(|setting| serde_json::json!({"name": setting.name, "value": setting.value, "origin": setting.origin.to_string()}))
            .collect();
        let faults: Vec<_> = faults
            .iter()
            .map(|fault| serde_json::json!({"name": fault.name, "problem": fault.problem}))
            .collect();
        context.out.json(
            &serde_json::json!({"settings": settings, "warnings": warnings, "faults": faults}),
        )?;
    } else {
        let mut table = Table::new(&["SETTING", "VALUE", "FROM"]);
        for setting in &effective {
            table.row(vec![
                setting.name.to_owned(),
                setting.value.clone(),
                setting.origin.to_string(),
            ]);
        }
        context.out.table(&table)?;
    }
    for warning in &warnings {
        context.out.warning(warning);
    }
    if faults.is_empty() {
        return Ok(DONE);
    }
    for fault in &faults {
        context.out.error(&CliError::local(format_args!(
            "{} {}",
            fault.name, fault.problem
        )));
    }
    Ok(Exit::Unhealthy)
}
