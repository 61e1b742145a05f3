//! Speed of the host agent in a virtual host, beside bare Firecracker and bare sockets there.
//!
//! `bench-host [sleeping]` starts the machine with the product's agent and runs itself inside; there it
//! measures, with the control plane's credentials from a file. So product and floor are asked from the
//! same side of the machine's emulated network. `sleeping`: only what a snapshot is part of.

use std::{
    io::Write as _,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use wrenn_testkit::{
    agent_authority::Credentials,
    bench::{
        Row,
        agent::{Agent, ENVD_PORT, Sandbox},
        bare_snapshot::BareSnapshot,
        bare_vm::BareHost,
        emit, percentile,
        raw::{self, GuestHttp},
        resident_mib, sleeping,
    },
    images,
    virtual_host_agent::AgentHost,
};

/// For all measurements, emulated.
const DEADLINE: Duration = Duration::from_secs(25 * 60);
/// In the virtual host.
const PROGRAM: &str = "/tmp/bench/bench-host";
const CREDENTIALS: &str = "/tmp/bench/credentials.json";
const SPEED: &str = "/tmp/bench/speed";
const BARE: &str = "/var/lib/wrenn/bench";
const AGENT_PORT: u16 = 9443;
const PID: &str = "/run/agent.pid";

/// Boots of each kind; their medians count. The sandboxes live until the agent's memory was read.
const BOOTS: usize = 3;
const ROUND_TRIPS: usize = 40;
/// One of each kind: half a minute each where VMs are emulated.
const TRANSFERS: usize = 1;
const FILE: &str = "/root/bench";
const FILE_BYTES: usize = 64 << 20;
const ECHO_PORT: u16 = 7000;
/// In a guest.
const GUEST_SPEED: &str = "/root/speed";
const GUEST_SPEED_MIB: &str = "32";

fn main() -> Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter("warn,wrenn_testkit=info,bench_host=info")
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
    let words: Vec<_> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => start(What::All),
        ["sleeping"] => start(What::Sleeping),
        ["all", credentials] => emit(&measure(What::All, Path::new(credentials))?),
        ["sleeping", credentials] => emit(&measure(What::Sleeping, Path::new(credentials))?),
        _ => anyhow::bail!("bench-host [sleeping]"),
    }
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    All,
    Sleeping,
}

/// Runs this program in a virtual host; what it says there goes on.
fn start(what: What) -> Result<()> {
    let wrenn = images::target_directory()?.join("release/wrenn");
    ensure!(wrenn.exists(), "{} is not built", wrenn.display());
    let host = AgentHost::start(&wrenn, &[])?;
    let program = std::fs::read(std::env::current_exe()?).context("read this program")?;
    let speed = images::target_directory()?.join("x86_64-unknown-linux-gnu/envd/examples/speed");
    let speed = std::fs::read(&speed).with_context(|| format!("read {}", speed.display()))?;
    let credentials = host.authority.credentials(Some("wrenn://control-plane"))?;
    host.machine
        .put(PROGRAM, &program)
        .context("hand over this program")?;
    host.machine
        .put(SPEED, &speed)
        .context("hand over the guest's program")?;
    host.machine
        .put(CREDENTIALS, &serde_json::to_vec(&credentials)?)
        .context("hand over the credentials")?;
    tracing::info!("measuring in the virtual host: some minutes where it is emulated");
    // Its own words come through at once; the deadline is held inside, where the program is.
    let done = host
        .machine
        .ssh_command()
        .arg(format!(
            "timeout --kill-after 5 {} {PROGRAM} {} {CREDENTIALS}",
            DEADLINE.as_secs(),
            match what {
                What::All => "all",
                What::Sleeping => "sleeping",
            }
        ))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("measure in the virtual host")?;
    ensure!(
        done.status.success(),
        "the measurement ended with {}; the agent's log:\n{}",
        done.status,
        host.log()
    );
    std::io::stdout()
        .write_all(&done.stdout)
        .context("hand over the rows")
}

#[tokio::main]
async fn measure(what: What, credentials: &Path) -> Result<Vec<Row>> {
    let credentials = std::fs::read(credentials).context("read the credentials")?;
    let credentials: Credentials = serde_json::from_slice(&credentials)?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, AGENT_PORT));
    let agent = Agent::new(credentials.client(address)?).await?;
    let bare = BareHost::prepare(Path::new(BARE)).await?;
    let floor = BareSnapshot::take(&bare).await?;
    let mut rows = told(sleeping::creations(&agent, &floor).await?);
    if what == What::All {
        rows.extend(awake(&agent, &bare).await?);
    }
    rows.extend(told(sleeping::generations(&agent, &floor).await?));
    rows.extend(told(sleeping::sizes(&agent).await?));
    Ok(rows)
}

/// The same rows; the log has them at once, whatever becomes of the other measurements.
fn told(rows: impl IntoIterator<Item = Row>) -> Vec<Row> {
    let tell = |row: &Row| {
        let Row {
            what, value, floor, ..
        } = row;
        tracing::info!(value, floor, "{what}");
    };
    rows.into_iter().inspect(tell).collect()
}

/// Boots, and what a running sandbox does.
async fn awake(agent: &Agent, bare: &BareHost) -> Result<Vec<Row>> {
    sleeping::coldly()?;
    // What both read is in the page cache, and the agent has allocated what it keeps.
    let sandbox = first_exec(agent).await?;
    agent.destroy(sandbox).await?;
    bare.boot().await?;

    let pid = std::fs::read_to_string(PID).context("find the agent")?;
    let alone = resident_mib(pid.trim())?;
    let (boot, mut sandboxes) = boots(agent, bare).await?;
    let together = resident_mib(pid.trim())?;
    let mut rows = vec![
        boot,
        Row::new("agent without sandboxes: memory", "MiB", alone),
        Row::new(
            format!("agent with {BOOTS} sandboxes: memory for each"),
            "MiB",
            (together - alone) / BOOTS as f64,
        )
        .target("≤ 1 MiB"),
    ];
    let sandbox = sandboxes.pop().context("there were boots")?;
    for other in sandboxes {
        agent.destroy(other).await?;
    }
    rows.extend(told(round_trips(agent, &sandbox).await?));
    rows.extend(told(transfers(agent, &sandbox).await?));
    rows.extend(told(inside(agent, &sandbox).await?));
    agent.destroy(sandbox).await?;
    sleeping::warmly()?;
    Ok(rows)
}

async fn first_exec(agent: &Agent) -> Result<Sandbox> {
    let sandbox = agent.create().await?;
    agent.exec(&sandbox, &["true"]).await?;
    Ok(sandbox)
}

/// Product and floor take turns, so that a slow minute of the machine slows both.
async fn boots(agent: &Agent, bare: &BareHost) -> Result<(Row, Vec<Sandbox>)> {
    let (mut times, mut floors, mut sandboxes) = (vec![], vec![], vec![]);
    for _ in 0..BOOTS {
        floors.push(bare.boot().await?);
        let begun = Instant::now();
        sandboxes.push(first_exec(agent).await?);
        times.push(begun.elapsed());
    }
    tracing::info!(?times, ?floors, "boots");
    let row = Row::new(
        "cold boot to first exec over bare boot to first answer",
        "ms",
        median(&times),
    );
    Ok((row.over(median(&floors)), sandboxes))
}

async fn round_trips(agent: &Agent, sandbox: &Sandbox) -> Result<[Row; 2]> {
    let mut guest = GuestHttp::connect(sandbox.port(ENVD_PORT)?).await?;
    let (mut times, mut floors) = (Vec::new(), Vec::new());
    for _ in 0..ROUND_TRIPS {
        let begun = Instant::now();
        guest.health().await?;
        floors.push(begun.elapsed());
        let begun = Instant::now();
        agent.exec(sandbox, &["true"]).await?;
        times.push(begun.elapsed());
    }
    let spawn = agent.exec(sandbox, &["python3", "-c", raw::SPAWN]).await?;
    let spawn: f64 = spawn.trim().parse().context("read the guest's own time")?;
    let row = Row::new(
        "exec round trip over bare HTTP round trip",
        "ms",
        median(&times),
    );
    Ok([
        row.over(median(&floors)).target("≤ 1.5 × floor"),
        Row::new(
            "  of it the guest's own: a program starts and ends",
            "ms",
            spawn,
        ),
    ])
}

async fn transfers(agent: &Agent, sandbox: &Sandbox) -> Result<[Row; 3]> {
    let guest = sandbox.port(ECHO_PORT)?;
    let words = [ECHO_PORT.to_string(), FILE_BYTES.to_string()];
    let words = ["python3", "-c", raw::ECHO, &words[0], &words[1]];
    let count = format!("count={}", FILE_BYTES >> 16);
    let of = format!("of={FILE}.own");
    let dd = ["dd", "if=/dev/zero", &of, "bs=64k", &count];
    let (mut ups, mut downs, mut bare_ups, mut bare_downs) = (vec![], vec![], vec![], vec![]);
    let mut own = vec![];
    for _ in 0..TRANSFERS {
        let bare = raw::transfer(guest, FILE_BYTES, DEADLINE);
        let (_, (up, down)) = tokio::try_join!(agent.exec(sandbox, &words), bare)?;
        bare_ups.push(up);
        bare_downs.push(down);
        let begun = Instant::now();
        let content = Bytes::from(vec![0x5a; FILE_BYTES]);
        agent.upload(sandbox, FILE, content).await?;
        ups.push(begun.elapsed());
        let begun = Instant::now();
        agent.download(sandbox, FILE, FILE_BYTES).await?;
        downs.push(begun.elapsed());
        let begun = Instant::now();
        agent.exec(sandbox, &dd).await?;
        own.push(begun.elapsed());
    }
    tracing::info!(?ups, ?downs, ?bare_ups, ?bare_downs, "transfers");
    let rate = |times: &[Duration]| (FILE_BYTES >> 20) as f64 * 1e3 / median(times);
    let row = |what: &str, times: &[Duration], floors: &[Duration]| {
        Row::new(
            format!("{what} of 64 MiB over bare TCP"),
            "MiB/s",
            rate(times),
        )
        .over(rate(floors))
        .target("≥ 0.8 × floor")
    };
    Ok([
        row("upload", &ups, &bare_ups),
        Row::new(
            "  of it the guest's own: a file is written",
            "MiB/s",
            rate(&own),
        ),
        row("download", &downs, &bare_downs),
    ])
}

/// The image, and envd beside its floors within the guest.
async fn inside(agent: &Agent, sandbox: &Sandbox) -> Result<Vec<Row>> {
    // What the transfers wrote is not the image's.
    let own = format!("{FILE}.own");
    agent.exec(sandbox, &["rm", FILE, &own]).await?;
    let used = agent
        .exec(sandbox, &["df", "--block-size=1", "--output=used", "/"])
        .await?;
    let used: f64 = used.lines().last().unwrap_or_default().trim().parse()?;
    let image = Row::new("guest image: space used", "MiB", used / f64::from(1 << 20));
    let speed = std::fs::read(SPEED).context("read the guest's program")?;
    agent.upload(sandbox, GUEST_SPEED, speed.into()).await?;
    agent.exec(sandbox, &["chmod", "+x", GUEST_SPEED]).await?;
    let words = [GUEST_SPEED, "/usr/local/bin/envd", GUEST_SPEED_MIB];
    let rows = agent.exec(sandbox, &words).await?;
    let rows: Vec<Row> = serde_json::from_str(&rows).context("read the guest's rows")?;
    Ok([image.target("≤ 450 MiB")]
        .into_iter()
        .chain(rows)
        .collect())
}

fn median(times: &[Duration]) -> f64 {
    percentile(times, 0.5)
}
