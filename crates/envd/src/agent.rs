//! The serving envd: builds the shared state, opens the listeners, starts what runs beside them.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use tokio::{net::TcpListener, runtime};

use crate::{
    console,
    filesystem::watch::Watchers,
    flags::{Settings, Surroundings},
    guest::{cgroup::Cgroups, disk, mmds, vital::Meter},
    http::{self, identity},
    ports,
    process::{self, Processes, descriptors},
    sandbox::Sandbox,
    server::{self, connections::Connections, gate::Audience, hostkey::HostKey},
    standstill::Standstill,
    users::Users,
};

/// The port of every guest's agent.
const PORT: u16 = 49983;
/// Each process that starts may hold a thread, and files must not wait for them.
const MAX_BLOCKED: usize = process::MAX_LIVE + 512;
const MMDS_PERIOD: Duration = Duration::from_millis(50);
const MMDS_PATIENCE: Duration = Duration::from_secs(60);

/// What all requests share.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) surroundings: Surroundings,
    pub(crate) sandbox: Sandbox,
    pub(crate) users: Users,
    pub(crate) processes: Arc<Processes>,
    pub(crate) watchers: Watchers,
    pub(crate) connections: Connections,
    pub(crate) host_key: HostKey,
    pub(crate) meter: Meter,
    pub(crate) standstill: Standstill,
    /// One `/init`, freeze or thaw at a time.
    pub(crate) turn: Arc<tokio::sync::Mutex<()>>,
}

impl Agent {
    pub(crate) fn new(settings: &Settings) -> Self {
        let users = Users::system();
        let cgroups = settings.cgroup_root.as_deref().and_then(|root| {
            Cgroups::open(root)
                .inspect_err(|fault| tracing::warn!(%fault, "no cgroups: processes are not placed"))
                .ok()
        });
        Self {
            surroundings: settings.surroundings,
            sandbox: Sandbox::new(settings, &users),
            users,
            processes: Processes::new(cgroups),
            watchers: Watchers::default(),
            connections: Connections::default(),
            host_key: HostKey::default(),
            meter: Meter::default(),
            standstill: Standstill::default(),
            turn: Arc::default(),
        }
    }
}

/// Serves until the process is ended.
pub(crate) fn run(settings: Settings) -> ExitCode {
    console::install(settings.log_level);
    if let Err(fault) = descriptors::raise() {
        tracing::warn!(%fault, "descriptors may run out");
    }
    // One thread: a request passes several tasks, and in a guest of one or two processors waking another
    // thread for each costs more than it gains. What blocks has threads of its own.
    let runtime = match runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(MAX_BLOCKED)
        .build()
    {
        Ok(runtime) => runtime,
        Err(fault) => {
            tracing::error!(%fault, "cannot start the runtime");
            return ExitCode::FAILURE;
        }
    };
    let Err(fault) = runtime.block_on(serve(settings));
    tracing::error!(%fault, "cannot serve");
    ExitCode::FAILURE
}

async fn serve(settings: Settings) -> io::Result<std::convert::Infallible> {
    let agent = Arc::new(Agent::new(&settings));
    let router = http::router(&agent);
    let mut listeners = tokio::task::JoinSet::new();
    for (address, audience) in addresses(&settings)? {
        let listener = TcpListener::bind(address).await?;
        tracing::info!(address = %listener.local_addr()?, "listening");
        listeners.spawn(server::accept(
            listener,
            audience,
            router.clone(),
            Arc::clone(&agent),
        ));
    }
    if settings.surroundings == Surroundings::Vm {
        server::protect_self();
        tokio::task::spawn_blocking(|| disk::grow_root().inspect_err(tell_disk));
        tokio::spawn(learn_identity(Arc::clone(&agent)));
        if let Ok(guest) = guest_address() {
            tokio::spawn(ports::forward(guest, PORT));
        }
    }
    if rustix::process::getpid().is_init() {
        tokio::spawn(crate::process::orphans::reap(Arc::clone(&agent.processes)));
    }
    listeners.join_next().await;
    Err(io::Error::other("a listener ended"))
}

/// Tells of a disk that stays as small as its image.
pub(crate) fn tell_disk(fault: &disk::GrowError) {
    tracing::warn!(
        fault = fault as &dyn std::error::Error,
        "the disk keeps its size"
    );
}

/// Where to listen, and for whom.
fn addresses(settings: &Settings) -> io::Result<Vec<(SocketAddr, Audience)>> {
    if !settings.listen.is_empty() {
        return Ok(settings
            .listen
            .iter()
            .map(|address| (*address, Audience::Everybody))
            .collect());
    }
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
    let guest = SocketAddr::from((guest_address()?, PORT));
    Ok(vec![
        (guest, Audience::Everybody),
        (loopback, Audience::Guest),
    ])
}

/// The address from which the guest reaches its metadata service, which is that of its one device.
fn guest_address() -> io::Result<IpAddr> {
    let probe = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    probe.connect((Ipv4Addr::new(169, 254, 169, 254), 80))?;
    Ok(probe.local_addr()?.ip())
}

/// Learns at boot what the sandbox is called; `/init` learns it again.
async fn learn_identity(agent: Arc<Agent>) {
    let started = tokio::time::Instant::now();
    while started.elapsed() < MMDS_PATIENCE {
        match mmds::fetch().await {
            Ok(metadata) => return identity::adopt(&agent, &metadata),
            Err(_) => tokio::time::sleep(MMDS_PERIOD).await,
        }
    }
    tracing::warn!("the metadata service did not answer for 60 s");
}
