//! A host agent without virtual machines, for control-plane tests and for scale.
//!
//! It speaks the real contract over the real transport (Connect, TLS 1.3, mutual certificates) and keeps
//! the agent's promises: operation ids are answered once, lower generations are refused, events stay until
//! acknowledged. A "sandbox" is a row and, once something runs in it, a directory: commands are real
//! processes of this machine started in that directory, files are real files below it.
//!
//! Tests steer it by [`SimulatedAgent::faults`] and look at it by [`SimulatedAgent::census`] and
//! [`SimulatedAgent::calls`].

mod exec;
mod faults;
mod fork;
mod processes;
mod registration;
mod service;
mod sleep;
mod snapshot;
mod state;

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context as _, Result};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use wrenn_ids::{HostId, SandboxId};
use wrenn_rpc::{
    connectrpc,
    hostagent::{HostAgentExt as _, PauseReason, Template},
};

pub use faults::{Fault, Faults};
pub use registration::HostIdentity;
pub use state::{Capacity, Listed};

use state::State;

/// A running simulated agent; stops when dropped.
#[derive(Debug)]
pub struct SimulatedAgent {
    state: Arc<State>,
    identity: HostIdentity,
    address: SocketAddr,
    stop: CancellationToken,
}

impl SimulatedAgent {
    /// Registers with the control plane at `base_url` by a one-time token, then serves.
    ///
    /// # Errors
    /// When the registration is refused or the identity it yields cannot be used.
    pub async fn register(base_url: &str, token: &str, capacity: Capacity) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .context("bind the agent's port")?;
        let address = listener.local_addr()?;
        let identity = HostIdentity::register(base_url, token, address, capacity).await?;
        Self::serve(listener, identity, capacity)
    }

    /// Serves as `identity` at `listener`, as an agent does that has its credentials already.
    ///
    /// # Errors
    /// When the identity's certificate and key cannot be used.
    pub fn serve(
        listener: TcpListener,
        identity: HostIdentity,
        capacity: Capacity,
    ) -> Result<Self> {
        let address = listener.local_addr()?;
        let state = Arc::new(State::new(identity.host_id, capacity)?);
        let tls = identity.tls_acceptor()?;
        let router =
            Arc::new(service::Service::new(Arc::clone(&state))).register(connectrpc::Router::new());
        let app = axum::Router::new().fallback_service(router.into_axum_service());
        let stop = CancellationToken::new();
        tokio::spawn(accept(listener, tls, app, stop.clone()));
        Ok(Self {
            state,
            identity,
            address,
            stop,
        })
    }

    /// The host this agent is.
    #[must_use]
    pub fn host_id(&self) -> HostId {
        self.identity.host_id
    }

    /// What it registered as, for heartbeats and for serving again after a stop.
    #[must_use]
    pub fn identity(&self) -> &HostIdentity {
        &self.identity
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What goes wrong from now on.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.state.faults
    }

    /// Every sandbox it holds, by id.
    #[must_use]
    pub fn census(&self) -> Vec<Listed> {
        self.state.census()
    }

    /// The snapshots it holds.
    #[must_use]
    pub fn snapshots(&self) -> Vec<Template> {
        self.state.templates().split_off(1)
    }

    /// How often the method (its name in the contract) was called, refused calls included.
    #[must_use]
    pub fn calls(&self, method: &str) -> usize {
        self.state.faults.calls(method)
    }

    /// The sandbox's VM dies by itself: it is gone, and an event says so.
    pub fn crash_sandbox(&self, id: SandboxId) {
        self.state.crash(id);
    }

    /// Forgets the sandbox without an event, as a host does that lost its disk.
    pub fn lose_sandbox(&self, id: SandboxId) {
        self.state.lose(id);
    }

    /// The agent pauses it by itself, for this reason.
    pub fn pause_sandbox(&self, id: SandboxId, reason: PauseReason) {
        self.state.pause_alone(id, reason);
    }

    /// Its idle time is over and `on_idle` says destroy.
    pub fn destroy_idle_sandbox(&self, id: SandboxId) {
        self.state.destroy_idle(id);
    }

    /// The agent could not pause it by itself; it runs on.
    pub fn fail_pause_of_sandbox(&self, id: SandboxId) {
        self.state.fail_pause(id);
    }

    /// A resume that the control plane has given up comes through after all.
    pub fn wake_sandbox_late(&self, id: SandboxId) {
        self.state.wake_late(id);
    }

    /// Stops listening; open connections end too. The address stays free for [`Self::serve`].
    pub fn stop(&self) {
        self.stop.cancel();
    }
}

impl Drop for SimulatedAgent {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Accepts connections until `stop`, each served in a task of its own.
async fn accept(
    listener: TcpListener,
    tls: tokio_rustls::TlsAcceptor,
    app: axum::Router,
    stop: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else { continue };
        let (tls, app, stop) = (tls.clone(), app.clone(), stop.clone());
        tokio::spawn(async move {
            let served = async {
                let Ok(stream) = tls.accept(stream).await else {
                    return;
                };
                let service = hyper_util::service::TowerToHyperService::new(app);
                let server = hyper_util::server::conn::auto::Builder::new(
                    hyper_util::rt::TokioExecutor::new(),
                );
                let io = hyper_util::rt::TokioIo::new(stream);
                let _ = server.serve_connection_with_upgrades(io, service).await;
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = served => {}
            }
        });
    }
}
