//! What a browser holds while its person is at a provider's page: signed by us, for ten minutes, and good once.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use wrenn_ids::UserId;

use super::Return;
use crate::{
    app::{Caller, Error, Result},
    auth::{one_time::Purpose, random_hex, sha256},
    state::App,
};

/// Seconds that a person may take at the provider's page.
pub(crate) const STATE_SEC: u64 = 600;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct State {
    provider: String,
    pub(super) nonce: String,
    intent: String,
    pub(super) verifier: String,
    /// Seconds since the epoch.
    until: u64,
    /// Who links the provider's account to theirs, and the version of their tokens.
    pub(super) link: Option<(UserId, i32)>,
}

fn now_sec() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap_or_default().as_secs()
}

impl State {
    /// One that begins now.
    pub(super) fn new(provider: &str, intent: &str, link: Option<&Caller>) -> Result<Self> {
        Ok(Self {
            provider: provider.to_owned(),
            nonce: random_hex(32)?,
            intent: intent.to_owned(),
            verifier: random_hex(32)?,
            until: now_sec() + STATE_SEC,
            link: link.map(|caller| (caller.id, caller.token_version)),
        })
    }

    /// PKCE (RFC 7636): what the provider is told of the verifier.
    pub(super) fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(sha256(self.verifier.as_bytes()))
    }

    /// As a cookie.
    pub(super) fn seal(&self, app: &App) -> Result<String> {
        let body = serde_json::to_vec(self).map_err(Error::internal)?;
        let signature = app.oauth_state.sign(&body);
        Ok(format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(body),
            URL_SAFE_NO_PAD.encode(signature)
        ))
    }

    /// What a cookie says, if we wrote it, a short while ago, for this provider and this return.
    pub(super) fn open(app: &App, provider: &str, returned: &Return<'_>) -> Option<Self> {
        let (body, signature) = returned.cookie?.split_once('.')?;
        let body = URL_SAFE_NO_PAD.decode(body).ok()?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        if !app.oauth_state.knows(&body, &signature) {
            return None;
        }
        let state: Self = serde_json::from_slice(&body).ok()?;
        let fits = state.provider == provider
            && state.until > now_sec()
            && returned
                .state
                .is_some_and(|given| sha256(given.as_bytes()) == sha256(state.nonce.as_bytes()));
        fits.then_some(state)
    }

    /// Takes it; false when it was taken before.
    pub(super) async fn take(&self, app: &App) -> Result<bool> {
        let mut set = redis::cmd("SET");
        set.arg(Purpose::OauthState.key(&self.nonce))
            .arg("1")
            .arg("NX")
            .arg("EX")
            .arg(STATE_SEC);
        let first: Option<String> = set.query_async(&mut app.bus.redis()).await?;
        Ok(first.is_some())
    }
}
