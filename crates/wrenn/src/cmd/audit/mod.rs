//! `wrenn audit`: who did what in the team, newest first, or as it happens.

mod follow;

use clap::Args;
use wrenn_api::{
    Time,
    audit::{AuditAction, AuditItem, AuditPage, AuditResource, AuditStatus},
};

use crate::{
    DONE, Outcome, client::Client, context::Context, error::CliError, interruptible, out::Table,
    units,
};

/// Rows of a page of the server.
const PAGE: usize = 200;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wrenn audit\n  wrenn audit --type sandbox --action create,destroy --limit 20\n  wrenn audit --status error --since 2h --all\n  wrenn audit --since 2026-01-31T00:00:00Z --all --json\n  wrenn audit -f --type sandbox\n\nSee also: wrenn team members, wrenn key ls"
)]
pub(crate) struct Arguments {
    /// Only about this kind of thing; several separated by commas
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',')]
    kinds: Vec<AuditResource>,
    /// Only this was done; several separated by commas
    #[arg(long, value_name = "ACTION", value_delimiter = ',')]
    action: Vec<AuditAction>,
    /// Only with this outcome; several separated by commas
    #[arg(long, value_name = "STATUS", value_delimiter = ',')]
    status: Vec<AuditStatus>,
    /// Only by this user or key, by id
    #[arg(long, value_name = "ID")]
    actor: Option<String>,
    /// Only about this thing, by id
    #[arg(long, value_name = "ID")]
    resource: Option<String>,
    /// Not before this time: 10m, 2h, 3d ago, or RFC 3339
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Time>,
    /// At most so many rows
    #[arg(long, value_name = "N", default_value_t = 50, conflicts_with = "all")]
    limit: usize,
    /// All rows
    #[arg(long)]
    all: bool,
    /// Go on with what happens, oldest first, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// Leave the headings out
    #[arg(long)]
    no_headers: bool,
}

/// All that the server is asked for but the time.
fn query(arguments: &Arguments) -> String {
    let mut query = String::new();
    let mut add = |name: &str, value: &str| {
        let pair = form_urlencoded::Serializer::new(String::new())
            .append_pair(name, value)
            .finish();
        query.push('&');
        query.push_str(&pair);
    };
    arguments
        .kinds
        .iter()
        .for_each(|kind| add("resource_type", kind.as_str()));
    arguments
        .action
        .iter()
        .for_each(|action| add("action", action.as_str()));
    arguments
        .status
        .iter()
        .for_each(|status| add("status", status.as_str()));
    if let Some(actor) = &arguments.actor {
        add("actor", actor);
    }
    if let Some(resource) = &arguments.resource {
        add("resource_id", resource);
    }
    query
}

fn since(text: &str) -> Result<Time, String> {
    let moment = units::moment(text)?;
    Time::from_unix_ms(moment.as_millisecond()).ok_or_else(|| "is out of range".to_owned())
}

/// Runs it.
pub(crate) fn run(context: &Context, arguments: &Arguments) -> Outcome {
    interruptible(async {
        let client = context.login_client()?;
        let most = if arguments.all {
            usize::MAX
        } else {
            arguments.limit
        };
        if arguments.follow {
            return follow::run(context, &client, arguments, most).await;
        }
        let asked = format!("{}{}", query(arguments), not_before(arguments.since));
        let rows = rows(&client, &asked, most).await?;
        show(context, arguments, &rows)
    })
}

fn not_before(since: Option<Time>) -> String {
    since.map_or_else(String::new, |since| format!("&since={since}"))
}

/// The newest `most` rows that `asked` selects, newest first, page by page.
async fn rows(client: &Client, asked: &str, most: usize) -> Result<Vec<AuditItem>, CliError> {
    let (mut rows, mut place) = (Vec::new(), String::new());
    while rows.len() < most {
        let limit = PAGE.min(most - rows.len());
        let path = format!("/v1/audit-logs?limit={limit}{asked}{place}");
        let page: AuditPage = client.get(&path).await?;
        rows.extend(page.items);
        let (Some(before), Some(id)) = (page.next_before, page.next_before_id) else {
            break;
        };
        place = format!("&before={before}&before_id={id}");
    }
    Ok(rows)
}

/// Who acted, as people call them.
fn who(row: &AuditItem) -> String {
    let name = row.actor_name.as_ref().or(row.actor_id.as_ref());
    name.cloned().unwrap_or_else(|| row.actor_type.to_string())
}

fn show(context: &Context, arguments: &Arguments, rows: &[AuditItem]) -> Outcome {
    if context.out.is_json() {
        context.out.json(&rows)?;
        return Ok(DONE);
    }
    if rows.is_empty() {
        context.out.note("No such rows.");
        return Ok(DONE);
    }
    let mut table = Table::new(&["AGE", "STATUS", "WHO", "DID", "WHAT"]);
    if arguments.no_headers {
        table.without_headings();
    }
    for row in rows {
        table.row(vec![
            units::age_of(&row.created_at.to_string()),
            row.status.to_string(),
            who(row),
            row.action.to_string(),
            format!(
                "{} {}",
                row.resource_type,
                row.resource_id.as_deref().unwrap_or("-")
            ),
        ]);
    }
    context.out.table(&table)?;
    Ok(DONE)
}
