//! `wrenn sandbox rm`.

use clap::Args;

use super::selection::{Selection, Shown, each};
use crate::{
    DONE, Outcome,
    context::Context,
    error::{CliError, Exit},
};

/// More than these are asked about first.
const WITHOUT_ASKING: usize = 3;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wrenn sandbox rm @last\n  wrenn sandbox rm --all --yes\n  wrenn sandbox rm --label job=42"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    selection: Selection,
}

/// Destroys sandboxes; one that is gone counts as done.
pub(crate) async fn run(context: &Context, arguments: Arguments) -> Outcome {
    let client = &context.client()?;
    let ids = arguments.selection.choose(client, &[]).await?;
    if ids.is_empty() {
        context.out.note("No sandboxes to destroy.");
        return Ok(DONE);
    }
    if (ids.len() > WITHOUT_ASKING || arguments.selection.all) && !context.global.yes {
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
    each(context, ids, "destroyed", |id| async move {
        client.sandbox_destroy(id).await?;
        Ok(Shown::Id(id))
    })
    .await
}
