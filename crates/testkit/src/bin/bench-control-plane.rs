//! Speed of the control plane alone, on real PostgreSQL and Redis with a simulated agent.
//!
//! Server, agent and callers share this process and this machine's processors, as the floors do. The
//! database does not wait for its disk (`fsync=off`), as in all tests.

use std::sync::Mutex;

use anyhow::{Context as _, Result, ensure};
use reqwest::Method;
use serde_json::json;
use wrenn_testkit::{
    bench::{
        Row, emit,
        load::{Load, load},
        people, resident_mib, scale,
    },
    control_plane::{Options, World},
    simulated_agent::Capacity,
};

/// Sandboxes in the list.
const ROWS: usize = 1000;
/// How often what answers at once is called.
const LIGHT: usize = 20_000;
/// How often what takes milliseconds is called.
const HEAVY: usize = 800;

#[tokio::main]
async fn main() -> Result<()> {
    let world = World::new().await?;
    // A quota of 0 is none.
    sqlx::query(
        "UPDATE teams SET max_sandboxes = 0, max_vcpus = 0, max_memory_mb = 0, max_disk_mb = 0",
    )
    .execute(&world.db)
    .await
    .context("lift the team's quota")?;
    let settings = vec![("WRENN_RATE_LIMITS", "off".to_owned())];
    let replica = world.replica(Options {
        settings,
        ..Options::default()
    })?;
    let capacity = Capacity {
        cpu_cores: 4096,
        memory_mib: 1 << 30,
        disk_mib: 1 << 40,
    };
    let agent = world.agent(&replica, capacity).await?;
    let client = world.client(&replica);

    let created = Mutex::new(Vec::new());
    let create = async || {
        let answer = client.post("/v1/sandboxes", json!({})).await;
        ensure!(answer.status == 201, "a create was answered {answer:?}");
        created
            .lock()
            .expect("no caller panics")
            .push(answer.sandbox().id);
        Ok(())
    };
    let get = async |path: &str| {
        let answer = client
            .request(Method::GET, path)
            .send()
            .await?
            .error_for_status()?;
        answer.bytes().await.context("read an answer")
    };
    while created.lock().expect("no caller panics").len() < ROWS {
        create().await?;
    }
    let list = client.get("/v1/sandboxes?limit=1000").await;
    ensure!(
        list.json.as_array().is_some_and(|list| list.len() == ROWS),
        "the list is not whole"
    );

    let http = load(LIGHT, async || get("/healthz").await.map(drop)).await?;
    let select = "SELECT * FROM sandboxes ORDER BY created_at DESC, id DESC LIMIT 1000";
    let select = load(HEAVY, async || {
        let rows = sqlx::query(select).fetch_all(&world.db).await?;
        ensure!(rows.len() == ROWS, "a row is missing");
        Ok(())
    })
    .await?;
    let list = load(HEAVY, async || {
        get("/v1/sandboxes?limit=1000").await.map(drop)
    })
    .await?;
    agent.identity().heartbeat(&replica.base_url()).await?;
    let create = load(HEAVY, create).await?;
    let memory = resident_mib("self")?;
    let sandbox = created.lock().expect("no caller panics")[0].to_string();
    let mut shared = people::reads(&client, &sandbox).await?;
    shared.push(people::audit(&world.db, world.team).await?);
    shared.extend(people::logins(&client, &replica.base_url(), &sandbox).await?);
    for id in created
        .into_inner()
        .expect("no caller panics")
        .split_off(ROWS)
    {
        let deleted = client.delete(&format!("/v1/sandboxes/{id}")).await;
        ensure!(deleted.status == 204, "a delete was answered {deleted:?}");
    }

    let mut rows = vec![Row::new("GET /healthz (bare HTTP)", "1/s", http.per_second)];
    rows.extend(compare("list of 1,000 sandboxes over SELECT", list, select));
    rows.extend(compare(
        "create, simulated host, over bare HTTP",
        create,
        http,
    ));
    rows.push(Row::new(
        "control plane, simulated agent and callers: memory",
        "MiB",
        memory,
    ));
    rows.extend(shared);
    rows.extend(scale::rows().await?);
    emit(&rows)
}

fn compare(what: &str, load: Load, floor: Load) -> [Row; 3] {
    [
        Row::new(format!("{what}: rate"), "1/s", load.per_second).over(floor.per_second),
        Row::new(format!("{what}: p50"), "ms", load.p50).over(floor.p50),
        Row::new(format!("{what}: p99"), "ms", load.p99).over(floor.p99),
    ]
}
