//! The log as it grows.
//!
//! A row is begun, and completed when its outcome is known; it is shown once, with its outcome. It becomes visible
//! when its transaction commits, which may be after younger rows did, so each look goes back over a stretch of time
//! that was looked at before.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use serde::Serialize;
use wrenn_api::{Time, audit::AuditItem};
use wrenn_ids::AuditId;

use super::{Arguments, not_before, query, rows, who};
use crate::{
    Outcome,
    client::Client,
    context::Context,
    error::{CliError, Exit},
    out::Table,
};

/// Between two looks.
const PERIOD: Duration = Duration::from_secs(1);
/// After a server that could not be asked.
const AWAY: Duration = Duration::from_secs(5);
/// How long a row is waited for that is not completed: exec streams and uploads may take long.
const PATIENCE: Duration = Duration::from_secs(30);
/// How far each look goes back behind the newest row, in milliseconds.
const OVERLAP_MS: i64 = 15_000;
/// Rows of one look at most.
const AT_ONCE: usize = 10_000;

/// One line of `--json`.
#[derive(Serialize)]
struct Line<'a> {
    r#type: &'static str,
    #[serde(flatten)]
    row: &'a AuditItem,
}

/// Shows the newest `most` rows, then what follows, until it is interrupted.
pub(super) async fn run(
    context: &Context,
    client: &Client,
    arguments: &Arguments,
    most: usize,
) -> Outcome {
    let asked = query(arguments);
    let mut window = Window::default();
    let first = format!("{asked}{}", not_before(arguments.since));
    let mut found = rows(client, &first, most).await?;
    match found.last() {
        // Older ones are left out on purpose.
        Some(oldest) if found.len() == most => window.from = Some(oldest.created_at),
        Some(_) => {}
        // From what is there now on, also where the filter lets nothing of it pass.
        None => {
            if let Some(newest) = rows(client, "", 1).await?.first() {
                window.from = Some(newest.created_at);
                window.shown.insert(newest.id, newest.created_at);
            }
        }
    }
    let mut away = false;
    loop {
        found.reverse();
        for row in window.fresh(found, Instant::now()) {
            show(context, &row)?;
        }
        tokio::time::sleep(if away { AWAY } else { PERIOD }).await;
        let from = window.since(arguments.since);
        let next = rows(client, &format!("{asked}{}", not_before(from)), AT_ONCE).await;
        found = match next {
            Ok(next) => {
                away = false;
                next
            }
            Err(error) if may_pass(&error) => {
                if !std::mem::replace(&mut away, true) {
                    context
                        .out
                        .warning(&format!("asked again until it works: {}", error.message));
                }
                Vec::new()
            }
            Err(error) => return Err(error),
        };
    }
}

fn may_pass(error: &CliError) -> bool {
    matches!(error.exit, Exit::Unavailable | Exit::Deadline) || error.code == "rate_limited"
}

fn show(context: &Context, row: &AuditItem) -> Result<(), CliError> {
    if context.out.is_json() {
        return context.out.json_line(&Line {
            r#type: "audit",
            row,
        });
    }
    let mut line = Table::new(&["TIME", "STATUS", "WHO", "DID", "WHAT"]);
    line.without_headings();
    let what = row.resource_id.as_deref().unwrap_or("-");
    line.row(vec![
        row.created_at.to_string(),
        format!("{:7}", row.status.to_string()),
        format!("{:20}", who(row)),
        format!("{:12}", row.action.to_string()),
        format!("{} {what}", row.resource_type),
    ]);
    context.out.table(&line)
}

/// What was shown of the stretch that is looked at again.
#[derive(Debug, Default)]
struct Window {
    /// Rows before this are over.
    from: Option<Time>,
    newest: Option<Time>,
    shown: BTreeMap<AuditId, Time>,
    /// Begun and not completed, with when they were first seen.
    open: HashMap<AuditId, (Time, Instant)>,
}

impl Window {
    /// Those of `rows`, oldest first, that are to be shown now.
    fn fresh(&mut self, rows: Vec<AuditItem>, now: Instant) -> Vec<AuditItem> {
        let mut fresh = Vec::new();
        for row in rows {
            self.newest = self.newest.max(Some(row.created_at));
            if self.shown.contains_key(&row.id) {
                continue;
            }
            let begun = row
                .metadata
                .get("phase")
                .is_some_and(|phase| phase == "started");
            let first_seen = self.open.get(&row.id).map_or(now, |(_, seen)| *seen);
            if begun && now.duration_since(first_seen) < PATIENCE {
                self.open.insert(row.id, (row.created_at, first_seen));
                continue;
            }
            self.open.remove(&row.id);
            self.shown.insert(row.id, row.created_at);
            fresh.push(row);
        }
        // One that left what is asked for, by its outcome, is not waited for.
        self.open
            .retain(|_, (_, seen)| now.duration_since(*seen) < PATIENCE * 2);
        if let Some(from) = self.since(None) {
            self.shown.retain(|_, created| *created >= from);
        }
        fresh
    }

    /// Where the next look begins; `asked` is the beginning that the person named.
    fn since(&self, asked: Option<Time>) -> Option<Time> {
        let behind = self.newest.and_then(|newest| {
            let oldest_open = self
                .open
                .values()
                .map(|(created, _)| created.unix_ms())
                .min();
            let behind = newest.unix_ms() - OVERLAP_MS;
            Time::from_unix_ms(oldest_open.map_or(behind, |open| open.min(behind)))
        });
        behind.max(self.from).max(asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: AuditId, at_ms: i64, phase: &str) -> AuditItem {
        serde_json::from_value(serde_json::json!({
            "id": id, "actor_type": "user", "resource_type": "team", "action": "rename", "scope": "team",
            "status": "info", "metadata": { "phase": phase },
            "created_at": Time::from_unix_ms(at_ms).expect("a time"),
        }))
        .expect("a row")
    }

    fn ids(rows: &[AuditItem]) -> Vec<AuditId> {
        rows.iter().map(|row| row.id).collect()
    }

    #[test]
    fn a_row_is_shown_once_and_with_its_outcome() {
        let (one, two) = (AuditId::new(), AuditId::new());
        let (mut window, now) = (Window::default(), Instant::now());
        let first = vec![row(one, 50_000, "started"), row(two, 51_000, "completed")];
        assert_eq!(ids(&window.fresh(first, now)), [two]);
        let again = vec![row(one, 50_000, "completed"), row(two, 51_000, "completed")];
        assert_eq!(ids(&window.fresh(again.clone(), now)), [one]);
        assert!(window.fresh(again, now).is_empty());
    }

    #[test]
    fn a_row_that_nobody_completes_is_shown_as_it_is() {
        let one = AuditId::new();
        let (mut window, now) = (Window::default(), Instant::now());
        let begun = || vec![row(one, 50_000, "started")];
        assert!(window.fresh(begun(), now).is_empty());
        assert!(window.fresh(begun(), now + PATIENCE / 2).is_empty());
        assert_eq!(ids(&window.fresh(begun(), now + PATIENCE)), [one]);
    }

    #[test]
    fn each_look_goes_back_behind_the_newest_and_to_what_is_open() {
        let (mut window, now) = (Window::default(), Instant::now());
        let time = |ms| Time::from_unix_ms(ms);
        assert_eq!(window.since(None), None);
        window.fresh(vec![row(AuditId::new(), 100_000, "completed")], now);
        assert_eq!(window.since(None), time(100_000 - OVERLAP_MS));
        assert_eq!(window.since(time(95_000)), time(95_000));
        window.fresh(vec![row(AuditId::new(), 60_000, "started")], now);
        assert_eq!(window.since(None), time(60_000));
        window.fresh(Vec::new(), now + PATIENCE * 2);
        assert_eq!(window.since(None), time(100_000 - OVERLAP_MS));
    }
}
