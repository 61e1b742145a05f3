//! `wrenn sandbox ping`.

use clap::Args;
use reqwest::Method;
use wrenn_api::SandboxStatus;

use super::selection::{Selection, Shown, each};
use crate::{DONE, Outcome, context::Context};

#[derive(Debug, Args)]
#[command(
    after_help = "With --all or --label those that run are meant, unless --status says otherwise.\n\n\
                        Examples:\n  wrenn sandbox ping @last\n  wrenn sandbox ping sb-01jx\n  wrenn sandbox ping --label job=42"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    selection: Selection,
}

/// Tells the server that the sandboxes are in use.
pub(crate) async fn run(context: &Context, arguments: Arguments) -> Outcome {
    let client = &context.client()?;
    let running = [SandboxStatus::Running];
    let ids = arguments.selection.choose(client, &running).await?;
    if ids.is_empty() {
        context.out.note("No sandboxes to ping.");
        return Ok(DONE);
    }
    each(context, ids, "pinged", |id| async move {
        let path = format!("/v1/sandboxes/{id}/ping");
        client.send(client.request(Method::POST, &path)?).await?;
        Ok(Shown::Id(id))
    })
    .await
}
