//! `wrenn setup`: kernel, Firecracker and images, without starting anything.

use std::path::PathBuf;

use clap::Args;

use crate::{
    DONE, Outcome,
    context::Context,
    error::CliError,
    local::{images, state::StateDir},
};

#[derive(Debug, Args)]
#[command(
    after_help = "Sources: Debian's package mirrors; Firecracker from WRENN_FIRECRACKER_DIR, PATH, its project's releases or a Python\n\
                        package, checked by SHA-256 before first use.\n\nExamples:\n  wrenn setup\n  wrenn setup --envd ./envd\n\n\
                        See also: wrenn up, wrenn doctor --only images"
)]
pub(crate) struct Arguments {
    /// The guest agent to put into images [default: beside this binary]
    #[arg(long, value_name = "FILE", env = "WRENN_ENVD", hide_env_values = true)]
    envd: Option<PathBuf>,
    /// The state directory
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

/// Makes the images complete and current.
pub(crate) fn run(context: &Context, arguments: &Arguments) -> Outcome {
    let state = StateDir::locate(arguments.state_dir.as_deref())?;
    state.prepare()?;
    let progress = context.out.progress();
    let images = progress.step("Images", || {
        let images = images::ensure(&state, arguments.envd.as_deref(), &|note| {
            progress.note(note, None)
        })?;
        Ok::<_, CliError>((images.path().display().to_string(), images))
    })?;
    drop(progress);
    context.out.pairs(&[
        ("kernel", images.kernel_version().to_owned()),
        ("firecracker", images.firecracker_version().to_owned()),
        ("directory", images.path().display().to_string()),
    ])?;
    Ok(DONE)
}
