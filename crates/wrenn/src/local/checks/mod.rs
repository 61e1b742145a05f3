//! What `wrenn doctor` looks at, and the part of it that can stop `wrenn up`.
//!
//! A check changes nothing. Each has one line of finding and, where something is amiss, one of remedy: an exact
//! command. Rights that the caller lacks make a check `skip`, not `fail`.

mod host;
mod images;
mod machine;
mod network;
mod services;

use serde::Serialize;
use wrenn_virtual_host::kvm;

pub(crate) use self::{
    host::{kvm_probe, show_host},
    machine::blame_disk,
};
use super::{
    external::External,
    postgres, redis,
    state::{HostChoice, Settings, StateDir},
};
use crate::{context::Context, error::CliError};

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    Ok,
    Warn,
    Fail,
    Skip,
}

/// One check.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Check {
    pub(crate) group: Group,
    pub(crate) name: &'static str,
    pub(crate) verdict: Verdict,
    pub(crate) finding: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remedy: Option<String>,
}

/// What belongs together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Group {
    Machine,
    Virtualisation,
    Host,
    Network,
    Services,
    Security,
    Images,
    Client,
}

impl Group {
    pub(crate) const ALL: [Self; 8] = [
        Self::Machine,
        Self::Virtualisation,
        Self::Host,
        Self::Network,
        Self::Services,
        Self::Security,
        Self::Images,
        Self::Client,
    ];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Machine => "Machine",
            Self::Virtualisation => "Virtualisation",
            Self::Host => "Host (for sandboxes on this machine itself)",
            Self::Network => "Network",
            Self::Services => "Services",
            Self::Security => "Security",
            Self::Images => "Images",
            Self::Client => "Client",
        }
    }

    fn check(
        self,
        name: &'static str,
        verdict: Verdict,
        finding: impl Into<String>,
        remedy: Option<String>,
    ) -> Check {
        Check {
            group: self,
            name,
            verdict,
            finding: finding.into(),
            remedy,
        }
    }

    fn ok(self, name: &'static str, finding: impl Into<String>) -> Check {
        self.check(name, Verdict::Ok, finding, None)
    }

    fn warn(
        self,
        name: &'static str,
        finding: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Check {
        self.check(name, Verdict::Warn, finding, Some(remedy.into()))
    }

    fn fail(
        self,
        name: &'static str,
        finding: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Check {
        self.check(name, Verdict::Fail, finding, Some(remedy.into()))
    }

    fn skip(self, name: &'static str, finding: impl Into<String>) -> Check {
        self.check(name, Verdict::Skip, finding, None)
    }

    /// An error as a failed check: its sentence and its first hint.
    fn failed(self, name: &'static str, error: &CliError) -> Check {
        let remedy = error.hints.first().map(|hint| hint.command.clone());
        self.check(name, Verdict::Fail, error.message.clone(), remedy)
    }
}

/// Runs the checks of `group`.
pub(crate) async fn group(group: Group, state: &StateDir, context: &Context) -> Vec<Check> {
    match group {
        Group::Machine => machine::machine(state),
        Group::Virtualisation => machine::virtualisation(),
        Group::Host => host::checks(),
        Group::Network => network::checks(state).await,
        Group::Services => services::services(state).await,
        Group::Security => services::security(state),
        Group::Images => images::checks(state),
        Group::Client => services::client(context).await,
    }
}

/// Where sandboxes will run, and why.
pub(crate) fn host_choice(settings: &Settings) -> Result<(HostChoice, String), CliError> {
    let root = rustix::process::geteuid().is_root();
    match settings.host {
        Some(HostChoice::None) => Ok((HostChoice::None, "as asked".to_owned())),
        Some(HostChoice::Virtual) => Ok((HostChoice::Virtual, "as asked".to_owned())),
        Some(HostChoice::Native) => match (kvm::usable(), root) {
            (Ok(()), true) => Ok((HostChoice::Native, "as asked".to_owned())),
            (Ok(()), false) => Err(
                CliError::local("sandboxes on this machine itself need root")
                    .hint("try", "sudo wrenn up --host native"),
            ),
            (Err(why), _) => Err(CliError::local(format_args!(
                "sandboxes cannot run on this machine itself: {why}"
            ))
            .hint("try", "wrenn up --host virtual")),
        },
        None => match (kvm::usable(), root) {
            (Ok(()), true) => Ok((HostChoice::Native, "KVM is usable".to_owned())),
            (Ok(()), false) => Ok((
                HostChoice::Virtual,
                "KVM is usable, but only root can use it directly".to_owned(),
            )),
            (Err(why), _) => Ok((HostChoice::Virtual, why.to_string())),
        },
    }
}

/// The checks that can stop `wrenn up`; the first fault is the error.
pub(crate) fn before_up(state: &StateDir, settings: &Settings) -> Result<(String, ()), CliError> {
    let external = External::find(state);
    machine::supported()?;
    if external.database.is_none() {
        postgres::Binaries::find()?;
        super::program::service_user("postgres", "postgresql")?;
    }
    if external.redis.is_none() {
        redis::find_server()?;
        super::program::service_user("redis", "redis-server")?;
    }
    let (host, _) = host_choice(settings)?;
    if host == HostChoice::Virtual {
        machine::virtual_host_programs()?;
        machine::virtual_host_fits(settings)?;
    }
    machine::enough_disk(state, host)?;
    network::port_free(state, settings.listen)?;
    let note = match host {
        HostChoice::Native => "sandboxes run on this machine",
        HostChoice::Virtual => "sandboxes run in a virtual host",
        HostChoice::None => "no host",
    };
    Ok((note.to_owned(), ()))
}
