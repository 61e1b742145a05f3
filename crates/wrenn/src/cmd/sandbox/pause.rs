//! `wrenn sandbox pause`.

use clap::Args;
use wrenn_api::SandboxStatus;

use super::selection::{Selection, Shown, each};
use crate::{DONE, Outcome, context::Context};

#[derive(Debug, Args)]
#[command(
    after_help = "With --all or --label those that run are meant, unless --status says otherwise.\n\n\
                        Examples:\n  wrenn sandbox pause @last\n  wrenn sandbox pause --all\n  wrenn sandbox pause --label job=42\n\n\
                        See also: wrenn sandbox resume"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    selection: Selection,
}

/// Pauses sandboxes; one that is paused counts as done.
pub(crate) async fn run(context: &Context, arguments: Arguments) -> Outcome {
    let client = &context.client()?;
    let running = [SandboxStatus::Running];
    let ids = arguments.selection.choose(client, &running).await?;
    if ids.is_empty() {
        context.out.note("No sandboxes to pause.");
        return Ok(DONE);
    }
    each(context, ids, "paused", |id| async move {
        Ok(Shown::Sandbox(Box::new(client.sandbox_pause(id).await?)))
    })
    .await
}
