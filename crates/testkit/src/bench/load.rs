//! Load on a server: the same call by several callers at once.

use std::time::{Duration, Instant};

use anyhow::Result;
use futures::future::try_join_all;

use super::percentile;

/// Callers at once; each waits for its answer before it calls again.
pub const CALLERS: usize = 8;

/// What a server did under load.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Calls answered in a second.
    pub per_second: f64,
    /// Milliseconds.
    pub p50: f64,
    /// Milliseconds.
    pub p99: f64,
}

/// Calls about `count` times, after one unmeasured call a caller. The first call that fails ends it.
///
/// # Errors
/// What a call failed with.
pub async fn load(count: usize, call: impl AsyncFn() -> Result<()>) -> Result<Load> {
    run(1, &call).await?;
    let begun = Instant::now();
    let times = run(count.div_ceil(CALLERS), &call).await?;
    let per_second = times.len() as f64 / begun.elapsed().as_secs_f64();
    Ok(Load {
        per_second,
        p50: percentile(&times, 0.5),
        p99: percentile(&times, 0.99),
    })
}

async fn run(each: usize, call: &impl AsyncFn() -> Result<()>) -> Result<Vec<Duration>> {
    let callers = (0..CALLERS).map(async |_| {
        let mut times = Vec::with_capacity(each);
        for _ in 0..each {
            let begun = Instant::now();
            call().await?;
            times.push(begun.elapsed());
        }
        anyhow::Ok(times)
    });
    Ok(try_join_all(callers).await?.concat())
}
