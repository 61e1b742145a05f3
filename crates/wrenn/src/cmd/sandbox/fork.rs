//! `wrenn sandbox fork`.

use std::time::Instant;

use clap::Args;
use wrenn_api::{ForkSandbox, Sandbox};

use crate::{DONE, Outcome, context::Context};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wrenn sandbox fork @last\n  wrenn sandbox fork @last -n 8\n  IDS=$(wrenn sandbox fork -q -n 3 sb-01jx)\n\n\
                        See also: wrenn sandbox create, wrenn sandbox pause"
)]
pub(crate) struct Arguments {
    /// Id, unique beginning of one, or @last
    #[arg(value_name = "ID")]
    sandbox: String,
    /// How many, 1 to 20
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1)]
    count: u32,
}

/// Makes sandboxes from one as it is and shows their ids; it ends as it was.
pub(crate) async fn run(context: &Context, arguments: Arguments) -> Outcome {
    let client = context.client()?;
    let id = client.sandbox_find(&arguments.sandbox).await?;
    let begun = Instant::now();
    let request = ForkSandbox {
        count: Some(arguments.count),
        ..ForkSandbox::default()
    };
    let path = format!("/v1/sandboxes/{id}/fork");
    let mut children: Vec<Sandbox> = client.post(&path, &request).await?;
    for child in &mut children {
        *child = client.sandbox_wait_running(child.clone()).await?;
    }
    let took = begun.elapsed().as_millis();
    context
        .out
        .detail(1, &format!("{} from one after {took} ms", children.len()));
    if context.out.is_json() {
        context.out.json(&children)?;
        return Ok(DONE);
    }
    for child in &children {
        if context.out.is_quiet() {
            context.out.line(&child.id.to_string())?;
        } else {
            context
                .out
                .line(&format!("{}  {}", child.id, child.status))?;
        }
    }
    Ok(DONE)
}
