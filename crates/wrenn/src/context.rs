//! What every command is given: the output, the global flags, and on demand a client of the API.

use std::time::Duration;

use clap::Args;

use crate::{
    client::Client,
    config,
    error::{CliError, Exit},
    out::{Out, OutFlags},
    units,
};

/// Flags that every command takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Use this context of the configuration file
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        help_heading = "Global options",
        env = "WRENN_CONTEXT",
        hide_env_values = true
    )]
    pub(crate) context: Option<String>,
    /// Talk to the server at this address
    #[arg(
        long,
        global = true,
        value_name = "URL",
        help_heading = "Global options",
        env = "WRENN_BASE_URL",
        hide_env_values = true
    )]
    pub(crate) base_url: Option<String>,
    /// Act for this team of yours: id, slug or name [default: the context's]
    #[arg(
        long,
        global = true,
        value_name = "TEAM",
        help_heading = "Global options",
        env = "WRENN_TEAM",
        hide_env_values = true
    )]
    pub(crate) team: Option<String>,
    /// Print JSON: the API's object or array, unchanged
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) json: bool,
    /// Print no notes, hints or progress; create commands print the id alone
    #[arg(short, long, global = true, help_heading = "Global options")]
    pub(crate) quiet: bool,
    /// Show requests and times (-v), and bodies with secrets masked (-vv)
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Global options")]
    pub(crate) verbose: u8,
    /// Never use colour
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) no_color: bool,
    /// Give up an API call after this long [default: 60s]
    #[arg(long, global = true, value_name = "DURATION", value_parser = units::duration, help_heading = "Global options")]
    pub(crate) timeout: Option<Duration>,
    /// Answer yes to every question
    #[arg(short, long, global = true, help_heading = "Global options")]
    pub(crate) yes: bool,
}

/// What a command works with.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) out: Out,
    pub(crate) global: Global,
}

impl Context {
    pub(crate) fn new(mut global: Global) -> Self {
        // A variable that is set to nothing says nothing.
        for text in [&mut global.context, &mut global.base_url, &mut global.team] {
            *text = text.take().filter(|text| !text.is_empty());
        }
        let out = Out::new(OutFlags {
            json: global.json,
            quiet: global.quiet,
            verbose: global.verbose,
            no_color: global.no_color,
        });
        Self { out, global }
    }

    /// The server and the credentials that flags, environment and configuration name (cli.md §2.2).
    pub(crate) fn target(&self) -> Result<config::Target, CliError> {
        config::Target::choose(&self.global)
    }

    /// A client of that server.
    pub(crate) fn client(&self) -> Result<Client, CliError> {
        let client = self.client_of(self.target()?)?;
        match &self.global.team {
            Some(team) if !client.is_login() => Err(CliError::usage(format_args!(
                "an API key acts for its own team, whatever `{team}` is"
            ))
            .hint("leave out", "--team and WRENN_TEAM")
            .hint("or", "wrenn login, without WRENN_API_KEY")),
            _ => Ok(client),
        }
    }

    /// A client of that server that acts as a person in a team: keys have no such rights.
    pub(crate) fn login_client(&self) -> Result<Client, CliError> {
        let target = self.login_target()?;
        self.client_of(target)
    }

    /// As [`Self::login_client`], for what concerns the person and not the team that they act for.
    pub(crate) fn person_client(&self) -> Result<Client, CliError> {
        let target = self.login_target()?;
        self.client_of(config::Target {
            team: None,
            ..target
        })
    }

    fn login_target(&self) -> Result<config::Target, CliError> {
        let target = self.target()?;
        if target.login.is_none() {
            return Err(CliError::new(
                Exit::Credentials,
                "unauthorized",
                format_args!("you are not signed in at {}", target.base_url),
            )
            .hint("run", "wrenn login"));
        }
        Ok(config::Target {
            api_key: None,
            ..target
        })
    }

    /// Asks before what cannot be undone, unless `--yes` was said. `stakes` says what is at stake where nobody can be
    /// asked.
    pub(crate) fn confirm(&self, question: &str, stakes: &str) -> Result<(), CliError> {
        if self.global.yes {
            return Ok(());
        }
        if !self.out.may_ask() {
            return Err(CliError::usage(format_args!(
                "{stakes}, and there is no terminal to ask on"
            ))
            .hint("try", "the same with --yes"));
        }
        match self.out.ask(&format!("{question} [y/N]"))?.trim() {
            "y" | "Y" | "yes" => Ok(()),
            _ => Err(CliError::silent(Exit::Failure)),
        }
    }

    /// A client of this server.
    pub(crate) fn client_of(&self, target: config::Target) -> Result<Client, CliError> {
        Client::new(
            target,
            self.global.timeout.unwrap_or(Duration::from_secs(60)),
            self.out.clone(),
        )
    }
}
