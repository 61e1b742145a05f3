//! `wrenn sandbox ls`.

use clap::Args;
use wrenn_api::{Sandbox, SandboxStatus};

use super::label;
use crate::{DONE, Outcome, context::Context, out::Table, units};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wrenn sandbox ls\n  wrenn sandbox ls --all --json\n  wrenn sandbox ls -q --label job=42\n\n\
                        See also: wrenn sandbox get, wrenn sandbox create"
)]
pub(crate) struct Arguments {
    /// Only these statuses (repeatable, or with commas)
    #[arg(long, value_name = "STATUS", value_delimiter = ',')]
    status: Vec<SandboxStatus>,
    /// Only sandboxes of this template
    #[arg(short = 'T', long, value_name = "NAME")]
    template: Option<String>,
    /// Only sandboxes with this label
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    label: Option<(String, String)>,
    /// Also those that stopped or failed
    #[arg(short, long, conflicts_with = "status")]
    all: bool,
    /// Leave the headings out
    #[arg(long)]
    no_headers: bool,
}

/// Lists sandboxes; with `--quiet` their ids alone.
pub(crate) async fn run(context: &Context, arguments: Arguments) -> Outcome {
    let client = context.client()?;
    let query = query(&arguments);
    if context.out.is_json() {
        context
            .out
            .json(&client.sandbox_list::<serde_json::Value>(&query).await?)?;
        return Ok(DONE);
    }
    let sandboxes: Vec<Sandbox> = client.sandbox_list(&query).await?;
    if context.out.is_quiet() {
        for sandbox in &sandboxes {
            context.out.line(&sandbox.id.to_string())?;
        }
        return Ok(DONE);
    }
    if sandboxes.is_empty() {
        context
            .out
            .note("No sandboxes.\n\n  next  wrenn sandbox create");
        return Ok(DONE);
    }
    let mut table = Table::new(&[
        "ID",
        "STATUS",
        "TEMPLATE",
        "VCPU",
        "MEMORY",
        "AGE",
        "LAST ACTIVE",
        "IDLE",
    ]);
    if arguments.no_headers {
        table.without_headings();
    }
    for sandbox in &sandboxes {
        let idle = if sandbox.timeout_sec == 0 {
            "-".to_owned()
        } else {
            format!("{}s", sandbox.timeout_sec)
        };
        table.row(vec![
            sandbox.id.to_string(),
            sandbox.status.to_string(),
            sandbox.template.clone(),
            sandbox.vcpus.to_string(),
            units::show_mebibytes(u64::from(sandbox.memory_mb)),
            units::age_of(&sandbox.created_at.to_string()),
            sandbox
                .last_active_at
                .map_or_else(|| "-".to_owned(), |time| units::age_of(&time.to_string())),
            idle,
        ]);
    }
    context.out.table(&table)?;
    Ok(DONE)
}

fn query(arguments: &Arguments) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    if arguments.all {
        let all: Vec<&str> = SandboxStatus::ALL
            .iter()
            .map(|status| status.as_str())
            .collect();
        query.append_pair("status", &all.join(","));
    }
    for status in &arguments.status {
        query.append_pair("status", status.as_str());
    }
    if let Some(template) = &arguments.template {
        query.append_pair("template", template);
    }
    if let Some((key, value)) = &arguments.label {
        query.append_pair("metadata", &format!("{key}:{value}"));
    }
    query.finish()
}
