//! One connection per host, keyed by what identifies the peer.
//!
//! An entry is (host id, address, fingerprints); a change of any of them drops it, so that a call can
//! never travel over a connection that was made to somebody else.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustls::{ClientConfig, RootCertStore, client::WebPkiServerVerifier, version::TLS13};
use wrenn_api::ErrorCode;
use wrenn_database::{PgPool, Target, host_target};
use wrenn_ids::HostId;
use wrenn_rpc::{
    connectrpc::{
        CompressionRegistry,
        client::{CallOptions, ClientConfig as RpcConfig, Http2Connection, SharedHttp2Connection},
    },
    hostagent::HostAgentClient,
};

use super::{identity::Identity, verify::PinnedHost};
use crate::{app, ca};

/// A client of one host.
pub(crate) type Client = HostAgentClient<SharedHttp2Connection>;

/// Body of an answer.
pub(crate) type ResponseBody =
    <SharedHttp2Connection as wrenn_rpc::connectrpc::client::ClientTransport>::ResponseBody;

/// Longest wait for TCP.
const CONNECT: Duration = Duration::from_secs(4);
/// Longest wait for TCP, TLS and HTTP/2 together; an emulated host under load takes seconds for TLS.
const ESTABLISH: Duration = Duration::from_secs(15);
/// How often a connection is asked for a sign of life.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// A connection without that sign for this long is dead, with every call on it.
const DEAD: Duration = Duration::from_secs(30);
/// Calls that may wait for one connection.
const QUEUE: usize = 1024;
/// Bytes that one slow reader may hold in memory.
const STREAM_WINDOW: u32 = 512 << 10;
/// Bytes that all slow readers of a host may hold before they slow each other down.
const CONNECTION_WINDOW: u32 = 64 << 20;
/// Largest answer: two streams of 16 MiB and their frame.
const MAX_MESSAGE: usize = 40 << 20;

/// Clients of hosts.
pub(crate) struct Pool {
    db: PgPool,
    roots: Arc<RootCertStore>,
    identity: Arc<Identity>,
    entries: Mutex<HashMap<HostId, (Target, Client)>>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

impl Pool {
    pub(crate) fn new(db: PgPool, roots: RootCertStore, identity: Arc<Identity>) -> Self {
        Self {
            db,
            roots: Arc::new(roots),
            identity,
            entries: Mutex::default(),
        }
    }

    /// The client of a host; `None` when the host is deleted or never registered.
    ///
    /// # Errors
    /// The database is away, or the host's address is unusable.
    pub(crate) async fn client(&self, host: HostId) -> app::Result<Option<Client>> {
        let Some(target) = host_target(&self.db, host).await? else {
            self.entries().remove(&host);
            return Ok(None);
        };
        if let Some((known, client)) = self.entries().get(&host)
            && *known == target
        {
            return Ok(Some(client.clone()));
        }
        let client = self.connect(host, &target).map_err(|error| {
            app::Error::new(
                ErrorCode::HostUnavailable,
                "the sandbox's host cannot be reached",
            )
            .because(error)
        })?;
        self.entries().insert(host, (target, client.clone()));
        Ok(Some(client))
    }

    /// Closes the connection to a host that was deleted.
    pub(crate) fn forget(&self, host: HostId) {
        self.entries().remove(&host);
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, HashMap<HostId, (Target, Client)>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connect(
        &self,
        host: HostId,
        target: &Target,
    ) -> Result<Client, Box<dyn std::error::Error + Send + Sync>> {
        let verifier = PinnedHost {
            chain: WebPkiServerVerifier::builder(Arc::clone(&self.roots)).build()?,
            uri: ca::host_uri(host),
            fingerprints: [
                Some(target.fingerprint.clone()),
                target.prev_fingerprint.clone(),
            ]
            .into_iter()
            .flatten()
            .collect(),
        };
        let identity: Arc<Identity> = Arc::clone(&self.identity);
        let tls = ClientConfig::builder_with_protocol_versions(&[&TLS13])
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(identity);
        let uri: http::Uri = format!("https://{}", target.address).parse()?;
        let connection = Http2Connection::builder()
            .tcp_connect_timeout(CONNECT)
            .establishment_timeout(ESTABLISH)
            .keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(DEAD)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .lazy_tls(uri.clone(), Arc::new(tls))
            .shared(QUEUE);
        // Sandboxes' bytes are mostly incompressible or local: no codec on the way.
        let config = RpcConfig::new(uri)
            .with_default_max_message_size(MAX_MESSAGE)
            .with_compression(CompressionRegistry::new());
        Ok(HostAgentClient::new(connection, config))
    }
}

/// Options of a call that must be over in this time.
pub(crate) fn within(limit: Duration) -> CallOptions {
    CallOptions::default().with_timeout(limit)
}
