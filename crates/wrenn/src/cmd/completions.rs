//! `wrenn completions`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::{DONE, Outcome, context::Context};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wrenn completions bash > /usr/share/bash-completion/completions/wrenn\n  \
                        wrenn completions fish > ~/.config/fish/completions/wrenn.fish"
)]
pub(crate) struct Arguments {
    /// Which shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Prints the completion script.
pub(crate) fn run(context: &Context, arguments: &Arguments) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(
        arguments.shell,
        &mut crate::args::Arguments::command(),
        "wrenn",
        &mut script,
    );
    context.out.bytes(&script)?;
    Ok(DONE)
}
