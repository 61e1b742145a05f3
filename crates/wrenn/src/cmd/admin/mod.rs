//! `wrenn admin`: recovery and upkeep on the control plane's machine, through its database.

mod backup;
mod units;

use std::io::{IsTerminal, Read};

use clap::{Args, Subcommand};
use secrecy::{ExposeSecret, SecretString};
use wrenn_control_plane::{
    Config,
    operator::{self, Collect, OperatorError},
};
use wrenn_database::PgPool;
use wrenn_ids::HostId;

use super::{
    control_plane::{Flags, load},
    migrate::connect,
};
use crate::{
    DONE, Outcome,
    context::Context,
    error::{Attempt, CliError, Exit, chain},
    interruptible,
    local::standby::Standby,
    out::Table,
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
    /// Print a link with which an account gets another password
    ResetLink(ResetLink),
    /// Void the credentials of a host
    RevokeHost(RevokeHost),
    /// Seal stored values with the newest encryption key
    Reseal(Reseal),
    /// Remove what has served its time
    Gc(Gc),
    /// Write everything in the database into a file
    Backup(backup::Make),
    /// Replace everything in the database by a backup
    Restore(backup::Restore),
    /// Print or install units for systemd
    SystemdUnits(units::Arguments),
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
    #[arg(value_name = "TEAM")]
    wanted: String,
    /// It may not any more
    #[arg(long)]
    off: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "The link is good for 15 minutes and once; whoever has it has the account. The password until now stays good\n\
                  until the link is used.\n\nExamples:\n  wrenn admin reset-link ada@example.com\n  \
                  wrenn admin reset-link admin@localhost\n\nSee also: wrenn admin revoke-sessions"
)]
pub(crate) struct ResetLink {
    /// Address of the account
    email: String,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Its certificate and tokens are void at once, and so is a registration token that waits for it. What ran on it\n\
                  is missing until the host registers anew with a fresh token; its agent pauses what it has.\n\nExamples:\n  \
                  wrenn admin revoke-host host-0068w3z1tm0n9dpsx57yxxxxx\n  \
                  wrenn admin revoke-host host-0068w3z1tm0n9dpsx57yxxxxx --yes\n\nSee also: wrenn audit --type host"
)]
pub(crate) struct RevokeHost {
    /// Id of the host
    #[arg(value_name = "ID")]
    id: String,
}

#[derive(Debug, Args)]
#[command(
    after_help = "To change the key: put the new one before the old one in WRENN_ENCRYPTION_KEY (new:64 hex,old:64 hex), restart\n\
                  every control plane, reseal, and take the old one out. A second run does nothing.\n\nExit codes: 0 all \
                  sealed with the newest key, 9 some values did not open\n\nExamples:\n  wrenn admin reseal\n  \
                  WRENN_ENCRYPTION_KEY=b:…,a:… wrenn admin reseal --json\n\nSee also: wrenn config check"
)]
pub(crate) struct Reseal {}

#[derive(Debug, Args)]
#[command(
    after_help = "A running control plane does the same in time.\n\nExamples:\n  wrenn admin gc --dry-run\n  wrenn admin gc --json"
)]
pub(crate) struct Gc {
    /// Only count
    #[arg(long)]
    dry_run: bool,
}

/// Runs `command` on the database that the control plane's settings name.
pub(crate) fn run(context: &Context, command: Command) -> Outcome {
    if let Command::SystemdUnits(arguments) = &command {
        return units::run(context, arguments);
    }
    let config = load(&Flags::default())?;
    interruptible(async {
        // A platform that does not come up any more may be what is to be repaired.
        let standby = Standby::start(config.database_url.expose_secret()).await?;
        let done = act(context, &config, command).await;
        standby.stop().await;
        done
    })
}

async fn act(context: &Context, config: &Config, command: Command) -> Outcome {
    match &command {
        Command::Backup(arguments) => return backup::make(context, config, arguments).await,
        Command::Restore(arguments) => return backup::restore(context, config, arguments).await,
        _ => {}
    }
    let db = connect(config.database_url.expose_secret()).await?;
    match command {
        Command::ResetLink(arguments) => {
            let base = config.base_of_links();
            let link = operator::reset_link(&db, &config.redis_url, &base, &arguments.email).await;
            context.out.line(&link.map_err(failed)?)?;
            context
                .out
                .note("good for 15 minutes, once; hand it to nobody else");
        }
        Command::RevokeHost(arguments) => revoke_host(context, config, &db, &arguments.id).await?,
        Command::Reseal(_) => return reseal(context, config, &db).await,
        Command::Gc(arguments) => gc(context, &db, &arguments).await?,
        Command::Backup(_) | Command::Restore(_) | Command::SystemdUnits(_) => {}
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
            let team = operator::byoc_set(&db, &arguments.wanted, !arguments.off).await;
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
}

async fn revoke_host(
    context: &Context,
    config: &Config,
    db: &PgPool,
    id: &str,
) -> Result<(), CliError> {
    let host: HostId = id
        .parse()
        .map_err(|error| CliError::usage(format_args!("`{id}` {error}")))?;
    context.confirm(
        "Void its credentials? What runs on it stops until it registers anew.",
        "what runs on the host stops",
    )?;
    let missing = operator::host_revoke(db, &config.redis_url, host).await;
    let missing = missing.map_err(|error| match &error {
        OperatorError::Redis(_) | OperatorError::RedisSlow | OperatorError::Token(_) => {
            CliError::new(
                Exit::Unavailable,
                "no_redis",
                format_args!(
                    "the host's certificate and tokens are void; a registration token that may wait for it is not: {}",
                    chain(&error)
                ),
            )
            .hint("again", "the same, when Redis is back, or within an hour it expires")
        }
        _ => failed(error),
    })?;
    context.out.line(&host.to_string())?;
    context.out.note(&format!(
        "its credentials are void; {missing} sandboxes are missing"
    ));
    Ok(())
}

async fn reseal(context: &Context, config: &Config, db: &PgPool) -> Outcome {
    let done = operator::reseal(db, &config.sealing)
        .await
        .map_err(failed)?;
    if context.out.is_json() {
        context
            .out
            .json(&serde_json::json!({ "resealed": done.done, "refused": done.refused }))?;
    } else {
        context.out.line(&done.done.to_string())?;
        context.out.note("values were sealed anew");
    }
    if done.refused.is_empty() {
        return Ok(DONE);
    }
    for refused in done.refused.iter().take(20) {
        context.out.warning(refused);
    }
    Err(CliError::new(
        Exit::Unhealthy,
        "refused",
        format_args!(
            "{} values could not be opened and are as they were",
            done.refused.len()
        ),
    )
    .hint("add", "the key that sealed them to WRENN_ENCRYPTION_KEY"))
}

async fn gc(context: &Context, db: &PgPool, arguments: &Gc) -> Result<(), CliError> {
    let what = if arguments.dry_run {
        Collect::Look
    } else {
        Collect::Remove
    };
    let counts = operator::collect(db, what).await.map_err(failed)?;
    if context.out.is_json() {
        let rows: Vec<_> = counts
            .iter()
            .map(|(what, rows)| serde_json::json!({ "what": what, "rows": rows }))
            .collect();
        return context.out.json(&rows);
    }
    let mut table = Table::new(&["ROWS", "WHAT"]);
    for (what, rows) in counts {
        table.row(vec![rows.to_string(), what.to_owned()]);
    }
    context.out.table(&table)?;
    if arguments.dry_run {
        context.out.note("nothing was removed");
    }
    Ok(())
}

fn failed(error: OperatorError) -> CliError {
    match &error {
        OperatorError::Unknown(_) => CliError::new(Exit::NotFound, "not_found", &error),
        OperatorError::Redis(_) | OperatorError::RedisSlow | OperatorError::Token(_) => {
            CliError::new(Exit::Unavailable, "no_redis", chain(&error)).hint("see", "wrenn status")
        }
        OperatorError::Taken(_) | OperatorError::Last | OperatorError::NotActive { .. } => {
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
