//! `wrenn template`: what sandboxes are made from.

use clap::{Args, Subcommand};
use wrenn_api::{Template, TemplateType};

use crate::{DONE, Outcome, context::Context, interruptible, out::Table, units};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List templates, newest first: ours and those of the platform
    Ls(Ls),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wrenn template ls\n  wrenn template ls --type snapshot --json\n\n\
                        See also: wrenn snapshot create"
)]
pub(crate) struct Ls {
    /// Only of this type
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<TemplateType>,
    #[command(flatten)]
    shown: Shown,
}

/// How a list of templates is shown.
#[derive(Debug, Args)]
pub(crate) struct Shown {
    /// Leave the headings out
    #[arg(long)]
    no_headers: bool,
}

/// Runs `command`.
pub(crate) fn run(context: &Context, command: Command) -> Outcome {
    match command {
        Command::Ls(arguments) => interruptible(list(context, arguments.kind, arguments.shown)),
    }
}

/// Lists the templates of a type; with `--quiet` their names alone.
pub(super) async fn list(context: &Context, kind: Option<TemplateType>, shown: Shown) -> Outcome {
    let client = context.client()?;
    let path = match kind {
        Some(kind) => format!("/v1/snapshots?type={kind}"),
        None => "/v1/snapshots".to_owned(),
    };
    if context.out.is_json() {
        context
            .out
            .json(&client.get::<serde_json::Value>(&path).await?)?;
        return Ok(DONE);
    }
    let templates: Vec<Template> = client.get(&path).await?;
    if context.out.is_quiet() {
        for template in &templates {
            context.out.line(&template.name)?;
        }
        return Ok(DONE);
    }
    if templates.is_empty() {
        context
            .out
            .note("No snapshots.\n\n  next  wrenn snapshot create ID NAME");
        return Ok(DONE);
    }
    let mut table = Table::new(&["NAME", "TYPE", "VCPU", "MEMORY", "SIZE", "AGE", "USED BY"]);
    if shown.no_headers {
        table.without_headings();
    }
    for template in &templates {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let memory = template.memory_mb.map(u64::from);
        table.row(vec![
            template.name.clone(),
            template.r#type.to_string(),
            or_dash(template.vcpus.map(|vcpus| vcpus.to_string())),
            or_dash(memory.map(units::show_mebibytes)),
            units::show_mebibytes(template.size_bytes >> 20),
            units::age_of(&template.created_at.to_string()),
            template.used_by.to_string(),
        ]);
    }
    context.out.table(&table)?;
    Ok(DONE)
}
