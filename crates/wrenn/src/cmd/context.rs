//! `wrenn context`: which servers this machine knows, and as whom.

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::{
    DONE, Outcome,
    config::{ConfigFile, no_context},
    context::Context,
    error::CliError,
    out::Table,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the contexts
    Ls(Ls),
    /// Show a context, secrets masked
    Show(Show),
    /// Use a context from now on
    Use(Use),
    /// Forget contexts
    Rm(Rm),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wrenn context ls\n  wrenn context ls --json\n\nSee also: wrenn context use, wrenn login"
)]
pub(crate) struct Ls {}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wrenn context show\n  wrenn context show work --json\n\nSee also: wrenn whoami, which asks the server"
)]
pub(crate) struct Show {
    /// Which one [default: the one that commands use]
    #[arg(value_name = "CONTEXT")]
    name: Option<String>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wrenn context use work\n  wrenn context use local\n\nFor one command: wrenn --context work …"
)]
pub(crate) struct Use {
    /// Its name
    #[arg(value_name = "CONTEXT")]
    name: String,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wrenn context rm work\n  wrenn logout --context work && wrenn context rm work\n\nSee also: wrenn logout, which ends the session at the server"
)]
pub(crate) struct Rm {
    /// Their names
    #[arg(value_name = "CONTEXT", required = true)]
    names: Vec<String>,
}

/// A context as it may be shown.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    name: &'a str,
    current: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    base_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    team: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
    signed_in: bool,
    /// The beginning that lists of keys show.
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key_prefix: Option<&'a str>,
}

impl<'a> Shown<'a> {
    fn of(file: &'a ConfigFile, current: Option<&str>, name: &'a str) -> Self {
        let text = |key| file.text(name, key);
        Self {
            name,
            current: current == Some(name),
            base_url: text("base_url"),
            team: text("team"),
            email: text("email"),
            signed_in: text("refresh_token").is_some(),
            // A shorter text is no key, and might be all of a secret.
            api_key_prefix: text("api_key").map(|key| key.get(..10).unwrap_or("")),
        }
    }

    /// With what its commands act.
    fn credential(&self) -> String {
        match (self.signed_in, self.email, self.api_key_prefix) {
            (true, email, _) => email.unwrap_or("login").to_owned(),
            (false, _, Some(prefix)) => format!("{prefix}…"),
            (false, _, None) => "-".to_owned(),
        }
    }
}

/// Runs `command`.
pub(crate) fn run(context: &Context, command: &Command) -> Outcome {
    let path = ConfigFile::path()?;
    let mut file = ConfigFile::load(&path)?;
    match command {
        Command::Ls(_) => list(context, &file),
        Command::Show(arguments) => show(context, &file, arguments.name.as_deref()),
        Command::Use(arguments) => {
            if !file.names().contains(&arguments.name) {
                return Err(no_context(&arguments.name));
            }
            file.choose(&arguments.name);
            file.store(&path)?;
            context
                .out
                .note(&format!("commands use context {} now", arguments.name));
            if let Some(other) = context.global.context.as_ref()
                && *other != arguments.name
            {
                context.out.warning(&format!(
                    "but here --context or WRENN_CONTEXT names {other}"
                ));
            }
            Ok(DONE)
        }
        Command::Rm(arguments) => {
            for name in &arguments.names {
                let signed_in = file.text(name, "refresh_token").is_some();
                let said = match (file.remove(name), signed_in) {
                    (false, _) => format!("no context is named {name}: nothing to forget"),
                    (true, false) => format!("{name} is forgotten"),
                    (true, true) => format!(
                        "{name} is forgotten; its session goes on at the server until it expires or is ended there"
                    ),
                };
                context.out.note(&said);
            }
            file.store(&path)?;
            if file.current().is_none() && !file.names().is_empty() {
                context.out.note("\n  next  wrenn context use CONTEXT");
            }
            Ok(DONE)
        }
    }
}

fn current(context: &Context, file: &ConfigFile) -> Option<String> {
    context.global.context.clone().or_else(|| file.current())
}

fn list(context: &Context, file: &ConfigFile) -> Outcome {
    let (names, current) = (file.names(), current(context, file));
    let shown: Vec<Shown<'_>> = names
        .iter()
        .map(|name| Shown::of(file, current.as_deref(), name))
        .collect();
    if context.out.is_json() {
        context.out.json(&shown)?;
        return Ok(DONE);
    }
    if context.out.is_quiet() {
        names.iter().try_for_each(|name| context.out.line(name))?;
        return Ok(DONE);
    }
    if shown.is_empty() {
        context
            .out
            .note("No contexts.\n\n  next  wrenn login --base-url https://…\n  or    wrenn up");
        return Ok(DONE);
    }
    let mut table = Table::new(&["", "NAME", "SERVER", "AS", "TEAM"]);
    for row in &shown {
        table.row(vec![
            if row.current { "*" } else { "" }.to_owned(),
            row.name.to_owned(),
            row.base_url.unwrap_or("-").to_owned(),
            row.credential(),
            row.team.unwrap_or("-").to_owned(),
        ]);
    }
    context.out.table(&table)?;
    Ok(DONE)
}

fn show(context: &Context, file: &ConfigFile, name: Option<&str>) -> Outcome {
    let current = current(context, file);
    let name = name.or(current.as_deref()).ok_or_else(|| {
        CliError::usage("no context is current").hint("choose", "wrenn context use CONTEXT")
    })?;
    if !file.names().iter().any(|known| known == name) {
        return Err(no_context(name));
    }
    let shown = Shown::of(file, current.as_deref(), name);
    if context.out.is_json() {
        context.out.json(&shown)?;
        return Ok(DONE);
    }
    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
    let login = if shown.signed_in { "stored" } else { "" };
    let key = shown.api_key_prefix.map(|prefix| format!("{prefix}…"));
    context.out.pairs(&[
        ("name", name.to_owned()),
        ("server", text(shown.base_url)),
        ("team", text(shown.team)),
        ("email", text(shown.email)),
        ("login", login.to_owned()),
        ("api key", key.unwrap_or_default()),
        ("file", ConfigFile::path()?.display().to_string()),
    ])?;
    Ok(DONE)
}
