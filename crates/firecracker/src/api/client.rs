//! HTTP over the API socket. One connection a request: the socket is local, a request costs microseconds,
//! and a client that holds no connection has no broken one to detect.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::types::{
    Balloon, BalloonUpdate, Drive, DriveUpdate, Fault, FirecrackerVersion, InstanceInfo,
    NetworkInterface, NetworkInterfaceUpdate,
};

/// Wait for any request but snapshots, unless a client is given another.
pub const REQUEST_DEADLINE: Duration = Duration::from_secs(10);
/// Wait for a snapshot to be written or loaded.
pub const SNAPSHOT_DEADLINE: Duration = Duration::from_secs(120);
/// Largest reply that is read; the VMM is not trusted with our memory.
const REPLY_LIMIT: usize = 1 << 20;

/// A call to Firecracker that did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// The socket could not be reached: the VM is gone or not there yet.
    #[error("{action}: connect to Firecracker's API socket")]
    Connect {
        action: String,
        #[source]
        source: io::Error,
    },
    /// The connection broke or spoke no HTTP.
    #[error("{action}: talk to Firecracker")]
    Exchange {
        action: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Firecracker said no, in these words.
    #[error("{action}: Firecracker answered {status}: {fault}")]
    Refused {
        action: String,
        status: StatusCode,
        fault: String,
    },
    /// The answer is not the documented JSON.
    #[error("{action}: read Firecracker's answer")]
    Malformed {
        action: String,
        #[source]
        source: serde_json::Error,
    },
    /// No answer in time.
    #[error("{action}: no answer from Firecracker after {} ms", after.as_millis())]
    Deadline { action: String, after: Duration },
}

/// A client of one Firecracker. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ApiClient {
    /// The socket's directory, held open so that its path may be longer than a socket address allows.
    directory: Arc<File>,
    socket: Arc<str>,
    deadline: Duration,
}

impl ApiClient {
    /// A client of the socket `socket` in `directory`; nothing is connected yet.
    pub fn new(directory: &Path, socket: &str) -> io::Result<Self> {
        Ok(Self {
            directory: Arc::new(File::open(directory)?),
            socket: socket.into(),
            deadline: REQUEST_DEADLINE,
        })
    }

    /// The same with another wait for any request but snapshots.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// `GET /`: id, state and version.
    pub async fn describe(&self) -> Result<InstanceInfo, ApiError> {
        self.get("describe the instance", "/").await
    }

    /// `GET /version`.
    pub async fn version(&self) -> Result<FirecrackerVersion, ApiError> {
        self.get("get the version", "/version").await
    }

    /// `PUT /drives/{id}`.
    pub(super) async fn put_drive(&self, drive: &Drive) -> Result<(), ApiError> {
        self.put(
            &format!("put drive {}", drive.drive_id),
            &format!("/drives/{}", drive.drive_id),
            drive,
        )
        .await
    }

    /// `PATCH /drives/{id}`.
    pub(super) async fn patch_drive(&self, drive: &DriveUpdate) -> Result<(), ApiError> {
        let action = format!("update drive {}", drive.drive_id);
        self.patch(&action, &format!("/drives/{}", drive.drive_id), drive)
            .await
    }

    /// `PUT /network-interfaces/{id}`.
    pub(super) async fn put_network_interface(
        &self,
        interface: &NetworkInterface,
    ) -> Result<(), ApiError> {
        let action = format!("put network interface {}", interface.iface_id);
        self.put(
            &action,
            &format!("/network-interfaces/{}", interface.iface_id),
            interface,
        )
        .await
    }

    /// `PATCH /network-interfaces/{id}`.
    pub(super) async fn patch_network_interface(
        &self,
        interface: &NetworkInterfaceUpdate,
    ) -> Result<(), ApiError> {
        let action = format!("update network interface {}", interface.iface_id);
        self.patch(
            &action,
            &format!("/network-interfaces/{}", interface.iface_id),
            interface,
        )
        .await
    }

    /// `PUT /balloon`.
    pub(super) async fn put_balloon(&self, balloon: &Balloon) -> Result<(), ApiError> {
        self.put("put the balloon", "/balloon", balloon).await
    }

    /// `PATCH /balloon`.
    pub(super) async fn patch_balloon(&self, balloon: &BalloonUpdate) -> Result<(), ApiError> {
        self.patch("update the balloon", "/balloon", balloon).await
    }

    pub(super) async fn put(
        &self,
        action: &str,
        path: &str,
        body: &impl Serialize,
    ) -> Result<(), ApiError> {
        self.send(action, Method::PUT, path, body, self.deadline)
            .await
            .map(drop)
    }

    pub(super) async fn put_slow(
        &self,
        action: &str,
        path: &str,
        body: &impl Serialize,
    ) -> Result<(), ApiError> {
        self.send(action, Method::PUT, path, body, SNAPSHOT_DEADLINE)
            .await
            .map(drop)
    }

    pub(super) async fn patch(
        &self,
        action: &str,
        path: &str,
        body: &impl Serialize,
    ) -> Result<(), ApiError> {
        self.send(action, Method::PATCH, path, body, self.deadline)
            .await
            .map(drop)
    }

    async fn get<T: DeserializeOwned>(&self, action: &str, path: &str) -> Result<T, ApiError> {
        let body = self
            .exchange(action, Method::GET, path, Bytes::new(), self.deadline)
            .await?;
        serde_json::from_slice(&body).map_err(|source| ApiError::Malformed {
            action: action.into(),
            source,
        })
    }

    async fn send(
        &self,
        action: &str,
        method: Method,
        path: &str,
        body: &impl Serialize,
        deadline: Duration,
    ) -> Result<Bytes, ApiError> {
        let body = serde_json::to_vec(body).map_err(|source| ApiError::Malformed {
            action: action.into(),
            source,
        })?;
        self.exchange(action, method, path, body.into(), deadline)
            .await
    }

    async fn exchange(
        &self,
        action: &str,
        method: Method,
        path: &str,
        body: Bytes,
        deadline: Duration,
    ) -> Result<Bytes, ApiError> {
        match tokio::time::timeout(
            deadline,
            self.exchange_unbounded(action, method, path, body),
        )
        .await
        {
            Ok(answer) => answer,
            Err(_) => Err(ApiError::Deadline {
                action: action.into(),
                after: deadline,
            }),
        }
    }

    async fn exchange_unbounded(
        &self,
        action: &str,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Bytes, ApiError> {
        let broken = |source: Box<dyn std::error::Error + Send + Sync>| ApiError::Exchange {
            action: action.into(),
            source,
        };
        let stream = self.connect().await.map_err(|source| ApiError::Connect {
            action: action.into(),
            source,
        })?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| broken(error.into()))?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::HOST, "localhost")
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| broken(error.into()))?;
        let answer = async {
            let response = sender
                .send_request(request)
                .await
                .map_err(|error| broken(error.into()))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), REPLY_LIMIT)
                .collect()
                .await
                .map_err(broken)?
                .to_bytes();
            Ok((status, body))
        };
        let (status, body) = drive(connection, answer).await?;
        if status.is_success() {
            return Ok(body);
        }
        let fault = match serde_json::from_slice::<Fault>(&body) {
            Ok(fault) => fault.fault_message,
            Err(_) => String::from_utf8_lossy(&body).chars().take(500).collect(),
        };
        Err(ApiError::Refused {
            action: action.into(),
            status,
            fault,
        })
    }

    pub(crate) async fn connect(&self) -> io::Result<UnixStream> {
        UnixStream::connect(format!(
            "/proc/self/fd/{}/{}",
            self.directory.as_raw_fd(),
            self.socket
        ))
        .await
    }
}

/// Runs the connection's own future beside the exchange, without a task of its own.
async fn drive<T>(connection: impl Future, exchange: impl Future<Output = T>) -> T {
    let mut connection = std::pin::pin!(connection);
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        biased;
        answer = &mut exchange => answer,
        // The connection's own failure reaches the exchange, which then names what was attempted.
        _ = &mut connection => exchange.await,
    }
}
