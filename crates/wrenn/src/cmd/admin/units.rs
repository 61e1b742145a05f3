//! `wrenn admin systemd-units`.

use std::path::PathBuf;

use clap::Args;

use crate::{
    DONE, Outcome,
    context::Context,
    error::{Attempt, CliError},
    local::units::{DIRECTORY, all, install},
};

#[derive(Debug, Args)]
#[command(
    after_help = "wrenn.service is everything on one machine; wrenn-control-plane.service and wrenn-host-agent.service\n\
                  are the roles on machines of their own, with settings in /etc/wrenn/control-plane.env and\n\
                  /etc/wrenn/host-agent.env. None is enabled or started.\n\n\
                  Examples:\n  wrenn admin systemd-units\n  sudo wrenn admin systemd-units --install && sudo systemctl enable --now wrenn\n\n\
                  See also: wrenn up --foreground, wrenn control-plane, wrenn host-agent"
)]
pub(crate) struct Arguments {
    /// Write them where systemd finds them, instead of printing them
    #[arg(long)]
    install: bool,
    /// Where that is
    #[arg(long, value_name = "DIR", default_value = DIRECTORY, requires = "install")]
    dir: PathBuf,
}

/// Prints the units, or writes them.
pub(super) fn run(context: &Context, arguments: &Arguments) -> Outcome {
    let program = std::env::current_exe().attempt(|| "find this program")?;
    let units = all(&program)?;
    if !arguments.install {
        if context.out.is_json() {
            let units: Vec<_> = units
                .iter()
                .map(|unit| serde_json::json!({ "name": unit.name, "text": unit.text }))
                .collect();
            context.out.json(&units)?;
            return Ok(DONE);
        }
        for unit in &units {
            context
                .out
                .line(&format!("# {DIRECTORY}/{}\n{}", unit.name, unit.text))?;
        }
        return Ok(DONE);
    }
    let written = install(&units, &arguments.dir)?;
    for path in &written {
        context.out.line(&path.display().to_string())?;
    }
    if written.is_empty() {
        context.out.note("The units are there already.");
    } else if arguments.dir.as_os_str() == DIRECTORY {
        reload(context);
    }
    context.out.note("\n  next  systemctl enable --now wrenn");
    Ok(DONE)
}

/// A systemd that does not run reads the units when it does.
fn reload(context: &Context) {
    let reloaded = std::process::Command::new("systemctl")
        .arg("daemon-reload")
        .output();
    let failed = match reloaded {
        Ok(output) if output.status.success() => return,
        Ok(output) => CliError::local(String::from_utf8_lossy(&output.stderr).trim()),
        Err(error) => CliError::local(error),
    };
    context.out.warning(&format!(
        "systemctl daemon-reload did not work: {}",
        failed.message
    ));
}
