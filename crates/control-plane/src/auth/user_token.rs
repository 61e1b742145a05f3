//! User JWTs: HS256, `typ=user`, 6 h; 15 min inside a session, which renews them.
//!
//! A token says who came and which version of their credentials it was made under. Role, name and the
//! flag of administrators stand in it for display; authority is read from the database on each request.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use wrenn_api::Role;
use wrenn_ids::{SessionId, TeamId, UserId};

use super::{KeyLabel, derive};

/// Life of a token without a session.
const LIFE: Duration = Duration::from_secs(6 * 3600);
/// Life of a token inside a session.
const LIFE_IN_SESSION: Duration = Duration::from_secs(15 * 60);

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UserClaims {
    pub(crate) sub: UserId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sid: Option<SessionId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) team_id: Option<TeamId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) role: Option<Role>,
    pub(crate) email: String,
    pub(crate) name: String,
    pub(crate) is_admin: bool,
    /// Token version of the account.
    pub(crate) tv: i32,
}

#[derive(Debug, Serialize, Deserialize)]
struct Envelope<T> {
    typ: String,
    #[serde(flatten)]
    claims: T,
    iat: u64,
    exp: u64,
}

/// Issues and verifies user tokens.
pub(crate) struct UserTokens {
    sign: EncodingKey,
    verify: Vec<DecodingKey>,
}

impl std::fmt::Debug for UserTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserTokens").finish_non_exhaustive()
    }
}

impl UserTokens {
    /// Signs with the current secret, verifies with the one before too.
    pub(crate) fn new(current: &SecretString, previous: Option<&SecretString>) -> Self {
        let sign = EncodingKey::from_secret(&derive(current, KeyLabel::UserJwt));
        let verify = [Some(current), previous]
            .into_iter()
            .flatten()
            .map(|secret| DecodingKey::from_secret(&derive(secret, KeyLabel::UserJwt)))
            .collect();
        Self { sign, verify }
    }

    /// A token that says this, from now on.
    pub(crate) fn issue(&self, claims: &UserClaims) -> Result<String, jsonwebtoken::errors::Error> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let life = match claims.sid {
            Some(_) => LIFE_IN_SESSION,
            None => LIFE,
        };
        let envelope = Envelope {
            typ: "user".to_owned(),
            claims,
            iat: now.as_secs(),
            exp: (now + life).as_secs(),
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &envelope, &self.sign)
    }

    /// What a valid token says.
    pub(crate) fn verify(&self, token: &str) -> Option<UserClaims> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = 30;
        self.verify.iter().find_map(|key| {
            let envelope = jsonwebtoken::decode::<Envelope<UserClaims>>(token, key, &validation)
                .ok()?
                .claims;
            (envelope.typ == "user").then_some(envelope.claims)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::host_token::HostTokens;

    fn secret(text: &str) -> SecretString {
        SecretString::from(text)
    }

    fn claims() -> UserClaims {
        UserClaims {
            sub: UserId::new(),
            sid: None,
            team_id: Some(TeamId::new()),
            role: Some(Role::Owner),
            email: "a@b".to_owned(),
            name: "A".to_owned(),
            is_admin: false,
            tv: 3,
        }
    }

    #[test]
    fn a_token_is_good_under_its_secret_and_the_one_before() {
        let (old, new) = (secret("an old one"), secret("a new one"));
        let claims = claims();
        let token = UserTokens::new(&old, None).issue(&claims).unwrap();
        let check = |tokens: UserTokens, expected: Option<&UserClaims>| {
            assert_eq!(tokens.verify(&token).as_ref(), expected);
        };
        check(UserTokens::new(&old, None), Some(&claims));
        check(UserTokens::new(&new, Some(&old)), Some(&claims));
        check(UserTokens::new(&new, None), None);
    }

    #[test]
    fn tokens_of_other_kinds_algorithms_or_times_are_nothing() {
        let tokens = UserTokens::new(&secret("s"), None);
        let host = HostTokens::new(&secret("s"), None)
            .issue(wrenn_ids::HostId::new(), 0)
            .unwrap();
        let signed = |typ: &str, exp: u64, algorithm: Algorithm| {
            let envelope = Envelope {
                typ: typ.to_owned(),
                claims: claims(),
                iat: 0,
                exp,
            };
            jsonwebtoken::encode(&Header::new(algorithm), &envelope, &tokens.sign).unwrap()
        };
        let far = 1 << 40;
        assert!(
            tokens
                .verify(&signed("user", far, Algorithm::HS256))
                .is_some()
        );
        for bad in [
            "",
            "a.b.c",
            &host,
            &signed("host", far, Algorithm::HS256),
            &signed("user", 1, Algorithm::HS256),
            &signed("user", far, Algorithm::HS512),
        ] {
            assert_eq!(tokens.verify(bad), None, "{bad}");
        }
    }
}
