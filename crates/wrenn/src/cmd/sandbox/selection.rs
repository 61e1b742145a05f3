//! Which sandboxes a command means, and doing the same to each of them, eight at a time.

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

/// Sandboxes that are worked on at a time.
const AT_ONCE: usize = 8;

#[derive(Debug, Args)]
pub(crate) struct Selection {
    /// Ids, unique beginnings of ids, or @last
    #[arg(value_name = "ID", required_unless_present_any = ["all", "status", "label"])]
    sandboxes: Vec<String>,
    /// All sandboxes of the team
    #[arg(short, long)]
    pub(super) all: bool,
    /// Those with this status (repeatable, or with commas)
    #[arg(long, value_name = "STATUS", value_delimiter = ',')]
    status: Vec<SandboxStatus>,
    /// Those with this label
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    label: Option<(String, String)>,
}

impl Selection {
    /// The sandboxes meant. Where neither an id nor a status is given, only those that have one of the
    /// statuses `sensible`; empty means any.
    ///
    /// # Errors
    /// A reference fits none or several, or the server fails.
    pub(super) async fn choose(
        &self,
        client: &Client,
        sensible: &[SandboxStatus],
    ) -> Result<BTreeSet<SandboxId>, CliError> {
        let mut ids = BTreeSet::new();
        for reference in &self.sandboxes {
            ids.insert(client.sandbox_find(reference).await?);
        }
        if self.all || !self.status.is_empty() || self.label.is_some() {
            let wanted = if self.status.is_empty() {
                sensible
            } else {
                &self.status
            };
            let fits = |sandbox: &Sandbox| {
                (wanted.is_empty() || wanted.contains(&sandbox.status))
                    && self
                        .label
                        .as_ref()
                        .is_none_or(|(key, value)| sandbox.metadata.get(key) == Some(value))
            };
            let sandboxes: Vec<Sandbox> = client.sandbox_list("").await?;
            ids.extend(
                sandboxes
                    .iter()
                    .filter(|sandbox| fits(sandbox))
                    .map(|sandbox| sandbox.id),
            );
        }
        Ok(ids)
    }
}

/// What is shown of a sandbox that was worked on.
pub(super) enum Shown {
    /// Its id.
    Id(SandboxId),
    /// Its id and status.
    Sandbox(Box<Sandbox>),
}

/// Does `work` to each, a line for each that it is done to; the rest is done when one fails. `done` is the
/// word for it: "destroyed".
///
/// # Errors
/// It failed for one or more, each of which was told.
pub(super) async fn each<Fut>(
    context: &Context,
    ids: BTreeSet<SandboxId>,
    done: &str,
    work: impl Fn(SandboxId) -> Fut,
) -> Outcome
where
    Fut: Future<Output = Result<Shown, CliError>>,
{
    let mut results = stream::iter(ids).map(work).buffer_unordered(AT_ONCE);
    let mut failed = 0;
    while let Some(result) = results.next().await {
        match result {
            Ok(shown) => show(context, &shown)?,
            Err(error) => {
                failed += 1;
                context.out.error(&error);
            }
        }
    }
    if failed > 0 {
        let noun = if failed == 1 { "sandbox" } else { "sandboxes" };
        return Err(CliError::new(
            Exit::Failure,
            "partly_failed",
            format_args!("{failed} {noun} could not be {done}"),
        )
        .hint("see", "wrenn sandbox ls"));
    }
    Ok(DONE)
}

fn show(context: &Context, shown: &Shown) -> Result<(), CliError> {
    let out = &context.out;
    match shown {
        Shown::Sandbox(sandbox) if out.is_json() => out.json_line(sandbox),
        Shown::Sandbox(sandbox) if !out.is_quiet() => {
            out.line(&format!("{}  {}", sandbox.id, sandbox.status))
        }
        Shown::Sandbox(sandbox) => out.line(&sandbox.id.to_string()),
        Shown::Id(id) => out.line(&id.to_string()),
    }
}
