//! `wrenn snapshot`: sandboxes kept as templates.

use std::time::Instant;

use clap::{Args, Subcommand};
use wrenn_api::{CreateSnapshot, Template, TemplateType};

use super::template;
use crate::{
    DONE, Outcome,
    context::Context,
    error::{CliError, Exit},
    interruptible, units,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Keep a sandbox as a template, with its memory and disk
    Create(Create),
    /// List snapshots, newest first
    Ls(Ls),
    /// Delete snapshots from every host
    Rm(Rm),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wrenn snapshot create @last\n  wrenn snapshot create @last ready-to-go\n  wrenn snapshot create @last ready-to-go --overwrite\n\n\
                        See also: wrenn sandbox create --template NAME, wrenn sandbox fork"
)]
pub(crate) struct Create {
    /// Id, unique beginning of one, or @last
    #[arg(value_name = "ID")]
    sandbox: String,
    /// What to call it [default: template- and 8 hexadecimal digits]
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Delete a template of this name first
    #[arg(long)]
    overwrite: bool,
    /// Leave the sandbox paused
    #[arg(long)]
    pause: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wrenn snapshot ls\n  wrenn snapshot ls --json\n\nSee also: wrenn template ls"
)]
pub(crate) struct Ls {
    #[command(flatten)]
    table: template::Shown,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wrenn snapshot rm ready-to-go\n  wrenn snapshot rm one two three"
)]
pub(crate) struct Rm {
    /// Names or ids
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

/// Runs `command`.
pub(crate) fn run(context: &Context, command: Command) -> Outcome {
    match command {
        Command::Create(arguments) => interruptible(create(context, arguments)),
        Command::Ls(arguments) => {
            let kind = Some(TemplateType::Snapshot);
            interruptible(template::list(context, kind, arguments.table))
        }
        Command::Rm(arguments) => interruptible(rm(context, arguments)),
    }
}

async fn create(context: &Context, arguments: Create) -> Outcome {
    let client = context.client()?;
    let request = CreateSnapshot {
        sandbox_id: client.sandbox_find(&arguments.sandbox).await?,
        name: arguments.name,
        pause_source: arguments.pause.then_some(true),
    };
    let path = match arguments.overwrite {
        true => "/v1/snapshots?overwrite=true",
        false => "/v1/snapshots",
    };
    let begun = Instant::now();
    let made: Template = client.post(path, &request).await.map_err(|error| {
        if error.code == "template_name_taken" {
            return error.hint("replace", "the same with --overwrite");
        }
        error
    })?;
    if context.out.is_json() {
        context.out.json(&made)?;
    } else if context.out.is_quiet() {
        context.out.line(&made.name)?;
    } else {
        let size = units::show_mebibytes(made.size_bytes >> 20);
        let took = begun.elapsed().as_secs_f32();
        context
            .out
            .line(&format!("{}  {size} in {took:.1} s", made.name))?;
    }
    Ok(DONE)
}

/// Deletes one after the other; the rest is done when one fails.
async fn rm(context: &Context, arguments: Rm) -> Outcome {
    let client = context.client()?;
    let mut failed = 0;
    for name in &arguments.names {
        // A name that is none would name another path.
        wrenn_api::grammar::template_name("name", name).map_err(CliError::usage)?;
        match client.delete(&format!("/v1/snapshots/{name}")).await {
            Ok(()) => context.out.line(name)?,
            Err(error) => {
                failed += 1;
                context.out.error(&CliError {
                    message: format!("{name}: {}", error.message),
                    ..error
                });
            }
        }
    }
    if failed > 0 {
        let noun = if failed == 1 { "snapshot" } else { "snapshots" };
        return Err(CliError::new(
            Exit::Failure,
            "partly_failed",
            format_args!("{failed} {noun} could not be deleted"),
        )
        .hint("see", "wrenn snapshot ls"));
    }
    Ok(DONE)
}
