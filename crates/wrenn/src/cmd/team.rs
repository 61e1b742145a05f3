//! `wrenn team`: teams, and who is in them.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::json;
use wrenn_api::{
    Role,
    account::Me,
    team::{Member, Team, TeamDetail},
};
use wrenn_ids::{TeamId, UserId};

use crate::{
    DONE, Outcome,
    client::{
        Client,
        login::{self, Login},
        team::choose,
    },
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
    #[arg(value_name = "TEAM")]
    wanted: String,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wrenn team rename Looms\n  wrenn team rename Looms --team 0a1b2c-3d4e5f"
)]
pub(crate) struct Rename {
    /// 1 to 128 letters, digits, spaces or _-@'
    name: String,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wrenn team rm Engines\n  wrenn team rm 0a1b2c-3d4e5f --yes\n\nSee also: wrenn team leave, wrenn team transfer"
)]
pub(crate) struct Rm {
    /// Id, slug or name
    #[arg(value_name = "TEAM")]
    wanted: String,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wrenn team members\n  wrenn team members --team Engines --json\n\nSee also: wrenn team add"
)]
pub(crate) struct Members {}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wrenn team add bob@example.com\n  wrenn team transfer bob@example.com --team Engines\n\nSee also: wrenn team members, wrenn team role"
)]
pub(crate) struct Person {
    /// Address of their account
    email: String,
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
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wrenn team leave\n  wrenn team leave --team Engines\n\nSee also: wrenn team transfer"
)]
pub(crate) struct Leave {}

/// Runs `command`.
pub(crate) fn run(context: &Context, command: Command) -> Outcome {
    interruptible(async {
        let client = context.person_client()?;
        match command {
            Command::Ls(_) => list(context, &client).await,
            Command::Create(arguments) => create(context, &client, &arguments.name).await,
            Command::Use(arguments) => switch(context, &client, &arguments.wanted).await,
            Command::Rename(arguments) => {
                let team = find(context, &client, None).await?;
                let body = json!({ "name": arguments.name });
                client.tell(Method::PATCH, &path(team, ""), &body).await?;
                context.out.note(&format!("renamed to {}", arguments.name));
                Ok(DONE)
            }
            Command::Transfer(arguments) => {
                let team = find(context, &client, None).await?;
                let member = member(&client, team, &arguments.email).await?;
                let question = format!("Hand the team over to {}?", arguments.email);
                context.confirm(&question, "only its new owner can give it back")?;
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
                let team = find(context, &client, Some(&arguments.wanted)).await?;
                let question = format!(
                    "Delete {} with its sandboxes, snapshots and keys?",
                    arguments.wanted
                );
                context.confirm(&question, "this cannot be undone")?;
                client.delete(&path(team, "")).await?;
                context.out.line(&team.to_string())?;
                without(context, team)?;
                Ok(DONE)
            }
            Command::Members(_) => members(context, &client).await,
            Command::Add(arguments) => {
                let team = find(context, &client, None).await?;
                let body = json!({ "email": arguments.email });
                let added: Member = client.post(&path(team, "/members"), &body).await?;
                show(
                    context,
                    &added,
                    &format!("{} ({}) is a {}", added.name, added.email, added.role),
                )
            }
            Command::Role(arguments) => {
                let team = find(context, &client, None).await?;
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
                let team = find(context, &client, None).await?;
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
            Command::Leave(_) => {
                let team = find(context, &client, None).await?;
                client
                    .tell(Method::POST, &path(team, "/leave"), &json!({}))
                    .await?;
                context.out.note("you are not in the team any more");
                without(context, team)?;
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

/// The team that is meant by an id, a slug or a name; without any the one that the command acts for.
async fn find(
    context: &Context,
    client: &Client,
    wanted: Option<&str>,
) -> Result<TeamId, CliError> {
    let target = context.target()?;
    let acting = target.login.as_ref().and_then(Login::team);
    let Some(wanted) = wanted.or(target.team.as_deref()) else {
        return acting.ok_or_else(|| {
            CliError::usage("your login acts for no team").hint("choose", "wrenn team use TEAM")
        });
    };
    if let Ok(id) = wanted.parse() {
        return Ok(id);
    }
    choose(&client.get::<Vec<Team>>("/v1/teams").await?, wanted)
}

/// The context does not act for `team` any more; a login that does is told to choose.
fn without(context: &Context, team: TeamId) -> Result<(), CliError> {
    let target = context.target()?;
    let path = ConfigFile::path()?;
    let mut file = ConfigFile::load(&path)?;
    if file.text(&target.context, "team") == Some(&team.to_string()) {
        file.forget_team(&target.context);
        file.store(&path)?;
    }
    if target.login.and_then(|login| login.team()) == Some(team) {
        context.out.note("\n  next  wrenn team use TEAM");
    }
    Ok(())
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
    let current = find(context, client, None).await.ok();
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

async fn members(context: &Context, client: &Client) -> Outcome {
    let team = find(context, client, None).await?;
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
    let name = client.context();
    // Renewed, if need be, by the question that found the team; a full id asks nothing.
    let _: Me = client.get("/v1/me").await?;
    let path = ConfigFile::path()?;
    let known = ConfigFile::load(&path)?.context(name);
    let Some(known) = known.and_then(|target| target.login) else {
        return Err(CliError::local("the login vanished from the configuration"));
    };
    let token = login::switch(client, &known, team).await?.token;
    let mut file = ConfigFile::load(&path)?;
    let login = Login { token, ..known };
    file.set_login(name, &login);
    file.set(name, &[("team", &team.to_string())]);
    file.store(&path)?;
    context.out.note(&format!("you act for {wanted} now"));
    Ok(DONE)
}
