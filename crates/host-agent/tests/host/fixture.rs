//! The shared machines, and short words for what tests ask of the agent.

use std::{
    ops::{Deref, DerefMut},
    path::Path,
    sync::{
        Mutex, MutexGuard, Once, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use wrenn_ids::{HostId, SandboxId, TemplateId};
use wrenn_rpc::{
    connectrpc::{ConnectError, client::CallOptions},
    hostagent::{
        Command, CreateSandboxRequest, DestroySandboxRequest, ErrorDetail, ExecRequest,
        ExecResponse, GetSandboxRequest, ListSandboxesRequest, Operation, Sandbox,
        error_detail::Reason,
    },
};
use wrenn_testkit::virtual_host_agent::AgentHost;

/// Machines that no test holds: there are as many as tests have run at once.
static IDLE: Mutex<Vec<AgentHost>> = Mutex::new(Vec::new());

/// One did not start: nor would the next.
static BROKEN: AtomicBool = AtomicBool::new(false);

/// A machine that one test holds, since then.
pub(crate) struct Held(Option<AgentHost>, Instant);

/// Arms the failpoint that has every resumption of several layers use a page server.
pub(crate) const SERVED: &str = "flat.make=fail";

/// Armed, it makes creations boot.
pub(crate) const BOOT: &str = "warm.lookup=fail";

/// Armed, it makes restorations start their VMs.
pub(crate) const NOT_READY: &str = "ready.take=fail";

/// Warm snapshots made, each counted when nothing of its seed is left.
pub(crate) const WARM_BUILDS: &str = "wrenn_agent_warm_builds_total";

/// Waits until a metric of the agent is so high.
pub(crate) fn await_metric(host: &AgentHost, name: &str, least: f64) {
    let until = Instant::now() + Duration::from_secs(300);
    loop {
        let now = host.metric(name).expect("it is shown");
        if now >= least {
            return;
        }
        assert!(Instant::now() < until, "{name} is {now}\n{}", host.log());
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Names of the warm snapshots that are whole.
pub(crate) fn warm(host: &AgentHost) -> Vec<String> {
    let list = "cd /var/lib/wrenn/warm 2>/dev/null && ls -d */template.json 2>/dev/null; true";
    let listed = host.shell(list).expect("they are listed");
    let names = listed.lines().filter_map(|line| line.split_once('/'));
    names.map(|(name, _)| name.to_owned()).collect()
}

/// A machine, alone: one that is idle, or else another.
pub(crate) fn host() -> Held {
    let idle = idle().pop();
    Held(Some(idle.unwrap_or_else(start)), Instant::now())
}

fn idle() -> MutexGuard<'static, Vec<AgentHost>> {
    IDLE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn log() {
    static LOG: Once = Once::new();
    LOG.call_once(|| {
        let filter = std::env::var("WRENN_TEST_LOG")
            .unwrap_or_else(|_| "warn,wrenn_testkit=info,host::fixture=info".into());
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .init();
    });
}

fn start() -> AgentHost {
    // What is restored ahead would be in every count; what is started ahead is started anew after each agent.
    own(&[("WRENN_SPARES", "0"), ("WRENN_READY_VMS", "1")])
}

/// Starts a machine whose agent has these settings.
pub(crate) fn own(settings: &[(&str, &str)]) -> AgentHost {
    log();
    assert!(!BROKEN.load(Ordering::SeqCst), "no machine starts");
    let program = Path::new(env!("CARGO_BIN_EXE_wrenn-agent-under-test"));
    let host = AgentHost::start(program, settings).unwrap_or_else(|error| {
        BROKEN.store(true, Ordering::SeqCst);
        panic!("start the agent in a virtual host: {error:?}");
    });
    // Creations of the smallest sandbox are restores from here on; BOOT makes them boots.
    destroy(&host, create(&host));
    await_metric(&host, WARM_BUILDS, 1.0);
    host
}

impl Deref for Held {
    type Target = AgentHost;

    fn deref(&self) -> &AgentHost {
        self.0.as_ref().expect("it is held")
    }
}

impl DerefMut for Held {
    fn deref_mut(&mut self) -> &mut AgentHost {
        self.0.as_mut().expect("it is held")
    }
}

impl Drop for Held {
    /// What a failed test leaves there is removed, so that one failure stays one; if that fails too, the machine is
    /// not used again.
    fn drop(&mut self) {
        let Some(host) = self.0.take() else { return };
        let (thread, time) = (std::thread::current(), self.1.elapsed());
        tracing::info!(
            "{:>5.1} s {}",
            time.as_secs_f64(),
            thread.name().unwrap_or_default()
        );
        if !std::thread::panicking() || clean(&host).is_ok() {
            idle().push(host);
        }
    }
}

fn clean(host: &AgentHost) -> anyhow::Result<()> {
    host.go_on()?;
    let left = host.block_on(host.client.list_sandboxes(ListSandboxesRequest::default()))?;
    for sandbox in left.into_owned().sandboxes {
        let request = destroy_request(host, sandbox.sandbox_id.parse()?);
        host.block_on(host.client.destroy_sandbox(request))?;
    }
    Ok(())
}

/// A new operation of this generation.
pub(crate) fn operation(host: &AgentHost, generation: u64) -> Operation {
    operation_for(host.authority.host_id, generation)
}

pub(crate) fn operation_for(host_id: HostId, generation: u64) -> Operation {
    Operation {
        op_id: format!("op-{}", SandboxId::new()),
        generation,
        host_id: host_id.to_string(),
        ..Operation::default()
    }
}

/// A request for the smallest sandbox.
pub(crate) fn create_request(host: &AgentHost, id: SandboxId) -> CreateSandboxRequest {
    CreateSandboxRequest {
        operation: operation(host, 1).into(),
        sandbox_id: id.to_string(),
        template_id: TemplateId::ZERO.to_string(),
        vcpus: 1,
        memory_mib: 256,
        disk_mib: 1024,
        ..CreateSandboxRequest::default()
    }
}

/// Creates the smallest sandbox.
pub(crate) fn create(host: &AgentHost) -> SandboxId {
    let [id] = create_at_once(host);
    id
}

/// Creates so many of the smallest sandboxes at once.
pub(crate) fn create_at_once<const COUNT: usize>(host: &AgentHost) -> [SandboxId; COUNT] {
    let ids = std::array::from_fn(|_| SandboxId::new());
    let created = ids.map(|id| host.client.create_sandbox(create_request(host, id)));
    for created in host.block_on(futures::future::join_all(created)) {
        if let Err(error) = created {
            panic!("create: {error}\n{}", host.log());
        }
    }
    ids
}

/// Destroys a sandbox.
pub(crate) fn destroy(host: &AgentHost, id: SandboxId) {
    let destroyed = host.block_on(host.client.destroy_sandbox(destroy_request(host, id)));
    if let Err(error) = destroyed {
        panic!("destroy: {error}\n{}", host.log());
    }
}

fn destroy_request(host: &AgentHost, id: SandboxId) -> DestroySandboxRequest {
    DestroySandboxRequest {
        operation: operation(host, 2).into(),
        sandbox_id: id.to_string(),
        ..DestroySandboxRequest::default()
    }
}

/// A sandbox as the agent describes it.
pub(crate) fn get(host: &AgentHost, id: SandboxId) -> Result<Sandbox, ConnectError> {
    let request = GetSandboxRequest {
        sandbox_id: id.to_string(),
        ..Default::default()
    };
    let answer = host
        .block_on(host.client.get_sandbox(request))?
        .into_owned();
    Ok(answer
        .sandbox
        .into_option()
        .expect("an answer holds the sandbox"))
}

/// A program with its arguments.
pub(crate) fn command(words: &[&str]) -> Command {
    let mut words = words.iter().map(|word| (*word).to_owned());
    Command {
        cmd: words.next().unwrap_or_default(),
        args: words.collect(),
        ..Command::default()
    }
}

/// Runs a program to its end.
pub(crate) fn exec(
    host: &AgentHost,
    id: SandboxId,
    words: &[&str],
) -> Result<ExecResponse, ConnectError> {
    let request = ExecRequest {
        sandbox_id: id.to_string(),
        command: command(words).into(),
        timeout_ms: 120_000,
        ..ExecRequest::default()
    };
    let options = CallOptions::default().with_timeout(Duration::from_secs(180));
    Ok(host
        .block_on(host.client.exec_with_options(request, options))?
        .into_owned())
}

/// Standard output of a shell line that must end with 0.
pub(crate) fn sh(host: &AgentHost, id: SandboxId, line: &str) -> String {
    let done = exec(host, id, &["/bin/sh", "-c", line]).expect("the shell runs");
    let stderr = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.exit_code, 0, "`{line}`: {stderr}");
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// The name of a running sandbox's VM, and the process that it is.
pub(crate) fn vmm(host: &AgentHost, id: SandboxId) -> (String, u64) {
    let record = host.shell(&format!("cat /var/lib/wrenn/sandboxes/{id}/manifest.json"));
    let record: serde_json::Value =
        serde_json::from_str(&record.expect("read its record")).expect("it is JSON");
    let live = &record["live"];
    let name = live["vm"].as_str().expect("a name").to_owned();
    (name, live["process"]["pid"].as_u64().expect("a pid"))
}

/// Flips one bit in the middle of a file; the second time it is as it was.
pub(crate) fn flip(host: &AgentHost, path: &str) {
    let flip = format!(
        "at=$(($(stat -c %s {path}) / 4096 / 2 * 4096)) && \
         old=$(dd if={path} bs=1 skip=$at count=1 2>/dev/null | od -An -tu1 | tr -d ' ') && \
         printf \"\\\\$(printf %o $((old ^ 1)))\" | dd of={path} bs=1 seek=$at conv=notrunc 2>/dev/null"
    );
    host.shell(&flip).expect("flip a bit");
}

/// The typed reason of an error.
pub(crate) fn reason(error: &ConnectError) -> Reason {
    use base64::Engine as _;
    use wrenn_rpc::buffa::Message as _;
    let detail = error
        .details
        .first()
        .and_then(|detail| detail.value.as_ref());
    let engine = base64::engine::general_purpose::STANDARD_NO_PAD;
    let bytes = detail
        .and_then(|value| engine.decode(value).ok())
        .unwrap_or_default();
    let detail = ErrorDetail::decode_from_slice(&bytes).expect("a detail is a message");
    detail
        .reason
        .as_known()
        .unwrap_or(Reason::REASON_UNSPECIFIED)
}
