//! `wrenn control-plane`: one replica of the API server.

use std::collections::BTreeMap;

use clap::{ArgMatches, Args, Command, FromArgMatches};
use secrecy::ExposeSecret;
use wrenn_control_plane::config::{Config, Origin, SETTINGS, Sources};

use super::role;
use crate::{
    DONE, Outcome,
    error::{Attempt, CliError, Exit, chain},
    local::state::StateDir,
};

#[derive(Debug, Args)]
#[command(
    after_help = "Needs DATABASE_URL, REDIS_URL, WRENN_SECRET, WRENN_ENCRYPTION_KEY, WRENN_CA_CERT and WRENN_CA_KEY from the\n\
                        environment, from .env, or from the state of wrenn up; each may be given as NAME_FILE.\n\nExamples:\n  \
                        wrenn control-plane --listen 0.0.0.0:8080\n  wrenn config check\n\nSee also: wrenn config, wrenn migrate"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    flags: Flags,
    /// Refuse an outdated schema instead of migrating it
    #[arg(long)]
    no_migrate: bool,
}

/// Flags made from the table of settings: `--listen` is `WRENN_LISTEN`; secrets have none.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flags(BTreeMap<String, String>);

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = SETTINGS
            .iter()
            .filter(|setting| setting.flag.is_some())
            .filter_map(|setting| {
                let value: &String = matches.get_one(setting.name)?;
                Some((setting.name.to_owned(), value.clone()))
            });
        Ok(Self(given.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        SETTINGS
            .iter()
            .fold(command, |command, setting| match setting.flag {
                Some(flag) => {
                    let default = setting
                        .default
                        .map(|default| format!(" [default: {default}]"))
                        .unwrap_or_default();
                    let argument = clap::Arg::new(setting.name)
                        .long(flag)
                        .value_name("VALUE")
                        .help(format!("{} ({}){default}", setting.help, setting.name));
                    command.arg(argument)
                }
                None => command,
            })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// Flags, environment, `.env`, and the state file of `wrenn up`.
pub(crate) fn sources(flags: &Flags) -> Result<Sources, CliError> {
    let mut sources = Sources::of_process().attempt(|| "read .env")?;
    sources.add(Origin::Flag, flags.0.clone());
    let state_file = StateDir::locate(None)?.at("control-plane.env");
    match sources.add_file(Origin::StateFile, &state_file) {
        Ok(_) => {}
        // The instance of another user is none of ours.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {}
        Err(error) => {
            return Err(CliError::local(format_args!(
                "read {}: {error}",
                state_file.display()
            )));
        }
    }
    Ok(sources)
}

/// The settings of the control plane; all faults together.
pub(crate) fn load(flags: &Flags) -> Result<Config, CliError> {
    Config::load(&sources(flags)?).map_err(|faults| {
        CliError::usage(format_args!(
            "the settings cannot be used:\n  {}",
            faults.to_string().replace('\n', "\n  ")
        ))
        .hint("see", "wrenn config check")
        .hint("or", "wrenn up")
    })
}

/// Serves until SIGTERM or Ctrl-C, then drains.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let config = load(&arguments.flags)?;
    role::serve(async |shutdown| {
        bring_schema(config.database_url.expose_secret(), arguments.no_migrate).await?;
        let serving = wrenn_control_plane::serve(config, shutdown);
        serving.await.map_err(|error| {
            CliError::local(format_args!("the control plane ended: {}", chain(&error)))
        })
    })?;
    Ok(DONE)
}

/// Migrates, or with `only_check` fails when something is missing.
async fn bring_schema(url: &str, only_check: bool) -> Result<(), CliError> {
    let failed = |error: wrenn_database::Error| {
        CliError::new(
            Exit::Unavailable,
            "no_database",
            format_args!("bring the schema to this version: {}", chain(&error)),
        )
        .hint("see", "wrenn migrate status")
    };
    if !only_check {
        return wrenn_control_plane::migrate(url).await.map_err(failed);
    }
    let pool = wrenn_database::connect_lazy(url, 1).map_err(failed)?;
    match wrenn_database::migrations_pending(&pool)
        .await
        .map_err(failed)?
    {
        0 => Ok(()),
        pending => Err(
            CliError::local(format_args!("the database lacks {pending} migrations"))
                .hint("apply", "wrenn migrate up"),
        ),
    }
}
