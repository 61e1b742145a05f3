//! `wrenn host-agent`: runs sandboxes on this machine for a control plane.

use std::{io::Read, path::PathBuf};

use clap::Args;
use wrenn_host_agent::{Config, checks::KvmProbe, identity::Token};

use super::role;
use crate::{
    DONE, Outcome,
    context::Context,
    error::{Attempt, CliError, chain},
    local::checks,
};

#[derive(Debug, Args)]
#[command(
    after_help = "Settings come from the environment: WRENN_CP_URL, WRENN_REGISTRATION_TOKEN (first start only), WRENN_ADDRESS,\n\
                        WRENN_AGENT_LISTEN, WRENN_STATE_DIR, WRENN_IMAGES_DIR, WRENN_FIRECRACKER_DIR, WRENN_GUEST_DNS, WRENN_GUEST_CA,\n\
                        WRENN_WARM_MAX_MIB, WRENN_FLAT_MAX_MIB (disk for warm snapshots, for flat copies; 0 makes none),\n\
                        WRENN_READY_VMS (started ahead), WRENN_SPARES (restored ahead), WRENN_PREFETCH (on or off),\n\
                        WRENN_DISCONNECT_PAUSE_SEC (without a control plane, until all is paused; 0 = never).\n\
                        Sandboxes outlive a restart of the agent.\n\nExamples:\n  WRENN_CP_URL=https://cp.example wrenn host-agent --register token.txt\n  \
                        wrenn host-agent --check"
)]
pub(crate) struct Arguments {
    /// Read the one-time registration token from this file, or - for standard input
    #[arg(long, value_name = "FILE")]
    register: Option<PathBuf>,
    /// Check this machine's fitness and end
    #[arg(long)]
    check: bool,
}

/// Serves until SIGTERM or Ctrl-C; sandboxes stay.
pub(crate) fn run(context: &Context, arguments: &Arguments) -> Outcome {
    let mut config = Config::from_env(KvmProbe::new(checks::kvm_probe)).map_err(|error| {
        CliError::usage(format_args!(
            "the settings cannot be used:\n  {}",
            error.faults.join("\n  ")
        ))
        .hint("see", "wrenn host-agent --help")
    })?;
    if arguments.check {
        let faults = wrenn_host_agent::checks::run(&config);
        return checks::show_host(context, &faults);
    }
    if let Some(file) = &arguments.register {
        config.registration_token = Some(Token::new(read_token(file)?));
    }
    role::serve(async |shutdown| {
        let serving = wrenn_host_agent::run(config, shutdown);
        serving.await.map_err(|error| {
            CliError::local(format_args!("the host agent ended: {}", chain(&error)))
                .hint("check", "wrenn host-agent --check")
        })
    })?;
    Ok(DONE)
}

fn read_token(file: &std::path::Path) -> Result<String, CliError> {
    let mut text = String::new();
    if file.as_os_str() == "-" {
        std::io::stdin()
            .read_to_string(&mut text)
            .attempt(|| "read the token from standard input")?;
    } else {
        text = std::fs::read_to_string(file).attempt(|| format!("read {}", file.display()))?;
    }
    Ok(text.trim().to_owned())
}
