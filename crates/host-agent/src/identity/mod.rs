//! Who this host is: registration, credentials, certificate, heartbeat.
//!
//! ```text
//! no credentials ──register (one-time token)──▶ registered ──heartbeat each 30 s──▶ …
//!                                                  ▲   │ daily, or on 401/403
//!                                                  └───┴ refresh: new key, certificate, tokens
//! ```
//!
//! Invariants: the key never leaves the host; credentials are on disk before they are used; a transient
//! error never ends the loop; certificates change without a connection being dropped.

mod authority;
mod credentials;
mod heartbeat;
mod key;
mod tls;
mod token;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio_util::sync::CancellationToken;
use wrenn_ids::HostId;

pub use self::{
    authority::{Authority, AuthorityError, Facts},
    credentials::Credentials,
    heartbeat::{HeartbeatReport, Heartbeats},
    key::HostKey,
    tls::{HotTls, TlsError},
    token::Token,
};
use crate::{backoff::Backoff, config::Config, durable};

/// Why the host has no identity.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No credentials and no token to get some.
    #[error(
        "this host is not registered: give WRENN_REGISTRATION_TOKEN (from `wrenn host add`) on the first start"
    )]
    NoToken,
    /// The control plane said no.
    #[error("register this host")]
    Register(#[source] AuthorityError),
    /// The process was told to stop before the control plane answered.
    #[error("register this host: stopped before the control plane answered")]
    Stopped,
    /// The stored credentials cannot be read or written.
    #[error("keep the host's credentials")]
    Store(#[from] durable::Error),
    /// Certificate, key or CA do not fit.
    #[error("use the host's certificate")]
    Tls(#[from] TlsError),
    /// No key could be made.
    #[error("make the host's key")]
    Key(#[source] rcgen::Error),
}

/// This host's identity; shared, and replaced from within by a refresh.
#[derive(Debug)]
pub struct Identity {
    path: PathBuf,
    address: String,
    authority: Authority,
    current: Mutex<Credentials>,
    tls: Arc<HotTls>,
}

impl Identity {
    /// Loads the credentials, or registers with the one-time token, retrying what is transient.
    ///
    /// # Errors
    /// Without credentials and token, on a definite refusal, or when nothing can be stored.
    pub async fn establish(
        config: &Config,
        facts: Facts,
        cancel: &CancellationToken,
    ) -> Result<Arc<Self>, Error> {
        let path = config.state_dir.join("host-credentials.json");
        let authority = Authority::new(&config.control_plane_url).map_err(Error::Register)?;
        let stored = durable::read_json::<Credentials>(&path)?;
        let credentials = match (stored, &config.registration_token) {
            (Some(stored), None) => stored,
            (None, None) => return Err(Error::NoToken),
            (stored, Some(token)) => {
                let kept = match stored {
                    Some(stored) => still_valid(&authority, stored, &config.address).await?,
                    None => None,
                };
                let new = match kept {
                    Some(kept) => kept,
                    None => register(&authority, token, &config.address, &facts, cancel).await?,
                };
                durable::write_json(&path, &new)?;
                new
            }
        };
        let tls = HotTls::new(&credentials)?;
        Ok(Arc::new(Self {
            path,
            address: config.address.clone(),
            authority,
            current: Mutex::new(credentials),
            tls: Arc::new(tls),
        }))
    }

    /// The id the control plane gave this host.
    #[must_use]
    pub fn host_id(&self) -> HostId {
        self.credentials().host_id
    }

    /// Server certificate and client verification, always the newest.
    #[must_use]
    pub fn tls(&self) -> Arc<HotTls> {
        Arc::clone(&self.tls)
    }

    fn credentials(&self) -> Credentials {
        self.current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Gets new credentials for the refresh token; stored first, used then.
    async fn refresh(&self) -> Result<(), RefreshError> {
        let key = HostKey::new().map_err(RefreshError::Key)?;
        let old = self.credentials();
        let request = self
            .authority
            .refresh(&old.refresh_token, &key, &self.address);
        let new = request.await.map_err(RefreshError::Authority)?;
        let swapped = self.tls.check(&new)?;
        durable::write_json(&self.path, &new)?;
        self.tls.swap(swapped);
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = new;
        tracing::info!("credentials refreshed");
        Ok(())
    }
}

/// Why credentials were not refreshed; the old ones stay in use.
#[derive(Debug, thiserror::Error)]
enum RefreshError {
    #[error("ask for new credentials")]
    Authority(#[source] AuthorityError),
    #[error("make a new key")]
    Key(#[source] rcgen::Error),
    #[error("use the new certificate")]
    Tls(#[from] TlsError),
    #[error("keep the new credentials")]
    Store(#[from] durable::Error),
}

/// With a token at hand, stored credentials are tried first and given up only if the control plane refuses
/// them for good: it is another one, or has forgotten this host.
async fn still_valid(
    authority: &Authority,
    stored: Credentials,
    address: &str,
) -> Result<Option<Credentials>, Error> {
    let key = HostKey::new().map_err(Error::Key)?;
    match authority
        .refresh(&stored.refresh_token, &key, address)
        .await
    {
        Ok(new) => Ok(Some(new)),
        Err(error) if error.is_unauthorised() => {
            tracing::warn!("the control plane refuses the stored credentials: registering anew");
            Ok(None)
        }
        Err(error) => {
            tracing::warn!(error = %crate::chain(&error), "the stored credentials are used unchecked");
            Ok(Some(stored))
        }
    }
}

async fn register(
    authority: &Authority,
    token: &Token,
    address: &str,
    facts: &Facts,
    cancel: &CancellationToken,
) -> Result<Credentials, Error> {
    let key = HostKey::new().map_err(Error::Key)?;
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
    loop {
        match authority.register(token, &key, address, facts).await {
            Ok(credentials) => {
                tracing::info!(host_id = %credentials.host_id, "registered");
                return Ok(credentials);
            }
            Err(error) if error.is_definite() => return Err(Error::Register(error)),
            Err(error) => {
                let wait = backoff.next();
                tracing::warn!(error = %crate::chain(&error), ?wait, "registration will be tried again");
                tokio::select! {
                    () = cancel.cancelled() => return Err(Error::Stopped),
                    () = tokio::time::sleep(wait) => {}
                }
            }
        }
    }
}
