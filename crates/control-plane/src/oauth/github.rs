//! GitHub, and GitHub Enterprise under another base URL.

use futures::future::BoxFuture;
use reqwest::header::ACCEPT;
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::json as object;

use super::{Identity, PATIENCE, Provider, ProviderError, Returned, json};
use crate::config::GithubSettings;

const PUBLIC: &str = "https://github.com";

pub(super) struct Github {
    settings: GithubSettings,
    /// Where its API is.
    api: String,
    http: reqwest::Client,
}

#[derive(Deserialize)]
struct Token {
    access_token: Option<String>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Profile {
    id: u64,
    login: String,
    name: Option<String>,
    email: Option<String>,
}

#[derive(Deserialize)]
struct Address {
    email: String,
    primary: bool,
    verified: bool,
}

impl Github {
    pub(super) fn new(settings: GithubSettings) -> Result<Self, ProviderError> {
        let api = match settings.base_url.as_str() {
            PUBLIC => "https://api.github.com".to_owned(),
            enterprise => format!("{enterprise}/api/v3"),
        };
        let http = reqwest::Client::builder()
            .timeout(PATIENCE)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent("wrenn")
            .build()?;
        Ok(Self {
            settings,
            api,
            http,
        })
    }

    async fn token(&self, returned: &Returned<'_>) -> Result<String, ProviderError> {
        let body = object!({
            "client_id": self.settings.client_id,
            "client_secret": self.settings.client_secret.expose_secret(),
            "code": returned.code,
            "redirect_uri": returned.redirect_uri,
            "code_verifier": returned.verifier,
        });
        let url = format!("{}/login/oauth/access_token", self.settings.base_url);
        let request = self
            .http
            .post(url)
            .header(ACCEPT, "application/json")
            .json(&body);
        let token: Token = json(request.send().await?).await?;
        // It answers 200 to codes that it does not know, with an error beside.
        let problem = || token.error.clone().unwrap_or_else(|| "no token".to_owned());
        token
            .access_token
            .clone()
            .ok_or_else(|| ProviderError::Answer(problem()))
    }

    async fn get<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        token: &str,
    ) -> Result<T, ProviderError> {
        let request = self
            .http
            .get(format!("{}{path}", self.api))
            .header(ACCEPT, "application/vnd.github+json")
            .bearer_auth(token);
        json(request.send().await?).await
    }

    async fn who(&self, returned: Returned<'_>) -> Result<Identity, ProviderError> {
        let token = self.token(&returned).await?;
        let profile: Profile = self.get("/user", &token).await?;
        let addresses: Vec<Address> = self.get("/user/emails", &token).await?;
        let address = match &profile.email {
            // What a profile shows must be one of the addresses that are verified.
            Some(shown) => addresses
                .iter()
                .find(|address| address.email.eq_ignore_ascii_case(shown)),
            None => addresses.iter().find(|address| address.primary),
        };
        let address = address
            .filter(|address| address.verified)
            .ok_or(ProviderError::NoAddress)?;
        let name = profile.name.filter(|name| !name.trim().is_empty());
        Ok(Identity {
            id: profile.id.to_string(),
            email: address.email.to_lowercase(),
            name: name.unwrap_or(profile.login),
        })
    }
}

impl Provider for Github {
    fn name(&self) -> &'static str {
        "github"
    }

    fn page(&self, redirect_uri: &str, state: &str, challenge: &str) -> String {
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("redirect_uri", redirect_uri)
            .append_pair("scope", "read:user user:email")
            .append_pair("state", state)
            .append_pair("code_challenge", challenge)
            .append_pair("code_challenge_method", "S256")
            .finish();
        format!("{}/login/oauth/authorize?{query}", self.settings.base_url)
    }

    fn identify<'a>(
        &'a self,
        returned: Returned<'a>,
    ) -> BoxFuture<'a, Result<Identity, ProviderError>> {
        Box::pin(self.who(returned))
    }
}
