//! The platform that a state directory describes: its settings, secrets, accounts and how its parts are started.
//!
//! Knows the control plane's library and the agent's environment; starts nothing itself.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use secrecy::{ExposeSecret, SecretString};
use wrenn_control_plane::{bootstrap, ca};
use wrenn_database::{PgPool, hosts_ready, migrate, migrations_pending};
use wrenn_virtual_host::machine::Acceleration;

use super::{
    checks,
    component::Spec,
    external::External,
    first_run::{Credentials, FirstRun},
    images::own_binary,
    machine::acceleration,
    postgres::Postgres,
    redis::Redis,
    state::{HostChoice, Settings, StateDir},
};
use crate::{
    config::write_private,
    error::{Attempt, CliError, chain},
};

/// Where a virtual host reaches this machine's loopback address.
const MACHINE_SEEN_FROM_INSIDE: &str = "10.0.2.2";

/// What `wrenn up` keeps running.
#[derive(Debug)]
pub(crate) struct Platform {
    pub(crate) state: StateDir,
    pub(crate) settings: Settings,
    pub(crate) host: HostChoice,
    why: String,
    pub(crate) external: External,
    http: reqwest::Client,
}

impl Platform {
    pub(crate) fn new(state: StateDir, settings: Settings) -> Result<Self, CliError> {
        let (host, why) = checks::host_choice(&settings)?;
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(5))
            .build();
        Ok(Self {
            external: External::find(&state),
            state,
            settings,
            host,
            why,
            http: http.attempt(|| "set up the HTTP client")?,
        })
    }

    /// Why they run so.
    pub(crate) fn why(&self) -> &str {
        &self.why
    }

    /// How sandboxes run, for people.
    pub(crate) fn host_sentence(&self) -> String {
        match self.host {
            HostChoice::Native => "native, KVM".to_owned(),
            HostChoice::Virtual => {
                let how = match super::machine::acceleration() {
                    wrenn_virtual_host::machine::Acceleration::Kvm => "accelerated",
                    wrenn_virtual_host::machine::Acceleration::Emulated => {
                        "emulated: real, but slow (a sandbox starts in seconds, not milliseconds); for trying out and tests"
                    }
                };
                format!("virtual host, {how}")
            }
            HostChoice::None => "none on this machine".to_owned(),
        }
    }

    fn database_url(&self) -> String {
        self.external
            .database
            .clone()
            .unwrap_or_else(|| Postgres::url(&self.state))
    }

    fn redis_url(&self) -> String {
        self.external
            .redis
            .clone()
            .unwrap_or_else(|| Redis::url(&self.state))
    }

    async fn database(&self) -> Result<PgPool, CliError> {
        crate::cmd::migrate::connect(&self.database_url()).await
    }

    /// Brings the schema to this version.
    pub(crate) async fn migrate(&self) -> Result<String, CliError> {
        let failed = |error: wrenn_database::Error| {
            CliError::local(format_args!("migrate the database: {}", chain(&error)))
                .hint("logs", "wrenn logs postgres --tail 50")
        };
        let pool = self.database().await?;
        let pending = migrations_pending(&pool).await.map_err(failed)?;
        migrate(&pool, None).await.map_err(failed)?;
        Ok(if pending == 0 {
            "current".to_owned()
        } else {
            format!("{pending} applied")
        })
    }

    fn authority(&self) -> (PathBuf, PathBuf) {
        (
            self.state.at("secrets/ca.pem"),
            self.state.at("secrets/ca.key"),
        )
    }

    /// Makes the certificate authority unless it exists and is usable.
    pub(crate) fn ensure_authority(&self) -> Result<String, CliError> {
        let (cert_path, key_path) = self.authority();
        if !cert_path.exists() {
            let made = ca::generate().attempt(|| "make the certificate authority")?;
            // The certificate last: it says that both are there.
            write_private(&key_path, made.key_pem.as_bytes())?;
            write_private(&cert_path, made.cert_pem.as_bytes())?;
        }
        let read = |path: &PathBuf| {
            std::fs::read_to_string(path).attempt(|| format!("read {}", path.display()))
        };
        ca::load(&read(&cert_path)?, &read(&key_path)?).map_err(|error| {
            CliError::local(format_args!(
                "the certificate authority in {} is unusable: {}",
                cert_path.display(),
                chain(&error)
            ))
        })?;
        Ok("mutual TLS between control plane and hosts".to_owned())
    }

    /// Makes admin, team and key on the first run; they wait in the first run's record until they were shown.
    pub(crate) async fn ensure_accounts(&self) -> Result<String, CliError> {
        let pool = self.database().await?;
        let made = bootstrap::ensure(&pool)
            .await
            .attempt(|| "make the first accounts")?;
        let text =
            |secret: Option<SecretString>| secret.map(|secret| secret.expose_secret().to_owned());
        let (admin_password, api_key) = (text(made.admin_password), text(made.api_key));
        if admin_password.is_none() && api_key.is_none() {
            return Ok("there".to_owned());
        }
        let mut record = FirstRun::load(&self.state)?;
        record.credentials = Some(Credentials {
            admin_email: bootstrap::ADMIN_EMAIL.to_owned(),
            admin_password,
            api_key,
        });
        record.store(&self.state)?;
        Ok("admin, team and key made".to_owned())
    }

    /// A further key, for a configuration that lost the first one.
    pub(crate) async fn another_key(&self) -> Result<String, CliError> {
        let pool = self.database().await?;
        let key = bootstrap::another_key(&pool)
            .await
            .attempt(|| "make an API key")?;
        Ok(key.expose_secret().to_owned())
    }

    /// Writes the state file from which the server roles read their settings.
    pub(crate) fn write_state_file(&self) -> Result<(), CliError> {
        let (cert, key) = self.authority();
        let listen = self.settings.listen;
        let mut values = vec![
            ("DATABASE_URL", self.database_url()),
            ("REDIS_URL", self.redis_url()),
            ("WRENN_LISTEN", listen.to_string()),
            (
                "CP_PUBLIC_URL",
                format!("http://localhost:{}", listen.port()),
            ),
            ("WRENN_SANDBOX_DOMAIN", "wrenn.localhost".to_owned()),
            (
                "WRENN_SECRET_FILE",
                self.state.secret("master")?.display().to_string(),
            ),
            (
                "WRENN_ENCRYPTION_KEY_FILE",
                self.state.secret("encryption")?.display().to_string(),
            ),
            ("WRENN_CA_CERT", cert.display().to_string()),
            ("WRENN_CA_KEY", key.display().to_string()),
        ];
        if self.host == HostChoice::Virtual && acceleration() == Acceleration::Emulated {
            // An emulated machine has one CPU, and nobody expects speed of it: memory is its limit.
            values.push(("WRENN_CPU_OVERCOMMIT", "64".to_owned()));
        }
        let text: String = values
            .iter()
            .map(|(name, value)| format!("{name}={value}\n"))
            .collect();
        write_private(&self.state.at("control-plane.env"), text.as_bytes())
    }

    /// The component that serves the API.
    pub(crate) fn control_plane_spec(&self) -> Result<Spec, CliError> {
        let environment = [
            ("WRENN_STATE_DIR", self.state.root().display().to_string()),
            ("WRENN_LOG_FORMAT", "json".to_owned()),
        ];
        Ok(Spec {
            name: "control-plane",
            program: own_binary()?,
            arguments: vec!["control-plane".to_owned()],
            environment: environment
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            user: None,
            stop_signal: Signal::TERM,
            grace: Duration::from_secs(25),
            log: self.state.at("logs/control-plane.log"),
            record: self.state.at("run/control-plane.pid"),
            address: self.settings.local_url(),
        })
    }

    /// Whether the control plane serves and reaches its database and Redis.
    pub(crate) async fn is_healthy(&self) -> bool {
        let url = format!("{}/readyz", self.settings.local_url());
        matches!(self.http.get(url).send().await, Ok(answer) if answer.status().is_success())
    }

    /// The component that runs sandboxes on this machine itself.
    pub(crate) async fn native_agent_spec(&self) -> Result<Spec, CliError> {
        let mut environment = self
            .agent_environment(&self.settings.local_url(), "host")
            .await?;
        let listen = self.settings.agent_listen.to_string();
        environment.extend([
            ("WRENN_AGENT_LISTEN".to_owned(), listen.clone()),
            ("WRENN_ADDRESS".to_owned(), listen.clone()),
            (
                "WRENN_STATE_DIR".to_owned(),
                self.state.at("host").display().to_string(),
            ),
            (
                "WRENN_IMAGES_DIR".to_owned(),
                self.state.at("images").display().to_string(),
            ),
        ]);
        Ok(Spec {
            name: "host-agent",
            program: own_binary()?,
            arguments: vec!["host-agent".to_owned()],
            environment,
            user: None,
            stop_signal: Signal::TERM,
            grace: Duration::from_secs(30),
            log: self.state.at("logs/host-agent.log"),
            record: self.state.at("run/host-agent.pid"),
            address: listen,
        })
    }

    /// The environment of the agent in the virtual host.
    pub(crate) async fn virtual_agent_environment(
        &self,
    ) -> Result<BTreeMap<String, String>, CliError> {
        let url = format!(
            "http://{MACHINE_SEEN_FROM_INSIDE}:{}",
            self.settings.listen.port()
        );
        self.agent_environment(&url, "machine").await
    }

    /// The token is a new one unless the agent whose state is in `home` was registered already.
    async fn agent_environment(
        &self,
        control_plane: &str,
        home: &str,
    ) -> Result<BTreeMap<String, String>, CliError> {
        let pool = self.database().await?;
        let record = self.state.at(home).join("host-id");
        let known = std::fs::read_to_string(&record)
            .ok()
            .and_then(|id| id.trim().parse().ok());
        let token = bootstrap::host_token(&pool, &self.redis_url().into(), known).await;
        let mut environment = BTreeMap::from([
            ("WRENN_CP_URL".to_owned(), control_plane.to_owned()),
            ("WRENN_LOG_FORMAT".to_owned(), "json".to_owned()),
        ]);
        if let Some((host, token)) = token.attempt(|| "make the host's registration token")? {
            write_private(&record, format!("{host}\n").as_bytes())?;
            environment.insert(
                "WRENN_REGISTRATION_TOKEN".to_owned(),
                token.expose_secret().to_owned(),
            );
        }
        Ok(environment)
    }

    /// Waits until a host takes sandboxes.
    pub(crate) async fn wait_ready(&self, limit: Duration) -> Result<String, CliError> {
        let pool = self.database().await?;
        let begun = Instant::now();
        loop {
            let ready = hosts_ready(&pool).await.attempt(|| "look for the host")?;
            if let Some(host) = ready.first() {
                return Ok(format!("{host} is online"));
            }
            if begun.elapsed() > limit {
                return Err(CliError::local(format_args!(
                    "no host was ready for sandboxes after {} s",
                    limit.as_secs()
                ))
                .hint("logs", "wrenn logs host-agent --tail 50")
                .hint("again", "wrenn up"));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
