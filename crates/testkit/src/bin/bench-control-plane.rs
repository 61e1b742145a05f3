//! Speed of the control plane alone, with a simulated agent: one JSON line on standard output.
//!
//! `GET /v1/sandboxes` with 1,000 rows, and create, each from 16 callers for 10 s.

use std::{
    io::Write as _,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use futures::future::{join_all, try_join_all};
use serde_json::{Value, json};
use wrenn_testkit::{
    client::Client,
    control_plane::{Options, World},
    simulated_agent::Capacity,
};

const CALLERS: usize = 16;
const TIME: Duration = Duration::from_secs(10);
const ROWS: usize = 1000;

#[tokio::main]
async fn main() -> Result<()> {
    let world = World::new().await?;
    sqlx::query(
        "UPDATE teams SET max_sandboxes = 0, max_vcpus = 0, max_memory_mb = 0, max_disk_mb = 0",
    )
    .execute(&world.db)
    .await?;
    let replica = world.replica(Options::default())?;
    let capacity = Capacity { cpu_cores: 1 << 16, memory_mib: 1 << 30, disk_mib: 1 << 40 };
    let _agent = world.agent(&replica, capacity).await?;
    let client = world.client(&replica);
    let fill = (0..CALLERS).map(|_| {
        let client = client.clone();
        async move {
            for _ in 0..ROWS.div_ceil(CALLERS) {
                let made = client.post("/v1/sandboxes", json!({})).await;
                ensure!(made.status == 201, "{made:?}");
            }
            Ok(())
        }
    });
    try_join_all(fill).await?;
    let list = measure(&client, async |client: &Client| {
        client.get("/v1/sandboxes?limit=1000").await.status == 200
    })
    .await;
    let create = measure(&client, async |client: &Client| {
        client.post("/v1/sandboxes", json!({})).await.status == 201
    })
    .await;
    let line = json!({ "rows": ROWS, "callers": CALLERS, "list": list, "create": create });
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}

/// Calls from [`CALLERS`] at once for [`TIME`].
async fn measure<F>(client: &Client, call: F) -> Value
where
    F: AsyncFn(&Client) -> bool,
{
    let begun = Instant::now();
    let call = Arc::new(call);
    let callers = (0..CALLERS).map(|_| {
        let (client, call) = (client.clone(), Arc::clone(&call));
        async move {
            let (mut times, mut failed) = (Vec::new(), 0);
            while begun.elapsed() < TIME {
                let started = Instant::now();
                if call(&client).await {
                    times.push(started.elapsed());
                } else {
                    failed += 1;
                }
            }
            (times, failed)
        }
    });
    let outcomes = join_all(callers).await;
    let elapsed = begun.elapsed().as_secs_f64();
    let failed: usize = outcomes.iter().map(|(_, failed)| failed).sum();
    let mut times: Vec<Duration> = outcomes.into_iter().flat_map(|(times, _)| times).collect();
    times.sort_unstable();
    let at = |share: f64| {
        let index = (times.len() as f64 * share) as usize;
        times.get(index.min(times.len().saturating_sub(1))).map_or(0.0, Duration::as_secs_f64) * 1e3
    };
    json!({
        "requests_per_sec": times.len() as f64 / elapsed,
        "p50_ms": at(0.5), "p99_ms": at(0.99), "failed": failed,
    })
}
