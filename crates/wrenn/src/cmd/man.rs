//! `wrenn man`: the manual pages, made from the command tree and the help topics.

use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory};

use super::help;
use crate::{
    DONE, Outcome,
    context::Context,
    error::{Attempt, CliError},
};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wrenn man sandbox create\n  wrenn man --dir /usr/local/share/man/man1"
)]
pub(crate) struct Arguments {
    /// The command whose page to show
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    command: Vec<String>,
    /// Write the pages of all commands here
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Shows one page, or writes all.
pub(crate) fn run(context: &Context, arguments: &Arguments) -> Outcome {
    let root = crate::args::Arguments::command();
    if let Some(dir) = &arguments.dir {
        std::fs::create_dir_all(dir).attempt(|| format!("make {}", dir.display()))?;
        write_all(&root, "wrenn", dir)?;
        return Ok(DONE);
    }
    let (command, name) = help::find(&root, &arguments.command)?;
    let page = page(&command, &name)?;
    if !context.out.may_ask() {
        context.out.bytes(&page)?;
        return Ok(DONE);
    }
    // On a terminal `man` sets and pages it, where there is one.
    let mut file = std::env::temp_dir();
    file.push(format!("wrenn-man-{}.1", std::process::id()));
    std::fs::write(&file, &page).attempt(|| format!("write {}", file.display()))?;
    let shown = std::process::Command::new("man")
        .arg("-l")
        .arg(&file)
        .status();
    let _ = std::fs::remove_file(&file);
    if !shown.is_ok_and(|status| status.success()) {
        context
            .out
            .line(&command.clone().render_long_help().to_string())?;
    }
    Ok(DONE)
}

fn write_all(command: &clap::Command, name: &str, dir: &Path) -> Result<(), CliError> {
    let file = dir.join(format!("{}.1", name.replace(' ', "-")));
    std::fs::write(&file, page(command, name)?).attempt(|| format!("write {}", file.display()))?;
    command
        .get_subcommands()
        .filter(|sub| !sub.is_hide_set())
        .try_for_each(|sub| write_all(sub, &format!("{name} {}", sub.get_name()), dir))
}

fn page(command: &clap::Command, name: &str) -> Result<Vec<u8>, CliError> {
    let mut page = Vec::new();
    let command = command
        .clone()
        .name(name.replace(' ', "-"))
        .bin_name(name.to_owned());
    clap_mangen::Man::new(command)
        .render(&mut page)
        .attempt(|| "write the page")?;
    if name == "wrenn" {
        for topic in help::TOPICS {
            page.extend(
                format!(
                    ".SH {}\n.nf\n{}.fi\n",
                    topic.title,
                    topic.text.replace('\\', "\\\\")
                )
                .into_bytes(),
            );
        }
    }
    Ok(page)
}
