//! Client of the agent in a guest (guest.md §3–§9).
//!
//! Everything that comes back is hostile: bodies are bounded, waits have deadlines, texts of the guest are
//! never shown or logged. One [`Envd`] belongs to one generation of one sandbox and holds its connection
//! pool: when the generation ends the pool goes with it, so that a reused address is never reached through
//! an old connection.

mod error;
mod files;
mod health;
mod init;
mod process;
mod signals;
mod standstill;

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderValue, Request, Response, Uri, header};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use wrenn_rpc::{
    connectrpc::{
        CompressionRegistry,
        client::{ClientBody, ClientConfig, ServiceTransport},
    },
    process::ProcessClient,
};

pub use self::{
    error::{Error, Reason},
    files::{FileContent, PIECE, Upload},
    health::Unhealthy,
    init::Init,
    process::{Event, Launch, Process, Stdin},
};
use crate::{identity::Token, pace::Pace};

/// Where envd listens.
pub const PORT: u16 = 49983;
/// Connections kept for later requests, and for how long.
const IDLE_CONNECTIONS: usize = 32;
const IDLE_TIME: Duration = Duration::from_secs(90);
/// Longest single message of a guest.
const MESSAGE_LIMIT: usize = 1 << 20;
/// Longest wait for a unary answer, before stretching.
const CALL_DEADLINE: Duration = Duration::from_secs(10);

type Http = Client<HttpConnector, ClientBody>;

/// The guest agent of one generation of one sandbox.
#[derive(Clone)]
pub struct Envd {
    inner: Arc<Inner>,
}

struct Inner {
    http: Http,
    process: ProcessClient<ServiceTransport<Http>>,
    address: SocketAddr,
    token: HeaderValue,
    default_user: String,
    pace: Pace,
}

impl Envd {
    /// The guest that the host reaches at `address` and whose access token is `token`.
    ///
    /// # Errors
    /// When the token cannot stand in a header.
    pub fn new(
        address: Ipv4Addr,
        token: &Token,
        default_user: &str,
        pace: Pace,
    ) -> Result<Self, Error> {
        let address = SocketAddr::from((address, PORT));
        let mut header = HeaderValue::from_str(token.expose()).map_err(|_| Error::BadHeader)?;
        header.set_sensitive(true);
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(pace.stretch(Duration::from_secs(2))));
        let http: Http = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIME)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .build(connector);
        let base: Uri = format!("http://{address}")
            .parse()
            .map_err(|_| Error::BadHeader)?;
        let config = ClientConfig::new(base)
            .with_compression(CompressionRegistry::new())
            .with_default_max_message_size(MESSAGE_LIMIT)
            .with_default_header("x-access-token", header.clone());
        let process = ProcessClient::new(ServiceTransport::new(http.clone()), config);
        let default_user = default_user.to_owned();
        Ok(Self {
            inner: Arc::new(Inner {
                http,
                process,
                address,
                token: header,
                default_user,
                pace,
            }),
        })
    }

    fn deadline(&self) -> Duration {
        self.inner.pace.stretch(CALL_DEADLINE)
    }

    fn uri(&self, path_and_query: &str) -> String {
        format!("http://{}{path_and_query}", self.inner.address)
    }

    /// The user of a request, the way envd is told.
    fn basic(&self, user: Option<&str>) -> Result<HeaderValue, Error> {
        let user = user.unwrap_or(&self.inner.default_user);
        HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(format!("{user}:"))))
            .map_err(|_| Error::BadHeader)
    }

    /// Sends a request and waits for the head of its answer.
    async fn send(&self, mut request: Request<ClientBody>) -> Result<Response<Incoming>, Error> {
        let headers = request.headers_mut();
        headers.insert("x-access-token", self.inner.token.clone());
        headers.insert(
            header::ACCEPT_ENCODING,
            HeaderValue::from_static("identity"),
        );
        self.inner
            .http
            .request(request)
            .await
            .map_err(|error| Error::Unreachable(error.into()))
    }
}

impl fmt::Debug for Envd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Envd")
            .field("address", &self.inner.address)
            .finish_non_exhaustive()
    }
}
