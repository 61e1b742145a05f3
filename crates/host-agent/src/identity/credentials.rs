//! What `host-credentials.json` holds (mode 0600, replaced atomically).

use serde::{Deserialize, Serialize};
use wrenn_ids::HostId;

use super::Token;

/// Everything that proves this host to the control plane and the other way round.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Credentials {
    /// The host.
    pub host_id: HostId,
    /// Host JWT, 7 days.
    pub token: Token,
    /// Refresh token, 60 days, replaced at each refresh.
    pub refresh_token: Token,
    /// This host's certificate, 7 days.
    pub cert_pem: String,
    /// Its key.
    pub key_pem: Token,
    /// The CA that signed both this certificate and the control plane's.
    pub ca_cert_pem: String,
}
