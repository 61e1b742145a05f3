//! People of a test: each signed up at a replica, with a team and a client of their own.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use wrenn_ids::{TeamId, UserId};

use crate::{
    client::Client,
    control_plane::{Replica, World},
};

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
    base_url: String,
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

    /// Signs somebody up who administers the whole platform.
    ///
    /// # Errors
    /// When the server refuses, or the database is away.
    pub async fn administrator(world: &World, replica: &Replica, name: &str) -> Result<Self> {
        let person = Self::sign_up(replica, name).await?;
        sqlx::query("UPDATE users SET is_admin = true WHERE id = $1")
            .bind(person.id.as_uuid())
            .execute(&world.db)
            .await?;
        Ok(person)
    }

    /// Lets them administer one part of the platform.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn may_administer(&self, world: &World, part: &str) -> Result<()> {
        sqlx::query("INSERT INTO admin_permissions (user_id, permission) VALUES ($1, $2)")
            .bind(self.id.as_uuid())
            .bind(part)
            .execute(&world.db)
            .await?;
        Ok(())
    }

    /// Them acting for another team of theirs.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn acting_for(&self, team: TeamId) -> Result<Self> {
        let body = json!({ "team_id": team.to_string() });
        let answer = self.client.post("/v1/auth/switch-team", body).await;
        ensure!(
            answer.status == 200,
            "{} could not switch: {answer:?}",
            self.email
        );
        Self::at(self.base_url.clone(), self.email.clone(), &answer.json)
    }

    /// Them as a member of the team that its owner acts for, and acting for it.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn joining(&self, owner: &Self) -> Result<Self> {
        let body = json!({ "email": self.email });
        let path = format!("/v1/teams/{}/members", owner.team);
        let added = owner.client.post(&path, body).await;
        ensure!(
            added.status == 201,
            "{} could not join: {added:?}",
            self.email
        );
        self.acting_for(owner.team).await
    }

    /// A new key of their team: the path that revokes it, and its text.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn key(&self) -> Result<(String, String)> {
        let made = self
            .client
            .post("/v1/api-keys", json!({ "name": "k" }))
            .await;
        let text = |name: &str| made.json[name].as_str().context("a key");
        Ok((
            format!("/v1/api-keys/{}", text("id")?),
            text("key")?.to_owned(),
        ))
    }

    fn of(replica: &Replica, email: String, answer: &Value) -> Result<Self> {
        Self::at(replica.base_url(), email, answer)
    }

    fn at(base_url: String, email: String, answer: &Value) -> Result<Self> {
        let text = |name: &str| answer[name].as_str().context("an AuthResponse");
        let token = text("token")?.to_owned();
        Ok(Self {
            id: text("user_id")?.parse()?,
            team: text("team_id")?.parse()?,
            client: Client::with_token(base_url.clone(), &token),
            email,
            token,
            base_url,
        })
    }
}
