//! How a command line is let in by somebody in a browser: by a code that they enter there, or by one that
//! the browser hands back on the same machine.
//!
//! A device code is polled; the person's decision is taken once, by whoever consumes the user code.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use redis::AsyncCommands;
use serde::{Deserialize, Serialize};
use wrenn_api::{
    ErrorCode, Invalid, SessionKind, Time,
    account::{CliCodeRequest, CliExchange, DeviceCodes, OneTimeCode, StartDevice, WaitingDevice},
    grammar,
};
use wrenn_database::{Account, account_get, team_role};
use wrenn_ids::{TeamId, UserId};

use super::{
    Caller, Error, Result,
    account::invalid_token,
    signin::{SignedIn, Visitor, sign_in},
};
use crate::{
    auth::{
        NoRandomness,
        one_time::{self, Purpose},
        random_hex, sha256,
    },
    state::App,
};

/// Letters of codes that people type: none that makes words.
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
/// Seconds between two questions of a command line.
const INTERVAL_SEC: u32 = 5;

/// A command line that waits, and what was decided.
#[derive(Debug, Serialize, Deserialize)]
struct Device {
    client_name: String,
    ip: String,
    since_ms: i64,
    verdict: Verdict,
}

#[derive(Debug, Serialize, Deserialize)]
enum Verdict {
    None,
    Approved(Grant),
    Denied,
}

/// Whom a command line may act as. Void once their tokens are.
#[derive(Debug, Serialize, Deserialize)]
struct Grant {
    user: UserId,
    token_version: i32,
    team: Option<TeamId>,
}

/// What the polled key is, under the user code.
#[derive(Debug, Serialize, Deserialize)]
struct DeviceKey(String);

/// What a command line that asks is told.
#[derive(Debug)]
pub(crate) enum Poll {
    Pending,
    Approved(Box<SignedIn>),
}

/// Eight letters; every one of 20⁸ is as likely.
fn user_code() -> Result<String, NoRandomness> {
    let mut code = String::with_capacity(9);
    while code.len() < 9 {
        if code.len() == 4 {
            code.push('-');
        }
        // 240 is the greatest multiple of 20 in a byte: what is above would favour some letters.
        let byte = u8::from_str_radix(&random_hex(1)?, 16).unwrap_or(u8::MAX);
        if byte < 240 {
            code.push(char::from(LETTERS[usize::from(byte % 20)]));
        }
    }
    Ok(code)
}

/// The code as it was given, however it was typed.
fn typed(code: &str) -> Option<String> {
    let letters: Vec<u8> = code
        .bytes()
        .filter(|byte| !matches!(byte, b'-' | b' '))
        .map(|byte| byte.to_ascii_uppercase())
        .collect();
    let known = letters.len() == 8 && letters.iter().all(|byte| LETTERS.contains(byte));
    let text = String::from_utf8(letters).ok().filter(|_| known)?;
    Some(format!("{}-{}", &text[..4], &text[4..]))
}

fn no_device() -> Error {
    Error::new(
        ErrorCode::NotFound,
        "no such code; it is wrong, used or expired",
    )
}

/// Codes for a command line.
///
/// # Errors
/// A bad name, or Redis is away.
pub(crate) async fn start(
    app: &App,
    request: &StartDevice,
    visitor: &Visitor,
) -> Result<DeviceCodes> {
    grammar::display_name("client_name", &request.client_name)?;
    let device = Device {
        client_name: request.client_name.trim().to_owned(),
        ip: visitor.ip.clone(),
        since_ms: now_ms(),
        verdict: Verdict::None,
    };
    let mut redis = app.bus.redis();
    let device_code = one_time::issue(&mut redis, Purpose::Device, &device).await?;
    let user_code = user_code()?;
    let key = DeviceKey(Purpose::Device.key(&device_code));
    one_time::keep(&mut redis, Purpose::DeviceUser, &user_code, &key).await?;
    Ok(DeviceCodes {
        device_code,
        user_code,
        verification_url: format!("{}/device", app.public_url),
        interval: INTERVAL_SEC,
        expires_in: u32::try_from(Purpose::Device.life_sec()).unwrap_or(u32::MAX),
    })
}

fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
}

async fn device_at(app: &App, key: &str) -> Result<Option<Device>> {
    let text: Option<String> = app.bus.redis().get(key).await?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

/// Who waits behind a user code.
///
/// # Errors
/// `not_found`, or Redis is away.
pub(crate) async fn waiting(app: &App, code: &str) -> Result<WaitingDevice> {
    let code = typed(code).ok_or_else(no_device)?;
    let key: Option<DeviceKey> =
        one_time::look(&mut app.bus.redis(), Purpose::DeviceUser, &code).await?;
    let key = key.ok_or_else(no_device)?.0;
    let device = device_at(app, &key).await?.ok_or_else(no_device)?;
    let since = Time::from_unix_ms(device.since_ms);
    Ok(WaitingDevice {
        client_name: device.client_name,
        ip: device.ip,
        created_at: since.ok_or_else(|| Error::internal("a time out of range"))?,
    })
}

/// Lets the command line behind a user code in as the caller.
///
/// # Errors
/// `not_found`, `forbidden` for a team that is not theirs, or a service is away.
pub(crate) async fn approve(
    app: &App,
    caller: &Caller,
    code: &str,
    team: Option<TeamId>,
) -> Result<()> {
    let team = team.or(caller.team);
    if let Some(team) = team
        && team_role(&app.db, team, caller.id).await?.is_none()
    {
        return Err(Error::new(
            ErrorCode::Forbidden,
            "you are not a member of this team",
        ));
    }
    let grant = Grant {
        user: caller.id,
        token_version: caller.token_version,
        team,
    };
    decide(app, code, Verdict::Approved(grant)).await
}

/// Refuses the command line behind a user code.
///
/// # Errors
/// `not_found`, or Redis is away.
pub(crate) async fn deny(app: &App, code: &str) -> Result<()> {
    decide(app, code, Verdict::Denied).await
}

async fn decide(app: &App, code: &str, verdict: Verdict) -> Result<()> {
    let code = typed(code).ok_or_else(no_device)?;
    let mut redis = app.bus.redis();
    // Whoever gets the code decides; nobody decides twice.
    let key: Option<DeviceKey> = one_time::consume(&mut redis, Purpose::DeviceUser, &code).await?;
    let key = key.ok_or_else(no_device)?.0;
    let device = device_at(app, &key).await?.ok_or_else(no_device)?;
    let device = Device { verdict, ..device };
    let text = serde_json::to_string(&device).map_err(Error::internal)?;
    let mut set = redis::cmd("SET");
    set.arg(&key).arg(text).arg("XX").arg("KEEPTTL");
    let kept: Option<String> = set.query_async(&mut redis).await?;
    kept.map(drop).ok_or_else(no_device)
}

/// Tells a command line whether it was let in.
///
/// # Errors
/// `invalid_token` when it was refused, or its code is unknown, used or expired.
pub(crate) async fn poll(app: &App, device_code: &str, visitor: &Visitor) -> Result<Poll> {
    let mut redis = app.bus.redis();
    let device: Option<Device> = one_time::look(&mut redis, Purpose::Device, device_code).await?;
    let device = device.ok_or_else(invalid_token)?;
    if matches!(device.verdict, Verdict::None) {
        return Ok(Poll::Pending);
    }
    // Decided: the answer is given once.
    let device: Option<Device> =
        one_time::consume(&mut redis, Purpose::Device, device_code).await?;
    let device = device.ok_or_else(invalid_token)?;
    let Verdict::Approved(grant) = device.verdict else {
        return Err(invalid_token());
    };
    let account = granted(app, &grant).await?;
    let visitor = Visitor {
        kind: Some(SessionKind::Cli),
        client: device.client_name,
        ..visitor.clone()
    };
    let signed_in = sign_in(app, &account, grant.team, &visitor).await?;
    Ok(Poll::Approved(Box::new(signed_in)))
}

/// The account behind a grant, unless its tokens were voided since.
async fn granted(app: &App, grant: &Grant) -> Result<Account> {
    let account = account_get(&app.db, grant.user).await?;
    let account = account.filter(|account| {
        account.status == "active" && account.token_version == grant.token_version
    });
    account.ok_or_else(invalid_token)
}

#[derive(Debug, Serialize, Deserialize)]
struct CliGrant {
    grant: Grant,
    challenge: String,
}

/// A code with which a command line on the person's own machine takes them over.
///
/// # Errors
/// A bad challenge or address, or Redis is away.
pub(crate) async fn cli_code(
    app: &App,
    caller: &Caller,
    request: &CliCodeRequest,
) -> Result<OneTimeCode> {
    let challenge = URL_SAFE_NO_PAD.decode(&request.code_challenge);
    if !challenge.is_ok_and(|challenge| challenge.len() == 32) {
        let reason = "must be base64url of a SHA-256, without padding";
        return Err(Invalid::new("code_challenge", reason).into());
    }
    if !is_loopback(&request.redirect_uri) {
        let reason = "must be http:// on 127.0.0.1 or [::1]";
        return Err(Invalid::new("redirect_uri", reason).into());
    }
    let grant = CliGrant {
        grant: Grant {
            user: caller.id,
            token_version: caller.token_version,
            team: caller.team,
        },
        challenge: request.code_challenge.clone(),
    };
    let code = one_time::issue(&mut app.bus.redis(), Purpose::Cli, &grant).await?;
    Ok(OneTimeCode { code })
}

/// Whether the address is on the caller's own machine, whatever its port and path.
fn is_loopback(uri: &str) -> bool {
    let Some(rest) = uri.strip_prefix("http://") else {
        return false;
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let port = ["127.0.0.1", "[::1]"]
        .into_iter()
        .find_map(|host| authority.strip_prefix(host));
    port.is_some_and(|port| {
        port.is_empty()
            || port
                .strip_prefix(':')
                .is_some_and(|p| p.parse::<u16>().is_ok())
    })
}

/// Signs a command line in by the code that a browser handed it.
///
/// # Errors
/// `invalid_token`, or a service is away.
pub(crate) async fn cli_exchange(
    app: &App,
    request: &CliExchange,
    visitor: &Visitor,
) -> Result<SignedIn> {
    let found: Option<CliGrant> =
        one_time::consume(&mut app.bus.redis(), Purpose::Cli, &request.code).await?;
    let found = found.ok_or_else(invalid_token)?;
    let proof = URL_SAFE_NO_PAD.encode(sha256(request.code_verifier.as_bytes()));
    if proof != found.challenge {
        return Err(invalid_token());
    }
    let account = granted(app, &found.grant).await?;
    let visitor = Visitor {
        kind: Some(SessionKind::Cli),
        ..visitor.clone()
    };
    sign_in(app, &account, found.grant.team, &visitor).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_known_however_they_are_typed() {
        let code = user_code().unwrap();
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(typed(text).as_deref(), expected, "{text}");
        };
        check(&code, Some(&code));
        check(&code.to_lowercase().replace('-', " "), Some(&code));
        check("BCDF-GHJ", None);
        check("BCDF-GHJA", None);
        check("BCDF-GHJKL", None);
        check("BCDF-GHJé", None);
    }

    #[test]
    fn only_the_own_machine_is_handed_a_person() {
        let check = |uri: &str, expected: bool| assert_eq!(is_loopback(uri), expected, "{uri}");
        check("http://127.0.0.1:4711/callback", true);
        check("http://[::1]:4711/", true);
        check("http://127.0.0.1", true);
        check("https://127.0.0.1:1/", false);
        check("http://127.0.0.1.example.com/", false);
        check("http://127.0.0.1@example.com/", false);
        check("http://127.0.0.1:80@example.com/", false);
        check("http://example.com/?127.0.0.1", false);
    }
}
