//! `wrenn team`: teams, and who is in them.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::json;
use wrenn_api::{
    AuthResponse, Role,
    team::{Member, Team, TeamDetail},
};
use wrenn_ids::{TeamId, UserId};

use crate::{
    DONE, Outcome,
    client::{Client, login::Login},
    config::ConfigFile,
    context::Context,
    error::{CliError, Exit},
    interruptible,
    out::Table,
    units,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List your teams
    Ls(Ls),
    /// Make a team that you own
    Create(Create),
    /// Act for another team from now on
    Use(Use),
    /// Rename a team
    Rename(Rename),
    /// Hand a team over to one of its members
    Transfer(Person),
    /// Delete a team, with all that it has
    Rm(Rm),
    /// List who is in a team
    Members(Members),
    /// Take somebody into a team
    Add(Person),
    /// Change what a member may do
    Role(ChangeRole),
    /// Remove a member
    Remove(Remove),
    /// Leave a team
    Leave(Leave),
}

/// Which team a command is about.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Id, slug or name of the team [default: the one that you act for]
    #[arg(long, value_name = "TEAM")]
    team: Option<String>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wrenn team ls\n  wrenn team ls --json\n\nSee also: wrenn team use"
)]
pub(crate) struct Ls {}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wrenn team create Engines\n  wrenn team create \"Ada's looms\" --quiet\n\nSee also: wrenn team use, wrenn team add"
)]
pub(crate) struct Create {
    /// 1 to 128 letters, digits, spaces or _-@'
    name: String,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wrenn team use 0a1b2c-3d4e5f\n  wrenn team use Engines\n\nSee also: wrenn team ls, wrenn whoami"
)]
pub(crate) struct Use {
    /// Id, slug or name
    team: String,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wrenn team rename Looms\n  wrenn team rename Looms --team 0a1b2c-3d4e5f"
)]
pub(crate) struct Rename {
    /// 1 to 128 letters, digits, spaces or _-@'
    name: String,
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wrenn team rm Engines\n  wrenn team rm 0a1b2c-3d4e5f --yes\n\nSee also: wrenn team leave, wrenn team transfer"
)]
pub(crate) struct Rm {
    /// Id, slug or name
    team: String,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wrenn team members\n  wrenn team members --team Engines --json\n\nSee also: wrenn team add"
)]
pub(crate) struct Members {
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wrenn team add bob@example.com\n  wrenn team transfer bob@example.com --team Engines\n\nSee also: wrenn team members, wrenn team role"
)]
pub(crate) struct Person {
    /// Address of their account
    email: String,
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wrenn team role bob@example.com admin\n  wrenn team role bob@example.com member --team Engines\n\nSee also: wrenn team transfer"
)]
pub(crate) struct ChangeRole {
    /// Address of the member
    email: String,
    /// admin or member
    role: Role,
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wrenn team remove bob@example.com\n  wrenn team remove bob@example.com --keep-keys\n\nSee also: wrenn team members"
)]
pub(crate) struct Remove {
    /// Address of the member
    email: String,
    /// Let the API keys go on that they made
    #[arg(long)]
    keep_keys: bool,
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wrenn team leave\n  wrenn team leave --team Engines\n\nSee also: wrenn team transfer"
)]
pub(crate) struct Leave {
    #[command(flatten)]
    which: Which,
}

/// Runs `command`.
pub(crate) fn run(context: &Context, command: Command) -> Outcome {
    interruptible(async {
        let client = context.login_client()?;
        match command {
            Command::Ls(_) => list(context, &client).await,
            Command::Create(arguments) => create(context, &client, &arguments.name).await,
            Command::Use(arguments) => switch(context, &client, &arguments.team).await,
            Command::Rename(arguments) => {
                let team = find(context, &client, arguments.which.team.as_deref()).await?;
                let body = json!({ "name": arguments.name });
                client.tell(Method::PATCH, &path(team, ""), &body).await?;
                context.out.note(&format!("renamed to {}", arguments.name));
                Ok(DONE)
            }
            Command::Transfer(arguments) => {
                let team = find(context, &client, arguments.which.team.as_deref()).await?;
                let member = member(&client, team, &arguments.email).await?;
                confirm(
                    context,
                    &format!("Hand the team over to {}?", arguments.email),
                )?;
                let body = json!({ "user_id": member.to_string() });
                client
                    .tell(Method::POST, &path(team, "/transfer"), &body)
                    .await?;
                context
                    .out
                    .note(&format!("{} owns the team now", arguments.email));
                Ok(DONE)
            }
            Command::Rm(arguments) => {
                let team = find(context, &client, Some(&arguments.team)).await?;
                let question = format!(
                    "Delete {} with its sandboxes, snapshots and keys?",
                    arguments.team
                );
                confirm(context, &question)?;
                client.delete(&path(team, "")).await?;
                context.out.line(&team.to_string())?;
                Ok(DONE)
            }
            Command::Members(arguments) => members(context, &client, &arguments).await,
            Command::Add(arguments) => {
                let team = find(context, &client, arguments.which.team.as_deref()).await?;
                let body = json!({ "email": arguments.email });
                let added: Member = client.post(&path(team, "/members"), &body).await?;
                show(
                    context,
                    &added,
                    &format!("{} ({}) is a {}", added.name, added.email, added.role),
                )
            }
            Command::Role(arguments) => {
                let team = find(context, &client, arguments.which.team.as_deref()).await?;
                let member = member(&client, team, &arguments.email).await?;
                let body = json!({ "role": arguments.role });
                let target = path(team, &format!("/members/{member}"));
                client.tell(Method::PATCH, &target, &body).await?;
                context
                    .out
                    .note(&format!("{} is {} now", arguments.email, arguments.role));
                Ok(DONE)
            }
            Command::Remove(arguments) => {
                let team = find(context, &client, arguments.which.team.as_deref()).await?;
                let member = member(&client, team, &arguments.email).await?;
                let keep = if arguments.keep_keys {
                    "?keep_api_keys=true"
                } else {
                    ""
                };
                client
                    .delete(&path(team, &format!("/members/{member}{keep}")))
                    .await?;
                context
                    .out
                    .note(&format!("{} is not in the team any more", arguments.email));
                Ok(DONE)
            }
            Command::Leave(arguments) => {
                let team = find(context, &client, arguments.which.team.as_deref()).await?;
                client
                    .tell(Method::POST, &path(team, "/leave"), &json!({}))
                    .await?;
                context.out.note("you are not in the team any more");
                Ok(DONE)
            }
        }
    })
}

fn path(team: TeamId, rest: &str) -> String {
    format!("/v1/teams/{team}{rest}")
}

fn show(context: &Context, object: &impl serde::Serialize, text: &str) -> Outcome {
    if context.out.is_json() {
        context.out.json(object)?;
    } else {
        context.out.line(text)?;
    }
    Ok(DONE)
}

/// Asks, unless `--yes` was said; without a terminal that is needed.
fn confirm(context: &Context, question: &str) -> Result<(), CliError> {
    if context.global.yes {
        return Ok(());
    }
    if !context.out.may_ask() {
        return Err(
            CliError::usage("this cannot be undone and there is no terminal to ask on")
                .hint("try", "the same with --yes"),
        );
    }
    let answer = context.out.ask(&format!("{question} [y/N]"))?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(CliError::silent(Exit::Failure)),
    }
}

/// The team that the login acts for.
fn current(context: &Context) -> Result<Option<TeamId>, CliError> {
    #[derive(serde::Deserialize)]
    struct Claims {
        team_id: Option<TeamId>,
    }
    let login = context.target()?.login;
    let payload = login
        .as_ref()
        .and_then(|login| login.token.split('.').nth(1));
    let payload = URL_SAFE_NO_PAD.decode(payload.unwrap_or_default());
    let claims = serde_json::from_slice::<Claims>(&payload.unwrap_or_default());
    Ok(claims.ok().and_then(|claims| claims.team_id))
}

/// The team that is meant by an id, a slug or a name; without any the one that the login acts for.
async fn find(
    context: &Context,
    client: &Client,
    wanted: Option<&str>,
) -> Result<TeamId, CliError> {
    let Some(wanted) = wanted else {
        return current(context)?.ok_or_else(|| {
            CliError::usage("your login acts for no team").hint("choose", "wrenn team use TEAM")
        });
    };
    if let Ok(id) = wanted.parse() {
        return Ok(id);
    }
    let teams: Vec<Team> = client.get("/v1/teams").await?;
    let mut found = teams
        .iter()
        .filter(|team| team.slug == wanted || team.name == wanted);
    match (found.next(), found.next()) {
        (Some(team), None) => Ok(team.id),
        (None, _) => Err(CliError::new(
            Exit::NotFound,
            "not_found",
            format_args!("you are in no team `{wanted}`"),
        )
        .hint("see", "wrenn team ls")),
        _ => Err(CliError::new(
            Exit::NotFound,
            "ambiguous",
            format_args!("you are in several teams `{wanted}`; say which by its slug"),
        )
        .hint("see", "wrenn team ls")),
    }
}

/// The member with this address.
async fn member(client: &Client, team: TeamId, email: &str) -> Result<UserId, CliError> {
    let members: Vec<Member> = client.get(&path(team, "/members")).await?;
    let found = members
        .iter()
        .find(|member| member.email.eq_ignore_ascii_case(email));
    found.map(|member| member.user_id).ok_or_else(|| {
        CliError::new(
            Exit::NotFound,
            "not_found",
            format_args!("{email} is not in the team"),
        )
        .hint("see", "wrenn team members")
    })
}

async fn list(context: &Context, client: &Client) -> Outcome {
    let teams: Vec<Team> = client.get("/v1/teams").await?;
    if context.out.is_json() {
        context.out.json(&teams)?;
        return Ok(DONE);
    }
    if context.out.is_quiet() {
        for team in &teams {
            context.out.line(&team.id.to_string())?;
        }
        return Ok(DONE);
    }
    if teams.is_empty() {
        context
            .out
            .note("No teams.\n\n  next  wrenn team create NAME");
        return Ok(DONE);
    }
    let current = current(context)?;
    let mut table = Table::new(&["", "NAME", "SLUG", "ROLE", "AGE", "ID"]);
    for team in &teams {
        table.row(vec![
            if current == Some(team.id) { "*" } else { "" }.to_owned(),
            team.name.clone(),
            team.slug.clone(),
            team.role.map_or_else(String::new, |role| role.to_string()),
            units::age_of(&team.created_at.to_string()),
            team.id.to_string(),
        ]);
    }
    context.out.table(&table)?;
    Ok(DONE)
}

async fn create(context: &Context, client: &Client, name: &str) -> Outcome {
    let team: Team = client.post("/v1/teams", &json!({ "name": name })).await?;
    if context.out.is_quiet() {
        context.out.line(&team.id.to_string())?;
        return Ok(DONE);
    }
    show(context, &team, &format!("{}  {}", team.name, team.slug))?;
    context
        .out
        .note(&format!("\n  next  wrenn team use {}", team.slug));
    Ok(DONE)
}

async fn members(context: &Context, client: &Client, arguments: &Members) -> Outcome {
    let team = find(context, client, arguments.which.team.as_deref()).await?;
    let detail: TeamDetail = client.get(&path(team, "")).await?;
    if context.out.is_json() {
        context.out.json(&detail.members)?;
        return Ok(DONE);
    }
    let mut table = Table::new(&["EMAIL", "NAME", "ROLE", "SINCE"]);
    for member in &detail.members {
        table.row(vec![
            member.email.clone(),
            member.name.clone(),
            member.role.to_string(),
            units::age_of(&member.joined_at.to_string()),
        ]);
    }
    context.out.table(&table)?;
    Ok(DONE)
}

/// Another token for the same session, kept in the configuration.
async fn switch(context: &Context, client: &Client, wanted: &str) -> Outcome {
    let team = find(context, client, Some(wanted)).await?;
    let body = json!({ "team_id": team.to_string() });
    let answer: AuthResponse = client.post("/v1/auth/switch-team", &body).await?;
    let path = ConfigFile::path()?;
    let mut file = ConfigFile::load(&path)?;
    let known = file
        .context(client.context())
        .and_then(|target| target.login);
    if let Some(known) = known {
        let login = Login {
            token: answer.token,
            refresh_token: known.refresh_token,
        };
        file.set_login(client.context(), &login);
        file.store(&path)?;
    }
    context.out.note(&format!("you act for {wanted} now"));
    Ok(DONE)
}
