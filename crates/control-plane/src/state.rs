//! What every part of a running replica shares.

use std::{fmt, sync::Arc};

use futures::future::BoxFuture;
use secrecy::SecretString;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;
use wrenn_database::PgPool;

use crate::{
    app::{disk_use::DiskUse, scheduler::Scheduler},
    auth::{KeyLabel, host_token::HostTokens, signer::Signer, user_token::UserTokens},
    background::{key_use::KeysUsed, ops::Ops, sync::HostUp},
    bus::Bus,
    ca::CertificateAuthority,
    config::Config,
    config::{Networks, QuotaDefaults, SignupPolicy},
    hosts::{Pool, identity::Identity},
    limits::Limiter,
    mail::Mailer,
    oauth::Providers,
    origins::Origins,
    sealing::SealingKeys,
    streams::Streams,
};

/// Called with the name of each point that an operation passes; tests hold or end a replica there.
pub type Checkpoint = Arc<dyn Fn(&'static str) -> BoxFuture<'static, ()> + Send + Sync>;

/// A running replica.
pub(crate) struct App {
    pub(crate) replica: Uuid,
    pub(crate) db: PgPool,
    pub(crate) bus: Arc<Bus>,
    pub(crate) pool: Pool,
    pub(crate) identity: Arc<Identity>,
    pub(crate) ops: Ops,
    pub(crate) host_up: HostUp,
    pub(crate) keys_used: KeysUsed,
    pub(crate) disk_use: DiskUse,
    pub(crate) streams: Streams,
    pub(crate) ca: CertificateAuthority,
    pub(crate) host_tokens: HostTokens,
    pub(crate) user_tokens: UserTokens,
    /// Make the successors of refresh tokens.
    pub(crate) refresh_tokens: Signer,
    /// Sign what browsers hold during a sign-in at a provider.
    pub(crate) oauth_state: Signer,
    pub(crate) providers: Providers,
    /// Absent: no mail is sent.
    pub(crate) mail: Option<Mailer>,
    pub(crate) signup: SignupPolicy,
    pub(crate) setup_token: Option<SecretString>,
    /// How people reach this server, without a slash at the end.
    pub(crate) public_url: String,
    /// Whose pages may call.
    pub(crate) origins: Origins,
    pub(crate) sandbox_domain: String,
    pub(crate) sealing: SealingKeys,
    pub(crate) scheduler: Box<dyn Scheduler>,
    pub(crate) limits: Limiter,
    /// Wakes the task that destroys what deleted teams leave behind.
    pub(crate) team_gone: tokio::sync::Notify,
    pub(crate) quota_defaults: QuotaDefaults,
    pub(crate) trusted_proxies: Networks,
    pub(crate) metrics_token: Option<SecretString>,
    /// Work that outlives the request which began it.
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
    pub(crate) checkpoint: Option<Checkpoint>,
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("replica", &self.replica)
            .finish_non_exhaustive()
    }
}

impl App {
    /// Assembles a replica; connects to nothing yet.
    pub(crate) fn new(
        config: Config,
        stop: CancellationToken,
        checkpoint: Option<Checkpoint>,
    ) -> Result<(Arc<Self>, crate::bus::Outgoing), crate::ServeError> {
        use secrecy::ExposeSecret;

        use crate::ServeError;
        let db = wrenn_database::connect_lazy(
            config.database_url.expose_secret(),
            config.db_max_connections,
        )
        .map_err(ServeError::Database)?;
        let (bus, outgoing) =
            Bus::new(config.redis_url.expose_secret()).map_err(ServeError::Redis)?;
        let bus = Arc::new(bus);
        let identity = Identity::new(config.ca.clone())?;
        let roots = config.ca.roots().map_err(ServeError::Tls)?;
        let scheduler = crate::app::scheduler::build(&config);
        let signer = |label| Signer::new(&config.secret, config.secret_previous.as_ref(), label);
        let public_url = config.base_of_links();
        let people = config.people;
        let mail = people.mail.map(|mail| Mailer::new(&mail));
        let app = Arc::new(Self {
            replica: Uuid::now_v7(),
            pool: Pool::new(db.clone(), roots, Arc::clone(&identity)),
            identity,
            db,
            team_gone: tokio::sync::Notify::new(),
            limits: Limiter::new(config.rate_limits, Arc::clone(&bus)),
            quota_defaults: config.quota_defaults,
            trusted_proxies: config.trusted_proxies,
            bus,
            ops: Ops::default(),
            host_up: HostUp::default(),
            keys_used: KeysUsed::default(),
            disk_use: DiskUse::default(),
            streams: Streams::default(),
            ca: config.ca,
            host_tokens: HostTokens::new(&config.secret, config.secret_previous.as_ref()),
            user_tokens: UserTokens::new(&config.secret, config.secret_previous.as_ref()),
            refresh_tokens: signer(KeyLabel::RefreshToken),
            oauth_state: signer(KeyLabel::OauthState),
            providers: Providers::new(people.github)?,
            mail: mail.transpose()?,
            signup: people.signup,
            setup_token: people.setup_token,
            origins: Origins::new(&public_url, config.cors_origins),
            public_url,
            sandbox_domain: config.sandbox_domain,
            sealing: config.sealing,
            scheduler,
            metrics_token: config.metrics_token,
            tasks: TaskTracker::new(),
            stop,
            checkpoint,
        });
        Ok((app, outgoing))
    }

    /// An operation passes the point `name`.
    pub(crate) async fn checkpoint(&self, name: &'static str) {
        if let Some(checkpoint) = &self.checkpoint {
            checkpoint(name).await;
        }
    }
}
