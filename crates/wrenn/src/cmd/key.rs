//! `wrenn key`: API keys of the team that the login acts for.

use clap::{Args, Subcommand};
use serde_json::json;
use wrenn_api::api_key::{ApiKey, ApiKeyFormat};
use wrenn_ids::KeyId;

use crate::{DONE, Outcome, context::Context, error::CliError, interruptible, out::Table, units};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a key; it is the only thing on standard output, once
    Create(Create),
    /// List keys, newest first
    Ls(Ls),
    /// Revoke keys
    Rm(Rm),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wrenn key create ci\n  WRENN_API_KEY=$(wrenn key create ci) wrenn run -- uname\n  wrenn key create agents --format e2b\n\nSee also: wrenn key rm"
)]
pub(crate) struct Create {
    /// What to call it
    name: String,
    /// How it looks: wrenn, or e2b for the SDKs of E2B
    #[arg(long, value_name = "FORMAT")]
    format: Option<ApiKeyFormat>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wrenn key ls\n  wrenn key ls --json\n\nSee also: wrenn key create"
)]
pub(crate) struct Ls {}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wrenn key rm key-0068w3z1tm0n9dpsx57yxxxxx\n  wrenn key rm $(wrenn key ls --quiet)"
)]
pub(crate) struct Rm {
    /// Ids
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
}

/// Runs `command`.
pub(crate) fn run(context: &Context, command: Command) -> Outcome {
    interruptible(async {
        let client = context.login_client()?;
        match command {
            Command::Create(arguments) => {
                let body = json!({ "name": arguments.name, "format": arguments.format });
                let made: ApiKey = client.post("/v1/api-keys", &body).await?;
                if context.out.is_json() {
                    context.out.json(&made)?;
                } else {
                    context.out.line(made.key.as_deref().unwrap_or_default())?;
                    context
                        .out
                        .note(&format!("{}: it is not shown again", made.id));
                }
            }
            Command::Ls(_) => {
                let keys: Vec<ApiKey> = client.get("/v1/api-keys").await?;
                show(context, &keys)?;
            }
            Command::Rm(arguments) => {
                for id in &arguments.ids {
                    // A text that is no id would name another path.
                    let id: KeyId = id
                        .parse()
                        .map_err(|error| CliError::usage(format_args!("`{id}` {error}")))?;
                    client.delete(&format!("/v1/api-keys/{id}")).await?;
                    context.out.line(&id.to_string())?;
                }
            }
        }
        Ok(DONE)
    })
}

fn show(context: &Context, keys: &[ApiKey]) -> Result<(), CliError> {
    if context.out.is_json() {
        return context.out.json(&keys);
    }
    if context.out.is_quiet() {
        return keys
            .iter()
            .try_for_each(|key| context.out.line(&key.id.to_string()));
    }
    if keys.is_empty() {
        context
            .out
            .note("No keys.\n\n  next  wrenn key create NAME");
        return Ok(());
    }
    let mut table = Table::new(&["NAME", "PREFIX", "BY", "AGE", "LAST USED", "ID"]);
    for key in keys {
        let by = key.creator_email.as_ref().unwrap_or(&key.created_by);
        let last = key.last_used.map(|time| units::age_of(&time.to_string()));
        table.row(vec![
            key.name.clone(),
            key.key_prefix.clone(),
            by.clone(),
            units::age_of(&key.created_at.to_string()),
            last.unwrap_or_else(|| "never".to_owned()),
            key.id.to_string(),
        ]);
    }
    context.out.table(&table)
}
