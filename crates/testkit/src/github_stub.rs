//! What GitHub's token, user and e-mail endpoints answer, for people that a test makes up.
//!
//! The page at which somebody agrees is [`GithubStub::agree`]: it reads the address that a browser would be
//! sent to and answers the address that it would be sent back to. The stub holds the server to the protocol:
//! codes are good once, and only with the verifier, the secret and the address that they were made for.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use anyhow::{Context as _, Result, ensure};
use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::{get, post},
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

/// The application's credential there.
pub const CLIENT_ID: &str = "the-client";
/// The other half of it.
pub const CLIENT_SECRET: &str = "the-secret";

/// Somebody at GitHub.
#[derive(Debug, Clone, Default)]
pub struct GithubUser {
    /// Their number.
    pub id: u64,
    /// Their login.
    pub login: String,
    /// Their name, if they tell one.
    pub name: Option<String>,
    /// The address on their profile, if they show one.
    pub email: Option<String>,
    /// Their addresses: text, whether it is the primary one, whether it is verified.
    pub emails: Vec<(String, bool, bool)>,
}

impl GithubUser {
    /// Somebody with one verified address, which their profile does not show.
    #[must_use]
    pub fn new(id: u64, login: &str, email: &str) -> Self {
        Self {
            id,
            login: login.to_owned(),
            emails: vec![(email.to_owned(), true, true)],
            ..Self::default()
        }
    }
}

struct Agreed {
    user: GithubUser,
    challenge: String,
    redirect_uri: String,
}

#[derive(Default)]
struct Known {
    codes: Mutex<HashMap<String, Agreed>>,
    tokens: Mutex<HashMap<String, GithubUser>>,
}

/// The stub; ends when dropped.
#[derive(Debug)]
pub struct GithubStub {
    address: SocketAddr,
    known: Arc<Known>,
    serving: JoinHandle<()>,
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Known").finish_non_exhaustive()
    }
}

impl GithubStub {
    /// Starts one.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let known = Arc::new(Known::default());
        let router = Router::new()
            .route("/login/oauth/access_token", post(access_token))
            .route("/api/v3/user", get(user))
            .route("/api/v3/user/emails", get(emails))
            .with_state(Arc::clone(&known));
        let serving = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self {
            address,
            known,
            serving,
        })
    }

    /// Settings of a server that signs people in by it.
    #[must_use]
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            (
                "WRENN_OAUTH_GITHUB_BASE_URL",
                format!("http://{}", self.address),
            ),
            ("OAUTH_GITHUB_CLIENT_ID", CLIENT_ID.to_owned()),
            ("OAUTH_GITHUB_CLIENT_SECRET", CLIENT_SECRET.to_owned()),
        ]
    }

    /// Somebody agrees at the page `url`: code and state that the browser is sent back with.
    ///
    /// # Errors
    /// When the page was asked for wrongly.
    pub fn agree(&self, url: &str, user: &GithubUser) -> Result<(String, String)> {
        let url = reqwest::Url::parse(url)?;
        ensure!(url.path() == "/login/oauth/authorize", "{url}");
        let query: HashMap<_, _> = url.query_pairs().into_owned().collect();
        let part = |name: &str| query.get(name).cloned().context(name.to_owned());
        ensure!(part("client_id")? == CLIENT_ID, "{url}");
        ensure!(part("code_challenge_method")? == "S256", "{url}");
        let code = uuid::Uuid::now_v7().simple().to_string();
        let agreed = Agreed {
            user: user.clone(),
            challenge: part("code_challenge")?,
            redirect_uri: part("redirect_uri")?,
        };
        self.known.codes.lock().insert(code.clone(), agreed);
        Ok((code, part("state")?))
    }
}

impl Drop for GithubStub {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn access_token(State(known): State<Arc<Known>>, Json(body): Json<Value>) -> Json<Value> {
    use sha2::Digest as _;
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    let agreed = known.codes.lock().remove(&text("code"));
    let Some(agreed) = agreed else {
        return Json(json!({ "error": "bad_verification_code" }));
    };
    let verifier = sha2::Sha256::digest(text("code_verifier"));
    let verifier =
        base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, verifier);
    let fits = text("client_id") == CLIENT_ID
        && text("client_secret") == CLIENT_SECRET
        && text("redirect_uri") == agreed.redirect_uri
        && verifier == agreed.challenge;
    if !fits {
        return Json(json!({ "error": "incorrect_client_credentials" }));
    }
    let token = uuid::Uuid::now_v7().simple().to_string();
    known.tokens.lock().insert(token.clone(), agreed.user);
    Json(json!({ "access_token": token, "token_type": "bearer", "scope": "user:email" }))
}

fn whose(known: &Known, headers: &HeaderMap) -> Result<GithubUser, StatusCode> {
    let token = headers
        .get("authorization")
        .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let user = token.and_then(|token| known.tokens.lock().get(token).cloned());
    user.ok_or(StatusCode::UNAUTHORIZED)
}

async fn user(
    State(known): State<Arc<Known>>,
    headers: HeaderMap,
) -> Result<Json<Value>, StatusCode> {
    let user = whose(&known, &headers)?;
    Ok(Json(json!({
        "id": user.id, "login": user.login, "name": user.name, "email": user.email,
    })))
}

async fn emails(
    State(known): State<Arc<Known>>,
    headers: HeaderMap,
) -> Result<Json<Value>, StatusCode> {
    let user = whose(&known, &headers)?;
    let emails = user.emails.into_iter();
    let emails = emails.map(|(email, primary, verified)| {
        json!({ "email": email, "primary": primary, "verified": verified })
    });
    Ok(Json(emails.collect()))
}
