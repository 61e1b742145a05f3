//! `wrenn host`: the machines that sandboxes run on.

mod show;
mod unknown;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::json;
use wrenn_api::host::{AddHost, Host, HostAdded, HostDeletion, HostType, UpdateHost};
use wrenn_ids::HostId;

use crate::{
    DONE, Outcome,
    client::Client,
    context::Context,
    error::{CliError, Exit},
    interruptible,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Add a host, and print the token that its agent registers with
    #[command(visible_alias = "add")]
    Token(Token),
    /// List hosts
    Ls(Ls),
    /// Show one host
    Get(Get),
    /// Label a host, for templates that ask for it
    Tag(Tag),
    /// Let a host take no new sandboxes
    Drain(Drain),
    /// Delete hosts
    Rm(Rm),
    /// Destroy what hosts have and nobody knows, on the control plane's machine
    PurgeUnknown(PurgeUnknown),
}

#[derive(Debug, Args)]
#[command(
    after_help = "The token is good once, within an hour. Hosts of type regular run every team's sandboxes, and\n\
                  administrators of the platform add them. Those of type byoc run the sandboxes of the team that\n\
                  you act for, and its administrators add them.\n\n\
                  Examples:\n  wrenn host token\n  wrenn host add --type byoc --provider Hetzner --zone fsn1 --tag gpu\n  \
                  wrenn host token host-0068w3z1tm0n9dpsx57yxxxxx\n\nSee also: wrenn host-agent, wrenn host ls"
)]
pub(crate) struct Token {
    /// Another token for a host that waits for its agent; the one before is void
    #[arg(value_name = "ID", conflicts_with_all = ["kind", "provider", "zone", "tags"])]
    id: Option<String>,
    /// regular or byoc
    #[arg(long = "type", value_name = "TYPE", default_value = "regular")]
    kind: HostType,
    /// Where it was rented
    #[arg(long)]
    provider: Option<String>,
    /// Where it stands
    #[arg(long)]
    zone: Option<String>,
    /// Label it; several times for several
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wrenn host ls\n  wrenn host ls --wide\n  wrenn host ls --json\n\nSee also: wrenn host get"
)]
pub(crate) struct Ls {
    /// Also address, zone, labels and version
    #[arg(long)]
    wide: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wrenn host get host-0068w3z1tm0n9dpsx57yxxxxx\n  wrenn host get host-0068 --json\n\nSee also: wrenn host ls"
)]
pub(crate) struct Get {
    /// Id, or the beginning of one
    id: String,
}

#[derive(Debug, Args)]
#[command(
    after_help = "A template whose metadata has require_tags runs on hosts that have all of them.\n\nExamples:\n  \
                  wrenn host tag host-0068 gpu ssd\n  wrenn host tag host-0068 gpu --remove\n\nSee also: wrenn host get"
)]
pub(crate) struct Tag {
    /// Id, or the beginning of one
    id: String,
    /// Labels: lowercase letters, digits, `.`, `_` or `-`
    #[arg(value_name = "TAG", required = true)]
    tags: Vec<String>,
    /// Take them off
    #[arg(long)]
    remove: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "What runs on it goes on. What is paused on it wakes there alone, once it takes sandboxes again.\n\nExamples:\n  \
                  wrenn host drain host-0068\n  wrenn host drain host-0068 --pause\n  wrenn host drain host-0068 --undo\n\nSee also: wrenn host rm"
)]
pub(crate) struct Drain {
    /// Id, or the beginning of one
    id: String,
    /// Also pause what runs on it
    #[arg(long, conflicts_with = "undo")]
    pause: bool,
    /// Let it take sandboxes again
    #[arg(long)]
    undo: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "A host that has sandboxes is kept, and they are listed.\n\nExamples:\n  wrenn host rm host-0068w3z1tm0n9dpsx57yxxxxx\n  \
                  wrenn host rm host-0068 --force --yes\n\nSee also: wrenn host drain"
)]
pub(crate) struct Rm {
    /// Ids, or the beginnings of some
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
    /// Destroy its sandboxes first
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "A sandbox that a host has and the database does not know is stopped there and kept for a day:\n\
                  it may be younger than the backup that was restored. This ends that day. It works through the\n\
                  database that the control plane's settings name.\n\n\
                  Examples:\n  wrenn host purge-unknown\n  wrenn host purge-unknown --yes\n\nSee also: wrenn admin restore"
)]
pub(crate) struct PurgeUnknown {}

/// Runs `command`.
pub(crate) fn run(context: &Context, command: Command) -> Outcome {
    if let Command::PurgeUnknown(_) = command {
        return unknown::purge(context);
    }
    interruptible(async {
        let client = context.login_client()?;
        match command {
            Command::Token(arguments) => token(context, &client, arguments).await?,
            Command::Ls(arguments) => {
                let hosts: Vec<Host> = client.get("/v1/hosts").await?;
                show::list(context, &hosts, arguments.wide)?;
            }
            Command::Get(arguments) => {
                let id = find(&client, &arguments.id).await?;
                let host: Host = client.get(&path(id, "")).await?;
                show::one(context, &host)?;
            }
            Command::Tag(arguments) => tag(context, &client, &arguments).await?,
            Command::Drain(arguments) => drain(context, &client, &arguments).await?,
            Command::Rm(arguments) => return remove(context, &client, &arguments).await,
            Command::PurgeUnknown(_) => {}
        }
        Ok(DONE)
    })
}

fn path(id: HostId, rest: &str) -> String {
    format!("/v1/hosts/{id}{rest}")
}

fn no_such(text: impl std::fmt::Display) -> CliError {
    CliError::new(Exit::NotFound, "not_found", text).hint("see", "wrenn host ls")
}

/// The host that a full id means, or the unique beginning of one.
async fn find(client: &Client, reference: &str) -> Result<HostId, CliError> {
    if let Ok(id) = reference.parse() {
        return Ok(id);
    }
    let beginning = reference
        .strip_prefix(HostId::PREFIX)
        .is_some_and(|digits| digits.len() >= 4);
    if !beginning {
        return Err(CliError::usage(format_args!(
            "`{reference}` is no host: write an id, or at least 4 characters of one after `host-`"
        ))
        .hint("see", "wrenn host ls"));
    }
    let hosts: Vec<Host> = client.get("/v1/hosts").await?;
    let mut fits = hosts
        .iter()
        .filter(|host| host.id.to_string().starts_with(reference));
    match (fits.next(), fits.next()) {
        (Some(host), None) => Ok(host.id),
        (None, _) => Err(no_such(format_args!("no host begins with `{reference}`"))),
        (Some(one), Some(other)) => Err(CliError::new(
            Exit::NotFound,
            "ambiguous",
            format_args!(
                "`{reference}` fits several hosts, as {} and {}",
                one.id, other.id
            ),
        )
        .hint("see", "wrenn host ls")),
    }
}

async fn token(context: &Context, client: &Client, arguments: Token) -> Result<(), CliError> {
    let added: HostAdded = match &arguments.id {
        Some(id) => {
            let id = find(client, id).await?;
            client.post(&path(id, "/token"), &json!({})).await?
        }
        None => {
            let host = AddHost {
                r#type: arguments.kind,
                team_id: None,
                provider: arguments.provider,
                availability_zone: arguments.zone,
                tags: Some(arguments.tags),
            };
            client.post("/v1/hosts", &host).await?
        }
    };
    if context.out.is_json() {
        return context.out.json(&added);
    }
    context.out.line(&added.registration_token)?;
    context.out.note(&format!(
        "{}: the token is good once, within an hour; it is not shown again\n\n  next  WRENN_CP_URL={} WRENN_REGISTRATION_TOKEN={} \
         wrenn host-agent, as root on the host",
        added.host.id,
        client.base_url(),
        added.registration_token,
    ));
    Ok(())
}

async fn tag(context: &Context, client: &Client, arguments: &Tag) -> Result<(), CliError> {
    let id = find(client, &arguments.id).await?;
    for tag in &arguments.tags {
        if arguments.remove {
            // A text that is no label would name another path.
            wrenn_api::grammar::host_tag("tag", tag).map_err(CliError::usage)?;
            client.delete(&path(id, &format!("/tags/{tag}"))).await?;
        } else {
            let body = json!({ "tag": tag });
            client.tell(Method::POST, &path(id, "/tags"), &body).await?;
        }
    }
    let tags: Vec<String> = client.get(&path(id, "/tags")).await?;
    if context.out.is_json() {
        return context.out.json(&tags);
    }
    tags.iter().try_for_each(|tag| context.out.line(tag))
}

async fn drain(context: &Context, client: &Client, arguments: &Drain) -> Result<(), CliError> {
    let id = find(client, &arguments.id).await?;
    let change = UpdateHost {
        draining: Some(!arguments.undo),
        pause_sandboxes: arguments.pause.then_some(true),
        ..UpdateHost::default()
    };
    let request = client.request(Method::PATCH, &path(id, ""))?.json(&change);
    let response = client.send(request).await?;
    let host: Host = client.answer(response).await?;
    if context.out.is_json() {
        return context.out.json(&host);
    }
    context.out.line(&format!("{}  {}", host.id, host.status))?;
    if !arguments.undo {
        context.out.note(&format!(
            "it has {} sandboxes\n\n  next  wrenn host get {}",
            host.used.sandboxes, host.id
        ));
    }
    Ok(())
}

/// Deletes one host after the other; those that are gone already are said so.
async fn remove(context: &Context, client: &Client, arguments: &Rm) -> Outcome {
    for reference in &arguments.ids {
        let id = find(client, reference).await?;
        let target = path(id, "/delete-preview");
        let preview = match client.get::<HostDeletion>(&target).await {
            Ok(preview) => preview,
            Err(error) if error.exit == Exit::NotFound => {
                context.out.note(&format!("{id}: there is no such host"));
                continue;
            }
            Err(error) => return Err(error),
        };
        if !preview.sandbox_ids.is_empty() {
            if !arguments.force {
                return Err(kept(&preview));
            }
            let (question, stakes) = show::stakes(&preview);
            context.confirm(&question, &stakes)?;
        }
        let force = if arguments.force { "?force=true" } else { "" };
        client.delete(&path(id, force)).await?;
        context.out.line(&id.to_string())?;
    }
    Ok(DONE)
}

fn kept(preview: &HostDeletion) -> CliError {
    let ids: Vec<String> = preview
        .sandbox_ids
        .iter()
        .map(ToString::to_string)
        .collect();
    let id = preview.host.id;
    CliError::new(
        Exit::Conflict,
        "host_has_sandboxes",
        format_args!("{id} has {} sandboxes: {}", ids.len(), ids.join(" ")),
    )
    .hint("empty", format_args!("wrenn host drain {id} --pause"))
    .hint("destroy", format_args!("wrenn host rm {id} --force"))
}
