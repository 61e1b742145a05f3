//! `wrenn login`, `wrenn logout`, `wrenn whoami`: who the commands act as.

mod browser;
mod device;

use std::io::{IsTerminal, Read};

use clap::Args;
use reqwest::Method;
use serde_json::json;
use wrenn_api::{
    AuthResponse,
    account::{Login as LoginRequest, Me},
};

use crate::{
    DONE, Outcome,
    client::{Client, login::Login},
    config::{ConfigFile, Target},
    context::Context,
    error::{Attempt, CliError, Exit},
    interruptible,
};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wrenn login\n  wrenn login --email ada@example.com --base-url https://wrenn.example.com\n  \
                        wrenn login --email ada@example.com --password-stdin < password\n  wrenn login --api-key-stdin < key\n\n\
                        See also: wrenn logout, wrenn whoami"
)]
pub(crate) struct Arguments {
    /// Show a code to enter in a browser on any machine, instead of opening one here
    #[arg(long, conflicts_with_all = ["email", "api_key_stdin"])]
    device: bool,
    /// Sign in with this address and a password
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    /// Read the password from standard input
    #[arg(long, requires = "email")]
    password_stdin: bool,
    /// Store an API key, read from standard input
    #[arg(long, conflicts_with = "email")]
    api_key_stdin: bool,
    /// What to call the context [default: the server's name]
    #[arg(long, value_name = "CONTEXT")]
    name: Option<String>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wrenn logout\n  wrenn logout --context work\n\nSee also: wrenn login"
)]
pub(crate) struct Logout {}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  wrenn whoami\n  wrenn whoami --json\n\nSee also: wrenn login")]
pub(crate) struct Whoami {}

/// Signs in and stores what that gave.
pub(crate) fn run(context: &Context, arguments: &Arguments) -> Outcome {
    interruptible(async {
        let target = match ConfigFile::load(&ConfigFile::path()?)?
            .context(context.global.context.as_deref().unwrap_or_default())
        {
            None if context.global.base_url.is_some() => Target {
                base_url: context.global.base_url.clone().unwrap_or_default(),
                ..Target::default()
            },
            _ => context.target()?,
        };
        let base_url = target.base_url.trim_end_matches('/').to_owned();
        let name = context_name(context, arguments, &target, &base_url);
        let bare = Target {
            context: name.clone(),
            base_url: base_url.clone(),
            ..Target::default()
        };
        let client = context.client_of(bare)?;
        if arguments.api_key_stdin {
            let key = read_stdin("the API key")?;
            return store_key(context, &name, &base_url, &key);
        }
        let answer = match &arguments.email {
            Some(email) => by_password(context, &client, email, arguments.password_stdin).await?,
            None if arguments.device => device::by_device(context, &client).await?,
            None => match browser::Opener::find() {
                Ok(opener) => browser::by_browser(context, &client, &opener).await?,
                Err(why) => {
                    context.out.note(&format!(
                        "{why}; a code does it, or: wrenn login --email ADDRESS"
                    ));
                    device::by_device(context, &client).await?
                }
            },
        };
        store_login(context, &name, &base_url, &answer)
    })
}

fn context_name(
    context: &Context,
    arguments: &Arguments,
    target: &Target,
    base_url: &str,
) -> String {
    let named = arguments.name.clone().or(context.global.context.clone());
    named.unwrap_or_else(|| match target.context.as_str() {
        "" => {
            let host = base_url
                .split_once("://")
                .map_or(base_url, |(_, rest)| rest);
            host.split('/').next().unwrap_or(host).to_owned()
        }
        known => known.to_owned(),
    })
}

async fn by_password(
    context: &Context,
    client: &Client,
    email: &str,
    from_stdin: bool,
) -> Result<AuthResponse, CliError> {
    let password = if from_stdin {
        read_stdin("the password")?
    } else if context.out.may_ask() {
        context.out.ask_secret("Password:")?
    } else {
        return Err(
            CliError::usage("there is no terminal to ask for the password on")
                .hint("try", "the same with --password-stdin"),
        );
    };
    let request = LoginRequest {
        email: email.to_owned(),
        password,
    };
    sign_in(client, "/v1/auth/login", &request).await
}

/// A request as nobody that asks for a session of a command line.
async fn sign_in(
    client: &Client,
    path: &str,
    body: &impl serde::Serialize,
) -> Result<AuthResponse, CliError> {
    let request = client
        .open_request(Method::POST, path)
        .header("x-wrenn-client", "cli")
        .json(body);
    client.answer(client.dispatch(request).await?).await
}

fn read_stdin(what: &str) -> Result<String, CliError> {
    let mut stdin = std::io::stdin().lock();
    if stdin.is_terminal() {
        return Err(CliError::usage(format_args!(
            "{what} is read from standard input, which is a terminal"
        )));
    }
    let mut text = String::new();
    stdin
        .by_ref()
        .take(64 << 10)
        .read_to_string(&mut text)
        .attempt(|| format!("read {what}"))?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(CliError::usage(format_args!(
            "{what} on standard input is empty"
        )));
    }
    Ok(text.to_owned())
}

fn store_key(context: &Context, name: &str, base_url: &str, key: &str) -> Outcome {
    let path = ConfigFile::path()?;
    let mut file = ConfigFile::load(&path)?;
    file.set_server(name, base_url);
    file.set(name, &[("api_key", key)]);
    file.choose(name);
    file.store(&path)?;
    context.out.note(&format!(
        "stored the key for {base_url} in {}",
        path.display()
    ));
    Ok(DONE)
}

fn store_login(context: &Context, name: &str, base_url: &str, answer: &AuthResponse) -> Outcome {
    let login = Login::of(answer).ok_or_else(|| {
        CliError::new(
            Exit::Failure,
            "bad_answer",
            "the server signed you in without a session",
        )
    })?;
    let path = ConfigFile::path()?;
    let mut file = ConfigFile::load(&path)?;
    file.set_server(name, base_url);
    file.forget_login(name);
    file.set(name, &[("email", &answer.email)]);
    if let Some(team) = answer.team_id {
        file.set(name, &[("team", &team.to_string())]);
    }
    file.set_login(name, &login);
    file.choose(name);
    file.store(&path)?;
    if context.out.is_json() {
        let team = answer.team_id;
        context.out.json(&json!({
            "user_id": answer.user_id, "email": answer.email, "name": answer.name, "team_id": team,
            "context": name, "base_url": base_url,
        }))?;
    } else {
        let team = answer
            .team_id
            .map_or_else(|| "none".to_owned(), |team| team.to_string());
        context
            .out
            .line(&format!("{} ({})", answer.name, answer.email))?;
        context.out.note(&format!(
            "signed in at {base_url}, team {team}; stored in {}",
            path.display()
        ));
    }
    Ok(DONE)
}

/// Ends the session at the server, then forgets it. A server that is away or has forgotten it too is no
/// reason to keep it.
pub(crate) fn logout(context: &Context, _: &Logout) -> Outcome {
    interruptible(async {
        let target = context.target()?;
        let Some(_) = &target.login else {
            context
                .out
                .note(&format!("not signed in at {}", target.base_url));
            return Ok(DONE);
        };
        let (name, base_url) = (target.context.clone(), target.base_url.clone());
        let client = context.person_client()?;
        let request = client.request(Method::POST, "/v1/auth/logout")?;
        if let Err(error) = client.send(request).await
            && error.exit != Exit::Credentials
        {
            context
                .out
                .warning(&format!("the server was not told: {}", error.message));
        }
        let path = ConfigFile::path()?;
        let mut file = ConfigFile::load(&path)?;
        file.forget_login(&name);
        file.store(&path)?;
        context.out.note(&format!("signed out of {base_url}"));
        Ok(DONE)
    })
}

/// Says who the commands act as.
pub(crate) fn whoami(context: &Context, _: &Whoami) -> Outcome {
    interruptible(async {
        let target = context.target()?;
        let (server, name) = (target.base_url.clone(), target.context.clone());
        if target.login.is_none()
            && let Some(key) = &target.api_key
        {
            // Whose the key is, only a login may ask.
            let shown = key.get(..10).unwrap_or("…").to_owned();
            if context.out.is_json() {
                context
                    .out
                    .json(&json!({ "key_prefix": shown, "base_url": server, "context": name }))?;
            } else {
                context.out.pairs(&[
                    ("api key", format!("{shown}…")),
                    ("server", server),
                    ("context", name),
                ])?;
            }
            return Ok(DONE);
        }
        let acting = target.login.as_ref().and_then(Login::team);
        let team = target.team.or(acting.map(|team| team.to_string()));
        let me: Me = context.person_client()?.get("/v1/me").await?;
        if context.out.is_json() {
            context.out.json(&me)?;
        } else {
            let mut pairs = vec![
                ("name", me.name),
                ("email", me.email),
                ("id", me.id.to_string()),
                ("team", team.unwrap_or_else(|| "none".to_owned())),
                ("server", server),
                ("context", name),
            ];
            if me.is_admin {
                pairs.push(("platform", "administrator".to_owned()));
            }
            context.out.pairs(&pairs)?;
        }
        Ok(DONE)
    })
}
