//! A control plane for tests: real PostgreSQL and Redis, a certificate authority, and replicas that can be
//! killed.
//!
//! [`World`] is an installation; [`World::replica`] starts a replica of it in a runtime of its own, so that
//! killing one ends every task it had, at once, wherever it stood.

use std::{
    net::SocketAddr,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use wrenn_control_plane::{
    Checkpoint, Config, Server, Sources, bootstrap,
    ca::{self, GeneratedCa},
    config::Origin,
};
use wrenn_database::PgPool;
use wrenn_ids::TeamId;

use crate::{
    client::Client,
    postgres::Postgres,
    redis::Redis,
    simulated_agent::{Capacity, SimulatedAgent},
};

/// How long an expected change may take before the test fails.
pub const EVENTUALLY: Duration = Duration::from_secs(30);

/// An installation without any replica yet.
#[derive(Debug)]
pub struct World {
    /// Statements of the test itself.
    pub db: PgPool,
    /// Redis of this installation alone.
    pub redis: Redis,
    /// Authority for hosts.
    pub ca: GeneratedCa,
    /// The administrator's team and its key.
    pub team: TeamId,
    /// That team's API key.
    pub api_key: String,
    database_url: String,
}

/// Settings of one replica beyond the installation's.
#[derive(Default)]
pub struct Options {
    /// Called at the named points of operations.
    pub checkpoint: Option<Checkpoint>,
    /// More settings, by variable.
    pub settings: Vec<(&'static str, String)>,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl World {
    /// An installation on the process's shared PostgreSQL.
    ///
    /// # Errors
    /// When a server does not start or the database cannot be prepared.
    pub async fn new() -> Result<Self> {
        Self::on(Postgres::shared()).await
    }

    /// An installation on this PostgreSQL.
    ///
    /// # Errors
    /// When Redis does not start or the database cannot be prepared.
    pub async fn on(postgres: &Postgres) -> Result<Self> {
        let database_url = postgres.database().await?;
        let db = PgPool::connect(&database_url).await?;
        let prepared = bootstrap::ensure(&db).await?;
        let api_key = prepared
            .api_key
            .context("a new installation has a new key")?;
        Ok(Self {
            db,
            redis: Redis::start()?,
            ca: ca::generate()?,
            team: prepared.team,
            api_key: secret(&api_key),
            database_url,
        })
    }

    /// The settings of a replica.
    #[must_use]
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("DATABASE_URL", self.database_url.clone()),
            ("REDIS_URL", self.redis.url()),
            ("WRENN_LISTEN", "127.0.0.1:0".to_owned()),
            (
                "WRENN_SECRET",
                "a master secret of more than 32 bytes".to_owned(),
            ),
            ("WRENN_ENCRYPTION_KEY", "ab".repeat(32)),
            ("WRENN_CA_CERT", self.ca.cert_pem.clone()),
            ("WRENN_CA_KEY", self.ca.key_pem.clone()),
            // Tests ask faster than people; those of the limits say which.
            ("WRENN_RATE_LIMITS", "off".to_owned()),
        ]
    }

    /// Starts a replica and waits until it accepts connections.
    ///
    /// # Errors
    /// When it does not start.
    pub fn replica(&self, options: Options) -> Result<Replica> {
        let values = self.settings().into_iter().chain(options.settings);
        let mut sources = Sources::default();
        sources.add(
            Origin::Environment,
            values.map(|(name, value)| (name.to_owned(), value)),
        );
        let mut server = Server::new(Config::load(&sources)?);
        if let Some(checkpoint) = options.checkpoint {
            server = server.with_checkpoint(checkpoint);
        }
        Replica::start(server)
    }

    /// A client with the team's key.
    #[must_use]
    pub fn client(&self, replica: &Replica) -> Client {
        Client::new(replica.base_url(), Some(&self.api_key))
    }

    /// A host with a simulated agent, registered, online and ready for sandboxes.
    ///
    /// # Errors
    /// When it is not ready in time.
    pub async fn agent(&self, replica: &Replica, capacity: Capacity) -> Result<SimulatedAgent> {
        let token = self.registration_token().await?;
        let agent = SimulatedAgent::register(&replica.base_url(), &token, capacity).await?;
        agent.identity().heartbeat(&replica.base_url()).await?;
        let id = agent.host_id().as_uuid();
        eventually("the host is in sync", async || {
            let synced = "SELECT last_sync_at > now() - interval '30 s' FROM hosts WHERE id = $1";
            let synced: Option<bool> = sqlx::query_scalar(synced)
                .bind(id)
                .fetch_one(&self.db)
                .await
                .unwrap_or(None);
            synced == Some(true)
        })
        .await?;
        Ok(agent)
    }

    /// A token for a new host.
    ///
    /// # Errors
    /// When Redis or the database are away.
    pub async fn registration_token(&self) -> Result<String> {
        let issued = bootstrap::host_token(&self.db, &self.redis.url().into(), None).await?;
        Ok(secret(&issued.context("a new host gets a token")?.1))
    }
}

fn secret(text: &impl secrecy::ExposeSecret<str>) -> String {
    text.expose_secret().to_owned()
}

/// A running replica. Dropping it kills it.
#[derive(Debug)]
pub struct Replica {
    address: SocketAddr,
    shutdown: CancellationToken,
    runtime: Option<Runtime>,
    ended: mpsc::Receiver<()>,
}

impl Replica {
    fn start(server: Server) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("replica")
            .enable_all()
            .build()?;
        let shutdown = CancellationToken::new();
        let (ready, bound) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        let stop = shutdown.clone();
        runtime.spawn(async move {
            let failed = ready.clone();
            let served = server.serve(stop, move |address| {
                let _ = ready.send(Ok(address));
            });
            if let Err(error) = served.await {
                let _ = failed.send(Err(error));
            }
            let _ = end.send(());
        });
        let address = bound
            .recv_timeout(EVENTUALLY)
            .context("the replica said nothing")??;
        Ok(Self {
            address,
            shutdown,
            runtime: Some(runtime),
            ended,
        })
    }

    /// Where it serves.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends every task at once, as `kill -9` would.
    pub fn kill(mut self) {
        self.end_now();
    }

    /// Stops it as SIGTERM would and waits for the end.
    ///
    /// # Errors
    /// When it does not end within its grace.
    pub fn stop(self) -> Result<()> {
        self.shutdown.cancel();
        self.ended
            .recv_timeout(EVENTUALLY * 2)
            .context("the replica did not drain")?;
        Ok(())
    }

    fn end_now(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A runtime may not be dropped inside another one.
            thread::spawn(move || runtime.shutdown_timeout(Duration::from_secs(5)))
                .join()
                .unwrap_or(());
        }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.end_now();
    }
}

/// A checkpoint that holds every operation at `point` for ever, and says when the first arrived.
#[must_use]
pub fn hold_at(point: &'static str) -> (Checkpoint, Arc<tokio::sync::Notify>) {
    let reached = Arc::new(tokio::sync::Notify::new());
    let announce = Arc::clone(&reached);
    let checkpoint: Checkpoint = Arc::new(move |name| {
        let announce = Arc::clone(&announce);
        Box::pin(async move {
            if name == point {
                announce.notify_one();
                std::future::pending::<()>().await;
            }
        })
    });
    (checkpoint, reached)
}

/// Waits until `holds` does.
///
/// # Errors
/// When it does not within [`EVENTUALLY`].
pub async fn eventually(what: &str, holds: impl AsyncFn() -> bool) -> Result<()> {
    let begun = Instant::now();
    while !holds().await {
        ensure!(
            begun.elapsed() < EVENTUALLY,
            "it did not come to pass that {what}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}
