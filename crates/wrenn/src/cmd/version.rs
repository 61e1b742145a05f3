//! `wrenn version`.

use clap::Args;

use crate::{DONE, Outcome, context::Context};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  wrenn version\n  wrenn version --json")]
pub(crate) struct Arguments {}

/// Shows the version; `--json` adds the target and what the binary was built from.
pub(crate) fn run(context: &Context, _arguments: &Arguments) -> Outcome {
    let version = env!("CARGO_PKG_VERSION");
    if context.out.is_json() {
        context.out.json(&serde_json::json!({
            "version": version,
            "commit": option_env!("WRENN_COMMIT").unwrap_or("unknown"),
            "target": format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
            "protocols": { "api": "v1", "hostagent": "v1" },
        }))?;
    } else {
        context.out.line(&format!("wrenn {version}"))?;
    }
    Ok(DONE)
}
