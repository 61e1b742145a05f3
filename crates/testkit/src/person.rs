//! People of a test: each signed up at a replica, with a team and a client of their own.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use wrenn_ids::{TeamId, UserId};

use crate::{client::Client, control_plane::Replica};

/// The password of everybody in tests.
pub const PASSWORD: &str = "correct horse battery";

/// Somebody with an account.
#[derive(Debug, Clone)]
pub struct Person {
    /// Who.
    pub id: UserId,
    /// Address.
    pub email: String,
    /// Their own team.
    pub team: TeamId,
    /// A token of theirs, without a session.
    pub token: String,
    /// A client with that token.
    pub client: Client,
}

impl Person {
    /// Signs somebody up; the address is `{name}@example.com`.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn sign_up(replica: &Replica, name: &str) -> Result<Self> {
        let nobody = Client::new(replica.base_url(), None);
        let email = format!("{}@example.com", name.to_lowercase());
        let body = json!({ "email": email, "password": PASSWORD, "name": name });
        let answer = nobody.post("/v1/auth/signup", body).await;
        ensure!(answer.status == 201, "{name} could not sign up: {answer:?}");
        Self::of(replica, email, &answer.json)
    }

    /// Logs an account in again.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn log_in(replica: &Replica, email: &str) -> Result<Self> {
        let nobody = Client::new(replica.base_url(), None);
        let body = json!({ "email": email, "password": PASSWORD });
        let answer = nobody.post("/v1/auth/login", body).await;
        ensure!(answer.status == 200, "{email} could not log in: {answer:?}");
        Self::of(replica, email.to_owned(), &answer.json)
    }

    fn of(replica: &Replica, email: String, answer: &Value) -> Result<Self> {
        let text = |name: &str| answer[name].as_str().context("an AuthResponse");
        let token = text("token")?.to_owned();
        Ok(Self {
            id: text("user_id")?.parse()?,
            team: text("team_id")?.parse()?,
            client: Client::with_token(replica.base_url(), &token),
            email,
            token,
        })
    }
}
