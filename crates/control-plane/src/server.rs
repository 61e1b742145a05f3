//! A replica from start to drain.

use std::{fmt, future::Future, net::SocketAddr, sync::Arc, time::Duration};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    background,
    config::Config,
    hosts::identity::IdentityError,
    http,
    listen::{self, Ends},
    state::{App, Checkpoint},
    telemetry,
};

/// How long requests in flight may take after the signal to stop.
const DRAIN: Duration = Duration::from_secs(20);

/// Why a replica did not start or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// `DATABASE_URL` cannot be used.
    #[error("DATABASE_URL cannot be used")]
    Database(#[source] wrenn_database::Error),
    /// `REDIS_URL` cannot be used.
    #[error("REDIS_URL cannot be used")]
    Redis(#[source] redis::RedisError),
    /// TLS towards hosts cannot be set up.
    #[error("the certificate authority cannot be used for TLS")]
    Tls(#[source] rustls::Error),
    /// Mail cannot be sent by these settings.
    #[error("the settings of mail cannot be used")]
    Mail(#[from] crate::mail::MailError),
    /// There is no HTTP client for OAuth providers.
    #[error("OAuth providers cannot be reached")]
    Oauth(#[from] crate::oauth::ProviderError),
    /// This replica has no client certificate.
    #[error("this replica cannot identify itself to hosts")]
    Identity(#[from] IdentityError),
    /// The listening address is taken or not ours.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// A replica that is about to serve.
pub struct Server {
    config: Config,
    checkpoint: Option<Checkpoint>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// Serves until `shutdown` is cancelled, then drains for at most 20 s.
///
/// The database must be migrated; it and Redis may be away, requests get 503 until they are back.
///
/// # Errors
/// The settings cannot be used, or the listening address is taken.
pub async fn serve(config: Config, shutdown: CancellationToken) -> Result<(), ServeError> {
    Server::new(config).serve(shutdown, |_| {}).await
}

impl Server {
    /// A replica with these settings.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            checkpoint: None,
        }
    }

    /// Has every operation call `checkpoint` at its named points; for tests of what survives a crash.
    #[must_use]
    pub fn with_checkpoint(mut self, checkpoint: Checkpoint) -> Self {
        self.checkpoint = Some(checkpoint);
        self
    }

    /// As [`serve`]; calls `ready` with the bound address once connections are accepted.
    ///
    /// # Errors
    /// The settings cannot be used, or the listening address is taken.
    pub async fn serve(
        self,
        shutdown: CancellationToken,
        ready: impl FnOnce(SocketAddr),
    ) -> Result<(), ServeError> {
        // Another provider in the process is fine as long as it is the same one.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        telemetry::install();
        let address = self.config.listen;
        let stop = CancellationToken::new();
        let (app, outgoing) = App::new(self.config, stop.clone(), self.checkpoint)?;
        let failed = |source| ServeError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        app.tasks
            .spawn(Arc::clone(&app.bus).run(outgoing, stop.clone()));
        background::start(&app);
        tracing::info!(address = %bound, replica = %app.replica, "serving");
        ready(bound);
        let ends = Ends {
            drain: shutdown.clone(),
            stop: stop.clone(),
        };
        let requests = listen::serve(listener, http::router(Arc::clone(&app)), ends);
        drain(requests, &shutdown).await;
        // Streams and operations end now; whoever claims an operation next continues it.
        stop.cancel();
        app.tasks.close();
        let _ = tokio::time::timeout(DRAIN, app.tasks.wait()).await;
        app.db.close().await;
        Ok(())
    }
}

/// Runs to the end, but no longer than [`DRAIN`] after the signal.
async fn drain(requests: impl Future<Output = ()>, shutdown: &CancellationToken) {
    let late = async {
        shutdown.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        () = requests => {}
        () = late => {}
    }
}
