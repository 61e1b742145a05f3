//! Host JWTs: HS256, 7 days, `typ=host`; void when the host's version of them is another one.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use wrenn_ids::HostId;

use super::{KeyLabel, derive};

const LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    typ: String,
    host_id: HostId,
    /// Version of the host's tokens that it belongs to.
    #[serde(default)]
    tv: i32,
    iat: u64,
    exp: u64,
}

/// What a token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HostClaim {
    pub(crate) host: HostId,
    /// Whether that is the host's version, the database says.
    pub(crate) version: i32,
}

/// Issues and verifies host tokens.
pub(crate) struct HostTokens {
    sign: EncodingKey,
    verify: Vec<DecodingKey>,
}

impl std::fmt::Debug for HostTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostTokens").finish_non_exhaustive()
    }
}

impl HostTokens {
    /// Signs with the current secret, verifies with the one before too.
    pub(crate) fn new(current: &SecretString, previous: Option<&SecretString>) -> Self {
        let sign = EncodingKey::from_secret(&derive(current, KeyLabel::HostJwt));
        let verify = [Some(current), previous]
            .into_iter()
            .flatten()
            .map(|secret| DecodingKey::from_secret(&derive(secret, KeyLabel::HostJwt)))
            .collect();
        Self { sign, verify }
    }

    /// A token for this host, of this version.
    pub(crate) fn issue(
        &self,
        host: HostId,
        version: i32,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let claims = Claims {
            typ: "host".to_owned(),
            host_id: host,
            tv: version,
            iat: now.as_secs(),
            exp: (now + LIFE).as_secs(),
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.sign)
    }

    /// The host that a valid token names, and its version.
    pub(crate) fn verify(&self, token: &str) -> Option<HostClaim> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = 30;
        self.verify.iter().find_map(|key| {
            let claims = jsonwebtoken::decode::<Claims>(token, key, &validation)
                .ok()?
                .claims;
            (claims.typ == "host").then_some(HostClaim {
                host: claims.host_id,
                version: claims.tv,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> SecretString {
        SecretString::from(text)
    }

    #[test]
    fn a_token_is_good_under_its_secret_and_the_one_before() {
        let (old, new) = (
            secret("an old master secret of 32 bytes"),
            secret("a new one"),
        );
        let host = HostId::new();
        let token = HostTokens::new(&old, None).issue(host, 3).unwrap();
        let claim = Some(HostClaim { host, version: 3 });
        assert_eq!(HostTokens::new(&old, None).verify(&token), claim);
        assert_eq!(HostTokens::new(&new, Some(&old)).verify(&token), claim);
        assert_eq!(HostTokens::new(&new, None).verify(&token), None);
    }

    #[test]
    fn an_altered_or_foreign_token_is_nothing() {
        let tokens = HostTokens::new(&secret("s"), None);
        let token = tokens.issue(HostId::new(), 0).unwrap();
        for bad in ["", "a.b.c", &token[..token.len() - 2], &format!("{token}x")] {
            assert_eq!(tokens.verify(bad), None, "{bad}");
        }
    }
}
