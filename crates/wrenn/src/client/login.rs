//! A person's login as the client carries it: a short token, renewed by a refresh token that is good once.
//!
//! The refresh token is in the configuration file. Renewing happens under a lock file, so that parallel
//! commands do not race: whoever comes second finds what the first one stored.
//!
//! A token acts for one team. Where the command, or the context, means another one, the token is exchanged for one
//! of that team first, which is kept in memory: other commands go on with theirs.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    sync::{Mutex, OnceLock, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;
use wrenn_api::{AuthResponse, account::Refresh, team::Team};
use wrenn_ids::TeamId;

use super::{Client, team};
use crate::{
    config::ConfigFile,
    error::{Attempt, CliError, Exit},
};

/// A token that lives no longer than this is renewed before it is used.
const SPARE: Duration = Duration::from_secs(30);

/// A login, as the configuration file holds it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) token: String,
    pub(crate) refresh_token: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Claims {
    exp: u64,
    team_id: Option<TeamId>,
}

impl Login {
    /// What a sign-in answered.
    pub(crate) fn of(answer: &AuthResponse) -> Option<Self> {
        Some(Self {
            token: answer.token.clone(),
            refresh_token: answer.refresh_token.clone()?,
        })
    }

    /// What the token says. Its signature is the server's affair.
    fn claims(&self) -> Option<Claims> {
        let payload = self.token.split('.').nth(1).unwrap_or_default();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
    }

    /// The team that the token acts for.
    pub(crate) fn team(&self) -> Option<TeamId> {
        self.claims()?.team_id
    }

    /// Whether the token will still be good when it arrives.
    fn is_fresh(&self) -> bool {
        let Some(claims) = self.claims() else {
            return false;
        };
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        claims.exp > (now + SPARE).as_secs()
    }
}

/// The login of a client, as far as it was renewed.
#[derive(Debug)]
pub(super) struct Held {
    login: Mutex<Login>,
    /// By id, slug or name.
    wanted: Option<String>,
    /// The same by id, once it is known.
    team: OnceLock<TeamId>,
}

impl Held {
    pub(super) fn new(login: Login, wanted: Option<String>) -> Self {
        Self {
            login: Mutex::new(login),
            wanted,
            team: OnceLock::new(),
        }
    }

    fn get(&self) -> Login {
        self.login
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, login: Login) {
        *self.login.lock().unwrap_or_else(PoisonError::into_inner) = login;
    }

    /// A token that is good for a while, of the team that is meant.
    pub(super) async fn token(&self, client: &Client) -> Result<String, CliError> {
        let mut login = self.get();
        if !login.is_fresh() {
            login = renew(client).await?;
        }
        if let Some(wanted) = &self.wanted {
            let team = match (self.team.get(), wanted.parse()) {
                (Some(team), _) => *team,
                (None, Ok(team)) => team,
                (None, Err(_)) => lookup(client, &login, wanted).await?,
            };
            let _ = self.team.set(team);
            if login.team() != Some(team) {
                login.token = switch(client, &login, team).await?.token;
            }
        }
        self.set(login.clone());
        Ok(login.token)
    }
}

async fn lookup(client: &Client, login: &Login, wanted: &str) -> Result<TeamId, CliError> {
    let request = client.open_request(Method::GET, "/v1/teams");
    let answer = client.dispatch(request.bearer_auth(&login.token)).await?;
    let teams: Vec<Team> = client.answer(answer).await?;
    team::choose(&teams, wanted)
}

/// A token of the same session that acts for `team`.
pub(crate) async fn switch(
    client: &Client,
    login: &Login,
    team: TeamId,
) -> Result<AuthResponse, CliError> {
    let request = client
        .open_request(Method::POST, "/v1/auth/switch-team")
        .bearer_auth(&login.token)
        .json(&json!({ "team_id": team }));
    match client.dispatch(request).await {
        Ok(answer) => client.answer(answer).await,
        Err(error) if error.exit == Exit::Forbidden => Err(CliError {
            hints: Vec::new(),
            ..error
        }
        .hint("see", "wrenn team ls")
        .hint("choose", "wrenn team use TEAM")),
        Err(error) => Err(error),
    }
}

/// Renews the login of the client's context, unless another command just did.
async fn renew(client: &Client) -> Result<Login, CliError> {
    let path = ConfigFile::path()?;
    let _lock = tokio::task::spawn_blocking({
        let lock = path.with_extension("lock");
        move || {
            let file: File = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .mode(0o600)
                .open(&lock)
                .attempt(|| format!("open {}", lock.display()))?;
            file.lock().attempt(|| format!("lock {}", lock.display()))?;
            Ok::<File, CliError>(file)
        }
    })
    .await
    .map_err(CliError::local)??;
    let mut file = ConfigFile::load(&path)?;
    let stored = file.context(client.context()).and_then(|known| known.login);
    let stored = stored.ok_or_else(signed_out)?;
    if stored.is_fresh() {
        return Ok(stored);
    }
    let request = Refresh {
        refresh_token: Some(stored.refresh_token),
    };
    let request = client
        .open_request(Method::POST, "/v1/auth/refresh")
        .json(&request);
    let answer = client.dispatch(request).await;
    let answer: AuthResponse = match answer {
        Ok(answer) => client.answer(answer).await?,
        Err(error) if error.exit == Exit::Credentials => return Err(signed_out()),
        Err(error) => return Err(error),
    };
    let login = Login::of(&answer).ok_or_else(signed_out)?;
    file.set_login(client.context(), &login);
    file.store(&path)?;
    Ok(login)
}

fn signed_out() -> CliError {
    CliError::new(
        Exit::Credentials,
        "unauthorized",
        "you are signed out: the session has ended",
    )
    .hint("run", "wrenn login")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_fresh_until_shortly_before_its_end() {
        let check = |in_seconds: i64, expected: bool| {
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .expect("a time after the epoch");
            let exp = now.as_secs().saturating_add_signed(in_seconds);
            let payload = URL_SAFE_NO_PAD.encode(format!(r#"{{"exp":{exp}}}"#));
            let login = Login {
                token: format!("e30.{payload}.x"),
                refresh_token: String::new(),
            };
            assert_eq!(login.is_fresh(), expected, "{in_seconds}");
        };
        check(900, true);
        check(20, false);
        check(-5, false);
        let nonsense = Login {
            token: "nonsense".to_owned(),
            refresh_token: String::new(),
        };
        assert!(!nonsense.is_fresh());
    }
}
