//! How the control plane's questions to its database grow with its hosts: at 10, 100 and 1,000 of them, with 100
//! sandboxes each.
//!
//! There are no agents behind the hosts, and no replica that would look for them: the statements are those that a
//! replica makes, called as it calls them.

use std::{collections::BTreeMap, time::Instant};

use anyhow::{Context as _, Result, ensure};
use wrenn_database::{
    Candidates, ListFilter, PgPool, State, host_candidates, host_heartbeat, host_list,
    sandbox_list, sandboxes_to_judge,
};
use wrenn_ids::{HostId, SandboxId, TeamId, TemplateId};

use super::{Row, percentile};
use crate::control_plane::World;

/// Sizes of the platform.
const HOSTS: [i64; 3] = [10, 100, 1000];
/// Sandboxes of each host.
const EACH: i64 = 100;
/// How often a question is asked.
const TIMES: usize = 400;
/// Rows of a page.
const PAGE: i64 = 50;

/// All sizes, one after the other.
///
/// # Errors
/// When a statement fails, or there is no server.
pub async fn rows() -> Result<Vec<Row>> {
    let world = World::new().await?;
    let mut rows = Vec::new();
    let mut there = 0;
    for hosts in HOSTS {
        fill(&world.db, hosts - there, world.team).await?;
        there = hosts;
        rows.extend(measure(&world.db, world.team, hosts).await?);
    }
    Ok(rows)
}

/// More hosts, each with its sandboxes: most run, some rest, some ended.
async fn fill(db: &PgPool, hosts: i64, team: TeamId) -> Result<()> {
    let statements = [
        "INSERT INTO hosts (id, type, status, address, arch, cpu_cores, memory_mb, disk_gb, metadata,
             cert_fingerprint, last_heartbeat_at, last_sync_at)
         SELECT gen_random_uuid(), 'regular', 'online', '127.0.0.1:1', 'x86_64', 64, 262144, 4096,
             '{\"disk_free_mb\": 4000000}', sha256(n::text::bytea), now(), now() + interval '1 hour'
         FROM generate_series(1, $1) n",
        "INSERT INTO template_copies (template_id, host_id, state)
         SELECT t.id, h.id, 'ready' FROM templates t, hosts h ON CONFLICT DO NOTHING",
        "INSERT INTO sandboxes (id, team_id, host_id, template_id, template_name, template_team_id,
             status, vcpus, memory_mb, disk_size_mb, created_by_type, created_by, created_at,
             last_updated, status_changed_at)
         SELECT gen_random_uuid(), $1, h.id, t.id, t.name, t.team_id,
             (ARRAY['running', 'running', 'running', 'paused', 'stopped'])[(1 + n % 5)::int],
             1 + (n % 2)::int, 512, 5120, 'system', h.id, now() - n * interval '1 s', now(), now()
         FROM hosts h, templates t, generate_series(1, $2) n
         WHERE NOT EXISTS (SELECT 1 FROM sandboxes s WHERE s.host_id = h.id)",
        "ANALYZE hosts, template_copies, sandboxes",
    ];
    sqlx::query(statements[0]).bind(hosts).execute(db).await?;
    sqlx::query(statements[1]).execute(db).await?;
    sqlx::query(statements[2])
        .bind(team.as_uuid())
        .bind(EACH)
        .execute(db)
        .await
        .context("fill the hosts")?;
    sqlx::query(statements[3]).execute(db).await?;
    // An index is read alone only where the table is known to be visible.
    sqlx::query("VACUUM sandboxes").execute(db).await?;
    Ok(())
}

async fn measure(db: &PgPool, team: TeamId, hosts: i64) -> Result<Vec<Row>> {
    let one: uuid::Uuid = sqlx::query_scalar("SELECT id FROM hosts LIMIT 1")
        .fetch_one(db)
        .await?;
    let one = HostId::from_uuid(one);
    let named: Vec<uuid::Uuid> = sqlx::query_scalar("SELECT id FROM sandboxes WHERE host_id = $1")
        .bind(one.as_uuid())
        .fetch_all(db)
        .await?;
    let named: Vec<SandboxId> = named.into_iter().map(SandboxId::from_uuid).collect();
    let filter = ListFilter {
        states: vec![State::Running, State::Paused],
        template: None,
        metadata: BTreeMap::new(),
        limit: PAGE,
        after: None,
    };
    let decision = time(TIMES, async || {
        let (template, team) = (TemplateId::ZERO, TeamId::new());
        let found = host_candidates(db, template, team, Candidates::Sample).await?;
        ensure!(!found.is_empty(), "no host takes a sandbox");
        Ok(())
    });
    let decision = decision.await?;
    let page = time(TIMES, async || {
        let found = sandbox_list(db, team, &filter).await?;
        ensure!(found.len() as i64 == PAGE, "the page is not whole");
        Ok(())
    });
    let page = page.await?;
    let all = time(TIMES / 10, async || {
        host_list(db, None).await?;
        Ok(())
    });
    let all = all.await?;
    let judged = time(TIMES, async || {
        sandboxes_to_judge(db, one, &named).await?;
        Ok(())
    });
    let judged = judged.await?;
    let beat = time(TIMES, async || {
        host_heartbeat(db, one, None, None).await?;
        Ok(())
    });
    let beat = beat.await?;
    let row = |what: &str, p50: f64| Row::new(format!("{hosts} hosts: {what}: p50"), "ms", p50);
    let largest = HOSTS[HOSTS.len() - 1] == hosts;
    let with = |row: Row, target| if largest { row.target(target) } else { row };
    Ok(vec![
        with(row("hosts for a sandbox", decision), "≤ 5 ms"),
        with(row("page of 50 sandboxes of a team", page), "≤ 10 ms"),
        row("list of all hosts", all),
        // Each host reports every 5 s.
        row("rows of one host's report", judged),
        row("heartbeat", beat),
    ])
}

/// Milliseconds of a call in the middle, one after the other.
async fn time(count: usize, call: impl AsyncFn() -> Result<()>) -> Result<f64> {
    call().await?;
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let begun = Instant::now();
        call().await?;
        times.push(begun.elapsed());
    }
    Ok(percentile(&times, 0.5))
}
