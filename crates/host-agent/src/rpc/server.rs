//! The listener: mutual TLS 1.3, HTTP/2, bounded messages.

use std::{future::IntoFuture as _, net::SocketAddr, sync::Arc, time::Duration};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use wrenn_rpc::{
    connectrpc::{CompressionRegistry, ConnectRpcService, Limits, Router, axum::serve_tls},
    hostagent::HostAgentExt as _,
};

use super::service::Service;
use crate::{
    identity::{Identity, TlsError},
    sandbox::Registry,
};

/// Longest message: an exec request has at most 256 KiB of arguments and 8 MiB of variables.
const MESSAGE_LIMIT: usize = 16 << 20;
/// Time that calls get to end when the agent stops.
const DRAIN: Duration = Duration::from_secs(5);

/// Why the control plane is not served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken, or not ours.
    #[error("listen on {0}")]
    Listen(SocketAddr, #[source] std::io::Error),
    /// No TLS.
    #[error("prepare TLS")]
    Tls(#[from] TlsError),
    /// The listener broke.
    #[error("accept connections")]
    Accept(#[source] std::io::Error),
}

/// A bound server that does not accept yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    registry: Arc<Registry>,
    identity: Arc<Identity>,
}

impl Server {
    /// Binds the configured address.
    ///
    /// # Errors
    /// When it is taken.
    pub async fn bind(
        registry: Arc<Registry>,
        identity: Arc<Identity>,
    ) -> Result<Self, ServeError> {
        let address = registry.host().config.listen;
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| ServeError::Listen(address, source))?;
        Ok(Self {
            listener,
            registry,
            identity,
        })
    }

    /// Serves until `cancel`; then calls get a few seconds to end.
    ///
    /// # Errors
    /// When the listener breaks.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), ServeError> {
        let tls = self.identity.tls().server_config()?;
        let service = Arc::new(Service::new(self.registry, self.identity.host_id()));
        let limits = Limits::default()
            .with_max_request_body_size(MESSAGE_LIMIT)
            .with_max_message_size(MESSAGE_LIMIT);
        let rpc = ConnectRpcService::new(service.register(Router::new()))
            .with_limits(limits)
            .with_compression(CompressionRegistry::new());
        let app = axum::Router::new().fallback_service(rpc);
        let stop = cancel.clone();
        let serving = serve_tls(self.listener, app, tls)
            .with_graceful_shutdown(async move { stop.cancelled().await })
            .into_future();
        let overdue = async {
            cancel.cancelled().await;
            tokio::time::sleep(DRAIN).await;
        };
        tokio::select! {
            served = serving => served.map_err(ServeError::Accept),
            () = overdue => Ok(()),
        }
    }
}
