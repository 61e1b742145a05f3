//! A host agent in a virtual host, and the hands to drive, hurt and count it.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use tokio::{runtime::Runtime, task::JoinHandle};
use wrenn_virtual_host::{Cache, Captured, VirtualHost, machine::MachineConfig};

use crate::{
    agent_authority::{AgentAuthority, AgentClient, REGISTRATION_TOKEN},
    images,
};

/// For a command in the machine, and for its agent to answer, emulated.
const PATIENCE: Duration = Duration::from_secs(180);
/// Between two looks at the machine.
const PAUSE: Duration = Duration::from_millis(200);
/// What arms the agent's failpoints.
const FAILPOINTS: &str = "/run/wrenn-failpoints";

/// Counts what of ours exists; two runs are compared. Ready network slots and VMs are counted like those in use,
/// so what is compared is of a time when the pools are full; spares come and go, and are one as the other.
const CENSUS: &str = r#"
echo "namespaces $(ls /run/netns 2>/dev/null | grep -c '^wrenn-')"
echo "links $(ls /sys/class/net | grep -c '^wv')"
echo "admitted $(nft -j list set inet wrenn slots 2>/dev/null | grep -o '"10\.' | wc -l)"
echo "dm $(for d in /sys/block/dm-*; do cat $d/dm/name 2>/dev/null; done | sed 's/sb-[0-9a-z]*/sb-/' | sort | tr '\n' ' ')"
echo "loops $(cat /sys/block/loop*/loop/backing_file 2>/dev/null | sed 's/sb-[0-9a-z]*/sb-/; s/ (deleted)//' | sort | tr '\n' ' ')"
echo "cgroups $(ls -d /sys/fs/cgroup/wrenn/*/ 2>/dev/null | wc -l)"
echo "vmms $(pgrep -c firecracker)"
echo "jails $(ls /var/lib/wrenn/run/firecracker 2>/dev/null | wc -l)"
echo "mounts $(grep -c /var/lib/wrenn/run /proc/mounts)"
echo "sandboxes $(ls /var/lib/wrenn/sandboxes | wc -l)"
echo "held by the agent $(ls -l /proc/$(cat /run/agent.pid)/fd 2>/dev/null \
    | grep -cE 'pidfd|inotify|net:|/dev/(loop|dm|mapper)|/var/lib/wrenn/(run|sandboxes)')"
"#;

/// Succeeds once no warm snapshot is being made, every slot stands whole and as many slots and VMs (`$ready`) are
/// ready as the pools hold.
const SETTLED: &str = r#"
! grep -qs '"role": "seed"' /var/lib/wrenn/sandboxes/*/manifest.json || exit 1
curl -s http://127.0.0.1:9444/metrics | grep -qx "wrenn_agent_ready_vms $ready" || exit 1
all=$(ls /run/netns | grep -c '^wrenn-')
[ $((all - $(ls /var/lib/wrenn/run/firecracker 2>/dev/null | wc -l))) -eq 8 ] &&
[ $(ls /sys/class/net | grep -c '^wv') -eq $all ] &&
[ $(nft -j list set inet wrenn slots | grep -o '"10\.' | wc -l) -eq $((2 * all)) ]
"#;

/// A running agent in a virtual host.
pub struct AgentHost {
    /// The machine.
    pub machine: VirtualHost,
    /// Who the agent takes for its control plane.
    pub authority: AgentAuthority,
    /// Calls to the agent.
    pub client: AgentClient,
    runtime: Runtime,
    config: MachineConfig,
    /// [`SETTLED`], with its setting.
    settled: String,
    cache: Cache,
    _state: tempfile::TempDir,
}

impl std::fmt::Debug for AgentHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AgentHost")
            .field("machine", &self.machine)
            .finish_non_exhaustive()
    }
}

impl AgentHost {
    /// Starts a machine with the agent `program` in it, with these `settings` beside the usual ones, and waits
    /// until it serves.
    ///
    /// # Errors
    /// When images cannot be built or the machine or its agent does not start.
    pub fn start(program: &Path, settings: &[(&str, &str)]) -> Result<Self> {
        let say = |line: &str| tracing::info!("{line}");
        let runtime = Runtime::new().context("start a runtime")?;
        let authority = runtime.block_on(AgentAuthority::start())?;
        let state = tempfile::tempdir().context("make the machine's directory")?;
        let mut config = MachineConfig::new(state.path());
        config.images = Some(images::ensure(&say)?);
        config.wrenn = Some(program.to_owned());
        config.memory_mib = 8192;
        let url = format!("http://10.0.2.2:{}", authority.port);
        let usual = [
            ("WRENN_CP_URL", url.as_str()),
            ("WRENN_REGISTRATION_TOKEN", REGISTRATION_TOKEN),
            ("WRENN_TEST_FAILPOINTS", FAILPOINTS),
            ("WRENN_LOG", "info,wrenn_host_agent=debug"),
        ];
        let all = usual.iter().chain(settings);
        let env = all.map(|&(name, value)| (name.to_owned(), value.to_owned()));
        let env: BTreeMap<_, _> = env.collect();
        let ready = env.get("WRENN_READY_VMS").map_or("4", String::as_str);
        let settled = format!("ready={ready}\n{SETTLED}");
        config.agent_env = Some(env);
        let cache = Cache::from_env().context("open the cache")?;
        let machine =
            VirtualHost::start(&config, &cache, &say).context("start the virtual host")?;
        machine
            .wait_for_agent(PATIENCE)
            .with_context(|| log_of(&machine))?;
        let agent = SocketAddr::from((Ipv4Addr::LOCALHOST, machine.agent_port()));
        let client = authority.client(agent)?;
        Ok(Self {
            machine,
            authority,
            client,
            runtime,
            config,
            settled,
            cache,
            _state: state,
        })
    }

    /// Cuts the machine's power, starts it again on its disk, and waits until its agent serves.
    ///
    /// # Errors
    /// When the machine or its agent does not start again.
    pub fn cut_power(&mut self) -> Result<()> {
        let say = |line: &str| tracing::info!("{line}");
        self.machine
            .power_cycle(&self.config, &self.cache, &say)
            .context("start the virtual host again")?;
        self.client = self.authority.client(self.address())?;
        self.await_agent()
    }

    /// Runs what speaks to the agent.
    pub fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Begins what speaks to the agent, beside what the caller does next.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.runtime.spawn(work)
    }

    /// Where the agent listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.machine.agent_port()))
    }

    /// Runs a command in the machine that must succeed; its standard output.
    ///
    /// # Errors
    /// When it fails.
    pub fn shell(&self, command: &str) -> Result<String> {
        let Captured {
            code,
            stdout,
            stderr,
        } = self.machine.exec(command, PATIENCE)?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        ensure!(code == 0, "`{command}` ended with {code}: {}", text(stderr));
        Ok(text(stdout))
    }

    /// What of ours exists in the machine, once no warm snapshot is being made and the pool of network slots is
    /// full.
    ///
    /// # Errors
    /// When the machine does not answer, or does not come to that in time.
    pub fn census(&self) -> Result<String> {
        let until = Instant::now() + PATIENCE;
        while self.machine.exec(&self.settled, PATIENCE)?.code != 0 {
            ensure!(
                Instant::now() < until,
                "warm snapshots and network slots do not settle"
            );
            std::thread::sleep(PAUSE);
        }
        // What passes is not counted: an open file of the agent, a device on its way out.
        let mut last = self.shell(CENSUS)?;
        loop {
            std::thread::sleep(PAUSE);
            let now = self.shell(CENSUS)?;
            if now == last {
                return Ok(now);
            }
            ensure!(
                Instant::now() < until,
                "what exists changes all the time:\n{now}"
            );
            last = now;
        }
    }

    /// Waits until what of ours exists is what existed `before`: the pool refills and the reaper works
    /// after the call that made them necessary was answered.
    ///
    /// # Errors
    /// When it does not come to that in time.
    pub fn await_census(&self, before: &str) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let now = self.shell(CENSUS)?;
            if now == before {
                return Ok(());
            }
            ensure!(Instant::now() < until, "before:\n{before}\nnow:\n{now}");
            std::thread::sleep(PAUSE);
        }
    }

    /// A counter or gauge of the agent; 0 when it has none of this name.
    ///
    /// # Errors
    /// When the agent shows no metrics.
    pub fn metric(&self, name: &str) -> Result<f64> {
        let shown = self.shell("curl -sS --max-time 30 http://127.0.0.1:9444/metrics")?;
        let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
        Ok(shown.lines().find_map(value).unwrap_or(0.0))
    }

    /// Arms failpoints, one a line, until [`AgentHost::disarm`].
    ///
    /// # Errors
    /// When the machine does not answer.
    pub fn arm(&self, lines: &str) -> Result<()> {
        self.shell(&format!("printf '%s\\n' '{lines}' > {FAILPOINTS}"))
            .map(drop)
    }

    /// Disarms all failpoints.
    ///
    /// # Errors
    /// When the machine does not answer.
    pub fn disarm(&self) -> Result<()> {
        self.shell(&format!("rm -f {FAILPOINTS}")).map(drop)
    }

    /// Waits until the agent stands still at a failpoint that is armed with `stop`.
    ///
    /// # Errors
    /// When it does not come there in time.
    pub fn await_stop(&self) -> Result<()> {
        const STANDS: &str = "grep -q '^State:.T' /proc/$(cat /run/agent.pid)/status";
        let until = Instant::now() + PATIENCE;
        while self.machine.exec(STANDS, PATIENCE)?.code != 0 {
            ensure!(
                Instant::now() < until,
                "the agent does not stop:\n{}",
                self.log()
            );
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Lets an agent go on that stands still; only the failpoints of `lines` are armed from then on.
    ///
    /// # Errors
    /// When the machine does not answer.
    pub fn go_on_with(&self, lines: &str) -> Result<()> {
        self.arm(lines)?;
        self.shell("kill -CONT $(cat /run/agent.pid)").map(drop)
    }

    /// Lets an agent go on that stands still; the failpoints are disarmed first.
    ///
    /// # Errors
    /// When the machine does not answer.
    pub fn go_on(&self) -> Result<()> {
        self.go_on_with("")
    }

    /// Kills the agent as kill -9 does and waits until the next one serves.
    ///
    /// # Errors
    /// When there is none to kill, or the next one does not serve.
    pub fn kill_agent(&self) -> Result<()> {
        self.shell("kill -9 $(cat /run/agent.pid)")?;
        self.await_agent()
    }

    /// Waits until an agent serves.
    ///
    /// # Errors
    /// When none does.
    pub fn await_agent(&self) -> Result<()> {
        self.machine
            .wait_for_agent(PATIENCE)
            .with_context(|| log_of(&self.machine))
    }

    /// The end of the agent's log.
    #[must_use]
    pub fn log(&self) -> String {
        log_of(&self.machine)
    }
}

fn log_of(machine: &VirtualHost) -> String {
    let text = std::fs::read_to_string(machine.agent_log_path()).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}
