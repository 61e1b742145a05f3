//! `wrenn sandbox rm`.

use std::collections::BTreeSet;

use clap::Args;
use futures::{StreamExt, stream};
use wrenn_api::{Sandbox, SandboxStatus};
use wrenn_ids::SandboxId;

use super::label;
use crate::{
    DONE, Outcome,
    client::Client,
    context::Context,
    error::{CliError, Exit},
};

/// Sandboxes destroyed at a time.
const AT_ONCE: usize = 8;
/// More than these are asked about first.
const WITHOUT_ASKING: usize = 3;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wrenn sandbox rm @last\n  wrenn sandbox rm --all --yes\n  wrenn sandbox rm --label job=42"
)]
pub(crate) struct Arguments {
    /// Ids, unique beginnings of ids, or @last
    #[arg(value_name = "ID", required_unless_present_any = ["all", "status", "label"])]
    sandboxes: Vec<String>,
    /// All sandboxes of the team
    #[arg(short, long)]
    all: bool,
    /// Those with this status (repeatable, or with commas)
    #[arg(long, value_name = "STATUS", value_delimiter = ',')]
    status: Vec<SandboxStatus>,
    /// Those with this label
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    label: Option<(String, String)>,
}

/// Destroys sandboxes, eight at a time; the rest is done when one fails.
pub(crate) async fn run(context: &Context, arguments: Arguments) -> Outcome {
    let client = &context.client()?;
    let ids = choose(client, &arguments).await?;
    if ids.is_empty() {
        context.out.note("No sandboxes to destroy.");
        return Ok(DONE);
    }
    if (ids.len() > WITHOUT_ASKING || arguments.all) && !context.global.yes {
        if !context.out.may_ask() {
            return Err(CliError::usage(format_args!(
                "this destroys {} sandboxes and needs --yes",
                ids.len()
            ))
            .hint("go on", "the same with --yes"));
        }
        if !matches!(
            context
                .out
                .ask(&format!("Destroy {} sandboxes? [y/N]", ids.len()))?
                .as_str(),
            "y" | "Y" | "yes"
        ) {
            return Err(CliError::new(
                Exit::Failure,
                "declined",
                "nothing was destroyed",
            ));
        }
    }
    let mut results = stream::iter(ids)
        .map(|id| async move { (id, client.sandbox_destroy(id).await) })
        .buffer_unordered(AT_ONCE);
    let mut failed = 0;
    while let Some((id, result)) = results.next().await {
        match result {
            Ok(()) => context.out.line(&id.to_string())?,
            Err(error) => {
                failed += 1;
                context.out.error(&error);
            }
        }
    }
    if failed > 0 {
        return Err(CliError::new(
            Exit::Failure,
            "partly_failed",
            format_args!("{failed} sandboxes could not be destroyed"),
        )
        .hint("see", "wrenn sandbox ls"));
    }
    Ok(DONE)
}

async fn choose(client: &Client, arguments: &Arguments) -> Result<BTreeSet<SandboxId>, CliError> {
    let mut ids = BTreeSet::new();
    for reference in &arguments.sandboxes {
        ids.insert(client.sandbox_find(reference).await?);
    }
    if arguments.all || !arguments.status.is_empty() || arguments.label.is_some() {
        let sandboxes: Vec<Sandbox> = client.sandbox_list("").await?;
        let fits = |sandbox: &Sandbox| {
            (arguments.status.is_empty() || arguments.status.contains(&sandbox.status))
                && arguments
                    .label
                    .as_ref()
                    .is_none_or(|(key, value)| sandbox.metadata.get(key) == Some(value))
        };
        ids.extend(
            sandboxes
                .iter()
                .filter(|sandbox| fits(sandbox))
                .map(|sandbox| sandbox.id),
        );
    }
    Ok(ids)
}
