//! What it costs that people share a control plane: the proof of a key on each request, the audit log page by page,
//! and passwords beside other work.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use reqwest::Method;
use serde_json::json;
use wrenn_database::{AuditFilter, PgPool, audit_list};
use wrenn_ids::{AuditId, TeamId};

use super::{
    Row,
    load::{Load, load},
    percentile,
};
use crate::client::Client;

/// How often one sandbox is read.
const READS: usize = 20_000;
/// Rows of the audit log, and of one page of it.
const LOG: i64 = 100_000;
const PAGE: i64 = 200;
/// How often each is read: what the machine does beside it is not the page's, and the least counts.
const TRIES: usize = 3;
/// Logins at once, each of an account of its own.
const LOGINS: usize = 50;
const PASSWORD: &str = "correct horse battery";

/// One sandbox, read with a key.
///
/// # Errors
/// When an answer is none.
pub async fn reads(client: &Client, sandbox: &str) -> Result<Vec<Row>> {
    let read = load(READS, async || read(client, sandbox).await).await?;
    let Load {
        per_second, p99, ..
    } = read;
    Ok(vec![
        Row::new("read a sandbox by key: rate", "1/s", per_second).target("≥ 3,000/s"),
        Row::new("read a sandbox by key: p99", "ms", p99).target("≤ 20 ms"),
    ])
}

/// The whole log of a team by cursor: the slowest page.
///
/// # Errors
/// When a statement fails.
pub async fn audit(db: &PgPool, team: TeamId) -> Result<Row> {
    let rows = "INSERT INTO audit_logs (id, team_id, actor_type, resource_type, action, scope, status, created_at)
         SELECT gen_random_uuid(), $1, 'user', 'sandbox', 'create', 'team', 'success',
                date_trunc('milliseconds', now() - n * interval '7 ms')
         FROM generate_series(1, $2) n";
    sqlx::query(rows)
        .bind(team.as_uuid())
        .bind(LOG)
        .execute(db)
        .await
        .context("fill the audit log")?;
    sqlx::query("ANALYZE audit_logs").execute(db).await?;
    let mut filter = AuditFilter {
        team: Some(team),
        limit: PAGE,
        ..AuditFilter::default()
    };
    let (mut times, mut seen) = (Vec::new(), 0);
    loop {
        let mut page = Vec::new();
        let mut least = Duration::MAX;
        for _ in 0..TRIES {
            let begun = Instant::now();
            page = audit_list(db, &filter).await?;
            least = least.min(begun.elapsed());
        }
        times.push(least);
        seen += page.len() as i64;
        let Some(last) = page.last().filter(|_| page.len() as i64 == PAGE) else {
            break;
        };
        filter.before = Some(last.created_at);
        filter.before_id = Some(AuditId::from_uuid(last.id));
    }
    ensure!(seen >= LOG, "the log has {seen} rows by cursor");
    let slow = percentile(&times, 1.0);
    let what = "audit log of 100,000 rows by cursor: slowest page";
    Ok(Row::new(what, "ms", slow).target("≤ 5 ms"))
}

/// Reads beside logins, over reads alone.
///
/// # Errors
/// When an answer is none.
pub async fn logins(client: &Client, base_url: &str, sandbox: &str) -> Result<Vec<Row>> {
    let visitor = Client::new(base_url.to_owned(), None);
    let account = |number: usize| format!("bench-{number}@wrenn.test");
    for number in 0..LOGINS {
        let body = json!({ "email": account(number), "password": PASSWORD, "name": "Bench" });
        let made = visitor.post("/v1/auth/signup", body).await;
        ensure!(made.status == 201, "a sign-up was answered {made:?}");
    }
    let alone = percentile(
        &reads_until(client, sandbox, Until::Count(500)).await?,
        0.99,
    );
    let over = AtomicBool::new(false);
    let all = async {
        let login = async |number| {
            let body = json!({ "email": account(number), "password": PASSWORD });
            let begun = Instant::now();
            let answer = visitor.post("/v1/auth/login", body).await;
            ensure!(answer.status == 200, "a login was answered {answer:?}");
            anyhow::Ok(begun.elapsed())
        };
        let begun = Instant::now();
        let done = try_join_all((0..LOGINS).map(login))
            .await
            .map(|_| begun.elapsed());
        over.store(true, Ordering::Relaxed);
        done
    };
    let (took, reads) = tokio::join!(all, reads_until(client, sandbox, Until::Over(&over)));
    let beside = percentile(&reads?, 0.99);
    Ok(vec![
        Row::new(
            "logins, 50 at once: rate",
            "1/s",
            LOGINS as f64 / took?.as_secs_f64(),
        ),
        Row::new("read a sandbox beside 50 logins: p99", "ms", beside).over(alone),
    ])
}

enum Until<'a> {
    Count(usize),
    Over(&'a AtomicBool),
}

/// One read after the other.
async fn reads_until(client: &Client, sandbox: &str, until: Until<'_>) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    loop {
        let begun = Instant::now();
        read(client, sandbox).await?;
        times.push(begun.elapsed());
        let is_over = match until {
            Until::Count(count) => times.len() == count,
            Until::Over(over) => over.load(Ordering::Relaxed),
        };
        if is_over {
            return Ok(times);
        }
    }
}

async fn read(client: &Client, sandbox: &str) -> Result<()> {
    let path = format!("/v1/sandboxes/{sandbox}");
    let answer = client.request(Method::GET, &path).send().await?;
    let body = answer.error_for_status()?.bytes().await;
    body.map(drop).context("read an answer")
}
