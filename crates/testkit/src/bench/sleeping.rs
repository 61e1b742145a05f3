//! Creations from warm snapshots, pauses, resumptions and forks, beside bare Firecracker with a snapshot of the
//! same guest. Product and floor take turns.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use tokio::time::sleep;

use super::{
    Row,
    agent::{Agent, MEMORY_MIB, Sandbox},
    bare_snapshot::{BareSnapshot, difference},
    percentile,
};

const STATE: &str = "/var/lib/wrenn/sandboxes";
const FLAT: &str = "/var/lib/wrenn/flat";
/// What arms the agent's failpoints.
const FAILPOINTS: &str = "/run/wrenn-failpoints";
/// Creations from a warm snapshot.
const CREATIONS: usize = 5;
/// Pauses of one sandbox: the first is whole, ten differences follow.
const GENERATIONS: usize = 11;
/// From this pause on, each is of a sandbox that had rested before it was resumed.
const RESTED: usize = 9;
const FORKS: usize = 8;
/// First resumptions of a sandbox that was booted.
const FIRSTS: usize = 3;
/// Network slots and VMs that the agent keeps ready.
const SLOTS: usize = 8;
const VMS: usize = 4;
/// Sandboxes that it keeps restored.
const SPARES: usize = 2;
const METRICS: &str = "127.0.0.1:9444";
const JAILS: &str = "/var/lib/wrenn/run/firecracker";
/// Memory of guests of which as much is dirty.
const SIZES_MIB: [u32; 3] = [256, 1024, 2048];
const DIRTY: &str = "dd if=/dev/urandom of=/dev/shm/dirty bs=1M count=8 conv=notrunc 2>/dev/null";
/// For what the agent does in the background, emulated.
const PATIENCE: Duration = Duration::from_secs(300);
const LOOK: Duration = Duration::from_millis(200);

/// Makes creations boot until [`warmly`].
///
/// # Errors
/// When the file cannot be written.
pub fn coldly() -> Result<()> {
    std::fs::write(FAILPOINTS, "warm.lookup=fail\n").context("arm failpoints")
}

/// Ends that, and whatever else was armed.
///
/// # Errors
/// When the file cannot be removed.
pub fn warmly() -> Result<()> {
    match std::fs::remove_file(FAILPOINTS) {
        Err(fault) if fault.kind() != std::io::ErrorKind::NotFound => {
            Err(fault).context("disarm failpoints")
        }
        _ => Ok(()),
    }
}

/// Creations from a warm snapshot, which is there then.
///
/// # Errors
/// When the agent or a guest fails.
pub async fn creations(agent: &Agent, floor: &BareSnapshot) -> Result<Vec<Row>> {
    let sandbox = agent.create().await?;
    agent.destroy(sandbox).await?;
    until("a warm snapshot is made", || {
        let warm = std::fs::read_dir("/var/lib/wrenn/warm")
            .into_iter()
            .flatten()
            .flatten();
        let whole = warm
            .filter(|entry| entry.path().join("template.json").exists())
            .count();
        whole > 0 && sandboxes() == 0
    })
    .await?;
    // The first of a kind that is restored makes it the kind of which spares are made.
    agent.destroy(agent.create().await?).await?;
    let (mut ready, mut started, mut floors) = (vec![], vec![], vec![]);
    for _ in 0..=CREATIONS {
        settled().await?;
        let mut restored = floor.restore().await?;
        floors.push(restored.took);
        restored.end().await?;
        for times in [&mut ready, &mut started] {
            settled().await?;
            let begun = Instant::now();
            let sandbox = agent.create().await?;
            agent.exec(&sandbox, &["true"]).await?;
            times.push(begun.elapsed());
            agent.destroy(sandbox).await?;
            let pools = "ready.take=fail\nspare.take=fail\n";
            std::fs::write(FAILPOINTS, pools).context("arm failpoints")?;
        }
        warmly()?;
    }
    tracing::info!(?ready, ?started, ?floors, "creations");
    // The first reads what the others find in the page cache.
    let row = |how: &str, times: &[Duration]| {
        let what = format!("create (warm, {how}) to first exec over bare restore to first answer");
        Row::new(what, "ms", median(&times[1..])).over(median(&floors[1..]))
    };
    Ok(vec![
        row("full pools", &ready).target("≤ 0.7 × floor"),
        row("no VM ready", &started).target("≤ 1.25 × floor"),
    ])
}

/// One sandbox through all its generations: served by page servers with a working set and without, and then rested
/// until there is a flat copy of it; then its forks. Before all that is measured the pools are full again, for the
/// floor's sake and the product's.
///
/// # Errors
/// When the agent or a guest fails.
pub async fn generations(agent: &Agent, floor: &BareSnapshot) -> Result<Vec<Row>> {
    let (mut floors, mut bare_pauses) = (vec![], vec![]);
    let (mut first, mut with, mut without, mut rested) = (vec![], vec![], vec![], vec![]);
    let (mut served_pauses, mut pauses) = (vec![], vec![]);
    let mut private = 0.0;
    for _ in 1..FIRSTS {
        let sandbox = booted(agent).await?;
        agent.pause(&sandbox).await?;
        first.push(resumed(agent, &sandbox).await?);
        agent.destroy(sandbox).await?;
    }
    let sandbox = booted(agent).await?;
    let directory = Path::new(STATE).join(sandbox.id());
    for generation in 1..=GENERATIONS {
        settled().await?;
        floor.renew().await?;
        let mut restored = floor.restore().await?;
        floors.push(restored.took);
        restored.end().await?;
        warmly()?;
        if matches!(generation, 2 | RESTED..) {
            bare_pauses.push(bare_pause(agent).await?);
        }
        let is_rested = generation + 1 >= RESTED;
        let is_without = generation % 2 == 1;
        if !is_rested {
            std::fs::write(FAILPOINTS, "flat.make=fail\n").context("arm failpoints")?;
        }
        settled().await?;
        let begun = Instant::now();
        agent.pause(&sandbox).await?;
        match generation {
            1 => {}
            2 | RESTED.. => pauses.push(begun.elapsed()),
            _ => served_pauses.push(begun.elapsed()),
        }
        if is_rested {
            rest(&sandbox, generation).await?;
        } else if is_without {
            for name in ["working-set", "working-set.new"] {
                let _ = std::fs::remove_file(directory.join(name)); // it may not be there
            }
        }
        let took = resumed(agent, &sandbox).await?;
        match generation {
            1 => first.push(took),
            2 => {} // no page server has recorded anything before
            _ if is_rested => rested.push(took),
            _ if is_without => without.push(took),
            _ => with.push(took),
        }
        if generation > 1 && !is_rested {
            until("the working set is recorded", || {
                recorded_pages(&directory) > 0
            })
            .await?;
            private = page_server_private_mib()?;
        }
    }
    tracing::info!(
        ?floors,
        ?first,
        ?with,
        ?without,
        ?rested,
        ?pauses,
        ?served_pauses,
        ?bare_pauses,
        "generations"
    );
    agent.pause(&sandbox).await?;
    let (mut one, mut many) = (vec![], vec![]);
    for (count, times) in [(1, &mut one), (FORKS, &mut many)] {
        let begun = Instant::now();
        let children = agent.fork(&sandbox, count).await?;
        times.push(begun.elapsed());
        for child in children {
            agent.destroy(child).await?;
        }
    }
    agent.destroy(sandbox).await?;
    let restore = median(&floors);
    let resume = |what: &str, times: &[Duration]| {
        let what = format!("resume, {what}, to first exec over bare restore");
        Row::new(what, "ms", median(times)).over(restore)
    };
    let pause = |what: &str, times: &[Duration]| {
        let what = format!("pause{what} over bare difference");
        Row::new(what, "ms", median(times)).over(median(&bare_pauses))
    };
    let pairs = std::thread::available_parallelism()?.get() as f64 / 2.0;
    Ok(vec![
        resume("1 generation", &first).target("≤ 1.3 × floor"),
        resume("10 generations", &rested).target("≤ 1.3 × floor"),
        resume("5 generations, at once", &with),
        Row::new(
            "page server: with working set over without",
            "ms",
            median(&with),
        )
        .over(median(&without))
        .target("≤ 0.5 × floor"),
        pause("", &pauses).target("≤ 1.25 × floor"),
        pause(" of one with a page server", &served_pauses),
        Row::new(
            format!("fork of {FORKS} over fork of 1, a pair of cores"),
            "ms",
            median(&many) * pairs,
        )
        .over(median(&one))
        .target("≤ 2.5 × floor"),
        Row::new("page server: private memory", "MiB", private).target("≤ 4 MiB"),
    ])
}

/// The same is dirty in guests of several sizes. No warm snapshot of them is made, now or soon.
///
/// # Errors
/// When the agent or a guest fails.
pub async fn sizes(agent: &Agent) -> Result<Vec<Row>> {
    // While one is made nothing can be measured.
    let none = "warm.after.record=fail\nspare.take=fail\n";
    std::fs::write(FAILPOINTS, none).context("arm failpoints")?;
    let mut rows = Vec::new();
    let mut least = None;
    for memory_mib in SIZES_MIB {
        let sandbox = agent.create_of(memory_mib).await?;
        let dirty = ["sh", "-c", DIRTY];
        agent.exec(&sandbox, &dirty).await?;
        agent.pause(&sandbox).await?;
        let mut times = Vec::new();
        for _ in 0..3 {
            agent.resume(&sandbox).await?;
            agent.exec(&sandbox, &dirty).await?;
            let begun = Instant::now();
            agent.pause(&sandbox).await?;
            times.push(begun.elapsed());
        }
        tracing::info!(memory_mib, ?times, "pauses");
        agent.destroy(sandbox).await?;
        let time = median(&times);
        let row = Row::new(
            format!("pause of {memory_mib} MiB with 8 MiB dirty"),
            "ms",
            time,
        );
        rows.push(match least {
            None => row,
            Some(least) => row.over(least).target("≤ 1.5 × 256 MiB"),
        });
        least.get_or_insert(time);
    }
    ensure!(
        SIZES_MIB[0] == MEMORY_MIB,
        "the least is every other sandbox's"
    );
    Ok(rows)
}

/// A sandbox that was booted, and used.
async fn booted(agent: &Agent) -> Result<Sandbox> {
    coldly()?;
    let sandbox = agent.create().await?;
    warmly()?;
    agent.exec(&sandbox, &["true"]).await?;
    Ok(sandbox)
}

/// Resumes a sandbox once the pools are full, and runs a first program.
async fn resumed(agent: &Agent, sandbox: &Sandbox) -> Result<Duration> {
    settled().await?;
    let begun = Instant::now();
    agent.resume(sandbox).await?;
    agent.exec(sandbox, &["true"]).await?;
    Ok(begun.elapsed())
}

/// A pause by Firecracker alone of a sandbox that was resumed and used as those that the agent pauses.
async fn bare_pause(agent: &Agent) -> Result<Duration> {
    let sandbox = agent.create().await?;
    agent.pause(&sandbox).await?;
    rest(&sandbox, 2).await?; // the first is what it was made from
    agent.resume(&sandbox).await?;
    agent.exec(&sandbox, &["true"]).await?;
    let record = std::fs::read(Path::new(STATE).join(sandbox.id()).join("manifest.json"))?;
    let record: serde_json::Value = serde_json::from_slice(&record)?;
    let vm = record["live"]["vm"].as_str().context("find its VM")?;
    let took = difference(&Path::new(JAILS).join(vm).join("root")).await?;
    agent.destroy(sandbox).await?;
    Ok(took)
}

/// Until there is a flat copy of the memory of this pause.
async fn rest(sandbox: &Sandbox, generation: usize) -> Result<()> {
    let copy = PathBuf::from(format!("{FLAT}/{}-{generation}", sandbox.id()));
    until("there is a flat copy", || is_made(&copy)).await
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        ensure!(Instant::now() < deadline, "wait until {what}");
        sleep(LOOK).await;
    }
    Ok(())
}

fn sandboxes() -> usize {
    std::fs::read_dir(STATE).into_iter().flatten().count()
}

/// Waits until the agent has all ready that it keeps ready: to prepare it would slow down what is measured.
async fn settled() -> Result<()> {
    let are_full =
        || ready_vms() >= VMS && slots() >= SLOTS + VMS + SPARES && spares() == Some(SPARES);
    until("the pools are full", are_full).await
}

/// Sandboxes that wait for their creation, as the agent tells.
fn spares() -> Option<usize> {
    let mut stream = TcpStream::connect(METRICS).ok()?;
    let request = b"GET /metrics HTTP/1.1\r\nhost: agent\r\nconnection: close\r\n\r\n";
    stream.write_all(request).ok()?;
    let mut told = String::new();
    stream.read_to_string(&mut told).ok()?;
    let value = |line: &str| line.strip_prefix("wrenn_agent_spares ")?.parse().ok();
    told.lines().find_map(value)
}

/// VMs that wait for a snapshot: those without a disk.
fn ready_vms() -> usize {
    let jails = std::fs::read_dir(JAILS).into_iter().flatten().flatten();
    let roots = jails.map(|jail| jail.path().join("root"));
    let is_ready = |root: &PathBuf| root.join("api.sock").exists() && !root.join("rootfs").exists();
    roots.filter(is_ready).count()
}

/// Network slots that stand.
fn slots() -> usize {
    let names = std::fs::read_dir("/run/netns").into_iter().flatten();
    names
        .flatten()
        .filter(|name| name.file_name().to_string_lossy().starts_with("wrenn-"))
        .count()
}

/// Whether a flat copy is whole: it has a time long ago then.
fn is_made(copy: &Path) -> bool {
    let modified = std::fs::metadata(copy).and_then(|stat| stat.modified());
    modified.is_ok_and(|modified| modified == std::time::SystemTime::UNIX_EPOCH)
}

/// The last of a page server's counters.
fn recorded_pages(sandbox: &Path) -> u64 {
    let stats = std::fs::read(sandbox.join("pages.stats")).unwrap_or_default();
    stats
        .last_chunk()
        .map_or(0, |word| u64::from_le_bytes(*word))
}

fn page_server_private_mib() -> Result<f64> {
    let is_one = |process: &PathBuf| {
        let words = std::fs::read(process.join("cmdline")).unwrap_or_default();
        words
            .split(|byte| *byte == 0)
            .any(|word| word == b"page-server")
    };
    let processes = std::fs::read_dir("/proc")?
        .flatten()
        .map(|entry| entry.path());
    let process = processes
        .into_iter()
        .find(is_one)
        .context("find the page server")?;
    let rollup = std::fs::read_to_string(process.join("smaps_rollup"))?;
    let kib = |line: &str| line.split_whitespace().nth(1)?.parse::<f64>().ok();
    // What is clean is the page cache of the layers, which the kernel takes back as it likes.
    let private = rollup
        .lines()
        .filter(|line| line.starts_with("Private_Dirty"));
    Ok(private.filter_map(kib).sum::<f64>() / 1024.0)
}

fn median(times: &[Duration]) -> f64 {
    percentile(times, 0.5)
}
