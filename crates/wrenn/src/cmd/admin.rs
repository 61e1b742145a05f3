//! `wrenn admin`: recovery on the control plane's machine, through its database.

use std::io::{IsTerminal, Read};

use clap::{Args, Subcommand};
use secrecy::{ExposeSecret, SecretString};
use wrenn_control_plane::operator::{self, OperatorError};

use super::{
    control_plane::{Flags, load},
    migrate::connect,
};
use crate::{
    DONE, Outcome,
    context::Context,
    error::{Attempt, CliError, Exit, chain},
    interruptible,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make an account that administers the platform
    Create(Create),
    /// Make an account an administrator of everything
    Promote(Account),
    /// Take that away again
    Demote(Account),
    /// Let a team bring its own hosts, or not any more
    SetByoc(SetByoc),
    /// End every token and session of an account
    RevokeSessions(Account),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wrenn admin create ada@example.com --name Ada\n  wrenn admin create ada@example.com --name Ada --password-stdin < password\n\nSee also: wrenn admin promote"
)]
pub(crate) struct Create {
    /// Address of the account
    email: String,
    /// What people call them [default: the address up to its @]
    #[arg(long)]
    name: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wrenn admin promote ada@example.com\n  wrenn admin revoke-sessions ada@example.com\n\nEach use is a row of the audit log."
)]
pub(crate) struct Account {
    /// Address of the account
    email: String,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wrenn admin set-byoc 0a1b2c-3d4e5f\n  wrenn admin set-byoc 0a1b2c-3d4e5f --off"
)]
pub(crate) struct SetByoc {
    /// Id or slug of the team
    team: String,
    /// It may not any more
    #[arg(long)]
    off: bool,
}

/// Runs `command` on the database that the control plane's settings name.
pub(crate) fn run(context: &Context, command: Command) -> Outcome {
    let config = load(&Flags::default())?;
    interruptible(async {
        let db = connect(config.database_url.expose_secret()).await?;
        match command {
            Command::Create(arguments) => {
                let name = arguments.name.as_deref();
                let name = name
                    .or_else(|| arguments.email.split('@').next())
                    .unwrap_or_default();
                let password = password(context, arguments.password_stdin)?;
                let id = operator::admin_create(&db, &arguments.email, name, password).await;
                context.out.line(&id.map_err(failed)?.to_string())?;
            }
            Command::Promote(account) => {
                operator::admin_set(&db, &account.email, true)
                    .await
                    .map_err(failed)?;
                context
                    .out
                    .note(&format!("{} administers the platform", account.email));
            }
            Command::Demote(account) => {
                operator::admin_set(&db, &account.email, false)
                    .await
                    .map_err(failed)?;
                context.out.note(&format!(
                    "{} does not administer the platform",
                    account.email
                ));
            }
            Command::SetByoc(arguments) => {
                let team = operator::byoc_set(&db, &arguments.team, !arguments.off).await;
                context.out.line(&team.map_err(failed)?.to_string())?;
            }
            Command::RevokeSessions(account) => {
                operator::sessions_revoke(&db, &account.email)
                    .await
                    .map_err(failed)?;
                context
                    .out
                    .note(&format!("{} is signed out everywhere", account.email));
            }
        }
        Ok(DONE)
    })
}

fn failed(error: OperatorError) -> CliError {
    match &error {
        OperatorError::Unknown(_) => CliError::new(Exit::NotFound, "not_found", &error),
        OperatorError::Taken(_) | OperatorError::Last => {
            CliError::new(Exit::Conflict, "conflict", &error)
        }
        OperatorError::Invalid(_) => CliError::usage(&error),
        _ => CliError::local(chain(&error)),
    }
}

fn password(context: &Context, from_stdin: bool) -> Result<SecretString, CliError> {
    if !from_stdin {
        if !context.out.may_ask() {
            return Err(
                CliError::usage("there is no terminal to ask for the password on")
                    .hint("try", "the same with --password-stdin"),
            );
        }
        return Ok(context.out.ask_secret("Password:")?.into());
    }
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        return Err(CliError::usage(
            "the password is read from standard input, which is a terminal",
        ));
    }
    let mut text = String::new();
    let mut limited = stdin.lock().take(64 << 10);
    limited
        .read_to_string(&mut text)
        .attempt(|| "read the password")?;
    Ok(text.trim_end_matches(['\r', '\n']).into())
}
