//! `wrenn sandbox ping`.

use clap::Args;
use reqwest::Method;

use crate::{DONE, Outcome, context::Context};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  wrenn sandbox ping @last\n  wrenn sandbox ping sb-01jx")]
pub(crate) struct Arguments {
    /// Id, unique beginning of one, or @last
    #[arg(value_name = "ID")]
    sandbox: String,
}

/// Tells the server that the sandbox is in use.
pub(crate) async fn run(context: &Context, arguments: Arguments) -> Outcome {
    let client = context.client()?;
    let id = client.sandbox_find(&arguments.sandbox).await?;
    client
        .send(client.request(Method::POST, &format!("/v1/sandboxes/{id}/ping"))?)
        .await?;
    Ok(DONE)
}
