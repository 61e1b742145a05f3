//! Providers that people sign in by. Each knows its own pages; what is done with the identity that they
//! tell is decided in `app/oauth.rs`.

mod github;

use std::time::Duration;

use futures::future::BoxFuture;

use crate::config::GithubSettings;

/// How long a provider may take for one answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Largest answer of a provider that is read.
const MOST: usize = 1 << 20;

/// Why a provider did not tell who somebody is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProviderError {
    /// It cannot be reached, or there is no HTTP client.
    #[error("the provider did not answer")]
    Http(#[from] reqwest::Error),
    /// It answered what it must not.
    #[error("the provider answered {0}")]
    Answer(String),
    /// It knows no address that it has verified.
    #[error("the provider knows no verified address")]
    NoAddress,
}

/// Who somebody is at a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Their id there, which never changes.
    pub(crate) id: String,
    /// A verified address, lowercased.
    pub(crate) email: String,
    /// What they are called.
    pub(crate) name: String,
}

/// What comes back from a provider's page.
#[derive(Debug)]
pub(crate) struct Returned<'a> {
    pub(crate) code: &'a str,
    /// What the challenge was made from.
    pub(crate) verifier: &'a str,
    pub(crate) redirect_uri: &'a str,
}

/// A provider.
pub(crate) trait Provider: Send + Sync {
    /// Its name in paths and rows.
    fn name(&self) -> &'static str;

    /// The page that asks a person whether they want to sign in here.
    fn page(&self, redirect_uri: &str, state: &str, challenge: &str) -> String;

    /// Who came back from that page.
    fn identify<'a>(
        &'a self,
        returned: Returned<'a>,
    ) -> BoxFuture<'a, Result<Identity, ProviderError>>;
}

/// The providers of this server.
pub(crate) struct Providers(Vec<Box<dyn Provider>>);

impl Providers {
    /// Those that are configured.
    pub(crate) fn new(github: Option<GithubSettings>) -> Result<Self, ProviderError> {
        let mut providers: Vec<Box<dyn Provider>> = Vec::new();
        if let Some(settings) = github {
            providers.push(Box::new(github::Github::new(settings)?));
        }
        Ok(Self(providers))
    }

    /// The one of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&dyn Provider> {
        let found = self.0.iter().find(|provider| provider.name() == name);
        found.map(AsRef::as_ref)
    }

    /// Their names.
    pub(crate) fn names(&self) -> Vec<String> {
        let names = self.0.iter().map(|provider| provider.name().to_owned());
        names.collect()
    }
}

/// Reads an answer of JSON, no further than [`MOST`].
async fn json<T: serde::de::DeserializeOwned>(
    mut answer: reqwest::Response,
) -> Result<T, ProviderError> {
    let status = answer.status();
    if !status.is_success() {
        return Err(ProviderError::Answer(status.to_string()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > MOST {
            return Err(ProviderError::Answer("too much".to_owned()));
        }
    }
    serde_json::from_slice(&body).map_err(|error| ProviderError::Answer(error.to_string()))
}
