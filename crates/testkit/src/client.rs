//! An HTTP client of the public API, bound to one identity.

use std::time::Duration;

use reqwest::{Method, RequestBuilder, header::HeaderMap};
use serde_json::{Value, json};
use wrenn_api::{Sandbox, SandboxStatus};

/// What no error may ever tell: statements, paths of this machine, texts of agents.
const CANARIES: &[&str] = &[
    "SELECT ",
    "sqlx",
    "wrenn-test-",
    "/tmp/",
    "refused by the test",
];

/// One identity's view of one replica.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base_url: String,
    api_key: Option<String>,
    token: Option<String>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body as JSON; `Null` when it is none.
    pub json: Value,
    /// Body.
    pub bytes: Vec<u8>,
}

impl Answer {
    /// The code of an error.
    #[must_use]
    pub fn code(&self) -> &str {
        self.json["error"]["code"].as_str().unwrap_or_default()
    }

    /// A header's text.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// The body as a sandbox.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn sandbox(&self) -> Sandbox {
        serde_json::from_value(self.json.clone())
            .unwrap_or_else(|error| panic!("a sandbox: {error}: {self:?}"))
    }
}

impl Client {
    /// A client of `base_url`, with a key or as nobody.
    ///
    /// # Panics
    /// When the system has no TLS roots to start a client with.
    #[must_use]
    pub fn new(base_url: String, api_key: Option<&str>) -> Self {
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(60))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .expect("an HTTP client");
        Self {
            http,
            base_url,
            api_key: api_key.map(str::to_owned),
            token: None,
        }
    }

    /// A client of `base_url` with a user token.
    ///
    /// # Panics
    /// As [`Self::new`].
    #[must_use]
    pub fn with_token(base_url: String, token: &str) -> Self {
        Self {
            token: Some(token.to_owned()),
            ..Self::new(base_url, None)
        }
    }

    /// A request to `path` with this identity.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self
            .http
            .request(method, format!("{}{path}", self.base_url));
        match (&self.api_key, &self.token) {
            (Some(key), _) => request.header("x-api-key", key),
            (None, Some(token)) => request.bearer_auth(token),
            (None, None) => request,
        }
    }

    /// Sends a request and reads the answer.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn send(&self, request: RequestBuilder) -> Answer {
        let answer = request.send().await.expect("an answer");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let bytes = answer.bytes().await.expect("a whole body").to_vec();
        let json = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        if status >= 400 {
            let text = String::from_utf8_lossy(&bytes);
            let told = CANARIES.iter().find(|canary| text.contains(**canary));
            assert!(told.is_none(), "an error tells {told:?}: {text}");
        }
        Answer {
            status,
            headers,
            json,
            bytes,
        }
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    /// POST of JSON.
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::POST, path).json(&body))
            .await
    }

    /// PATCH of JSON.
    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::PATCH, path).json(&body))
            .await
    }

    /// PUT of JSON.
    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::PUT, path).json(&body)).await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// Creates a sandbox that must be running at once.
    ///
    /// # Panics
    /// When it is not.
    pub async fn create(&self) -> Sandbox {
        let answer = self.post("/v1/sandboxes", json!({})).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let sandbox = answer.sandbox();
        assert_eq!(sandbox.status, SandboxStatus::Running);
        sandbox
    }

    /// The sandbox as it is now.
    pub async fn sandbox(&self, id: wrenn_ids::SandboxId) -> Sandbox {
        self.get(&format!("/v1/sandboxes/{id}")).await.sandbox()
    }
}
