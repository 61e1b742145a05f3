//! Client of the control plane's host endpoints: register, refresh, heartbeat (api.md §12).

use std::time::Duration;

use reqwest::StatusCode;
use serde::{Deserialize, Serialize};
use wrenn_ids::HostId;

use super::{Credentials, HeartbeatReport, HostKey, Token};

/// Longest wait for one answer.
const DEADLINE: Duration = Duration::from_secs(15);
/// Longest answer read: certificates and tokens are a few KiB.
const ANSWER_LIMIT: usize = 256 * 1024;

/// What this machine is, told at registration.
#[derive(Debug, Clone, Serialize)]
pub struct Facts {
    /// `x86_64` or `aarch64`.
    pub arch: String,
    /// Processors that run.
    pub cpu_cores: u32,
    /// All memory, in MiB.
    pub memory_mb: u64,
    /// Size of the file system that holds the state directory, in GiB.
    pub disk_gb: u64,
    /// Of this agent.
    pub agent_version: String,
}

/// Why the control plane gave no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// It refused; asking again changes nothing.
    #[error("the control plane refused with status {0}")]
    Refused(StatusCode),
    /// It could not answer now (5xx, 408, 429).
    #[error("the control plane cannot answer now, status {0}")]
    Busy(StatusCode),
    /// It was not reached.
    #[error("reach the control plane")]
    Unreachable(#[source] reqwest::Error),
    /// Its answer is longer than any real one.
    #[error("the control plane's answer is too long")]
    TooLong,
    /// Its answer is not what api.md says.
    #[error("understand the control plane's answer")]
    Malformed(#[source] serde_json::Error),
    /// The request could not be made.
    #[error("make a certificate request")]
    Csr(#[source] rcgen::Error),
}

impl AuthorityError {
    /// Whether asking again with the same credentials cannot help.
    #[must_use]
    pub fn is_definite(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Csr(_))
    }

    /// Whether it is the credential that was refused.
    #[must_use]
    pub fn is_unauthorised(&self) -> bool {
        matches!(
            self,
            Self::Refused(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
        )
    }
}

/// The control plane, as a host sees it.
#[derive(Debug, Clone)]
pub struct Authority {
    base: String,
    http: reqwest::Client,
}

#[derive(Serialize)]
struct RegisterRequest<'a> {
    token: &'a str,
    address: &'a str,
    csr_pem: &'a str,
    #[serde(flatten)]
    facts: &'a Facts,
}

#[derive(Serialize)]
struct RefreshRequest<'a> {
    refresh_token: &'a str,
    csr_pem: &'a str,
    address: &'a str,
}

#[derive(Deserialize)]
struct Issued {
    host: IssuedHost,
    token: Token,
    refresh_token: Token,
    cert_pem: String,
    ca_cert_pem: String,
}

#[derive(Deserialize)]
struct IssuedHost {
    id: HostId,
}

impl Authority {
    /// A client of the control plane at `base`.
    ///
    /// # Errors
    /// When the system offers no TLS roots.
    pub fn new(base: &str) -> Result<Self, AuthorityError> {
        let http = reqwest::Client::builder()
            .timeout(DEADLINE)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(AuthorityError::Unreachable)?;
        Ok(Self {
            base: base.to_owned(),
            http,
        })
    }

    /// Trades the one-time token for credentials.
    ///
    /// # Errors
    /// See [`AuthorityError`].
    pub async fn register(
        &self,
        token: &Token,
        key: &HostKey,
        address: &str,
        facts: &Facts,
    ) -> Result<Credentials, AuthorityError> {
        let csr_pem = key.csr_pem().map_err(AuthorityError::Csr)?;
        let body = RegisterRequest {
            token: token.expose(),
            address,
            csr_pem: &csr_pem,
            facts,
        };
        self.issue("/v1/hosts/register", &body, key).await
    }

    /// Trades the refresh token for new credentials.
    ///
    /// # Errors
    /// See [`AuthorityError`].
    pub async fn refresh(
        &self,
        refresh_token: &Token,
        key: &HostKey,
        address: &str,
    ) -> Result<Credentials, AuthorityError> {
        let csr_pem = key.csr_pem().map_err(AuthorityError::Csr)?;
        let body = RefreshRequest {
            refresh_token: refresh_token.expose(),
            csr_pem: &csr_pem,
            address,
        };
        self.issue("/v1/hosts/auth/refresh", &body, key).await
    }

    /// Says that this host lives.
    ///
    /// # Errors
    /// See [`AuthorityError`].
    pub async fn heartbeat(
        &self,
        credentials: &Credentials,
        report: &HeartbeatReport,
    ) -> Result<(), AuthorityError> {
        let path = format!("{}/v1/hosts/{}/heartbeat", self.base, credentials.host_id);
        let request = self
            .http
            .post(path)
            .header("x-host-token", credentials.token.expose())
            .json(report);
        let answer = request.send().await.map_err(AuthorityError::Unreachable)?;
        judge(answer.status())
    }

    async fn issue(
        &self,
        path: &str,
        body: &impl Serialize,
        key: &HostKey,
    ) -> Result<Credentials, AuthorityError> {
        let request = self.http.post(format!("{}{path}", self.base)).json(body);
        let mut answer = request.send().await.map_err(AuthorityError::Unreachable)?;
        judge(answer.status())?;
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(AuthorityError::Unreachable)? {
            if bytes.len() + chunk.len() > ANSWER_LIMIT {
                return Err(AuthorityError::TooLong);
            }
            bytes.extend_from_slice(&chunk);
        }
        let issued: Issued = serde_json::from_slice(&bytes).map_err(AuthorityError::Malformed)?;
        Ok(Credentials {
            host_id: issued.host.id,
            token: issued.token,
            refresh_token: issued.refresh_token,
            cert_pem: issued.cert_pem,
            key_pem: key.pem(),
            ca_cert_pem: issued.ca_cert_pem,
        })
    }
}

fn judge(status: StatusCode) -> Result<(), AuthorityError> {
    match status {
        status if status.is_success() => Ok(()),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
            Err(AuthorityError::Busy(status))
        }
        status if status.is_client_error() => Err(AuthorityError::Refused(status)),
        status => Err(AuthorityError::Busy(status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, definite: Option<bool>) {
        let judged = judge(StatusCode::from_u16(status).unwrap());
        assert_eq!(
            judged.err().map(|error| error.is_definite()),
            definite,
            "{status}"
        );
    }

    #[test]
    fn only_a_refusal_is_definite() {
        check(204, None);
        check(401, Some(true));
        check(403, Some(true));
        check(404, Some(true));
        check(408, Some(false));
        check(429, Some(false));
        check(500, Some(false));
        check(503, Some(false));
        check(302, Some(false));
    }
}
