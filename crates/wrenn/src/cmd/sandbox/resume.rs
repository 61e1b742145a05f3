//! `wrenn sandbox resume`.

use clap::Args;
use wrenn_api::SandboxStatus;

use super::selection::{Selection, Shown, each};
use crate::{DONE, Outcome, context::Context};

#[derive(Debug, Args)]
#[command(
    after_help = "With --all or --label those that are paused are meant, unless --status says otherwise.\n\n\
                        Examples:\n  wrenn sandbox resume @last\n  wrenn sandbox resume --all\n  wrenn sandbox resume --label job=42\n\n\
                        See also: wrenn sandbox pause"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    selection: Selection,
}

/// Resumes sandboxes and waits until they run; one that runs counts as done.
pub(crate) async fn run(context: &Context, arguments: Arguments) -> Outcome {
    let client = &context.client()?;
    let asleep = [SandboxStatus::Paused, SandboxStatus::Hibernated];
    let ids = arguments.selection.choose(client, &asleep).await?;
    if ids.is_empty() {
        context.out.note("No sandboxes to resume.");
        return Ok(DONE);
    }
    each(context, ids, "resumed", |id| async move {
        let sandbox = client.sandbox_resume(id).await?;
        let sandbox = client.sandbox_wait_running(sandbox).await?;
        Ok(Shown::Sandbox(Box::new(sandbox)))
    })
    .await
}
