//! Who may call what: the one place that decides it, before any handler runs.
//!
//! Paths fall into four classes (`Class`); the phase of the sandbox and the credentials of the request
//! decide. What a handler still has to do is to find the user that the request acts for.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, Method, StatusCode, header::AUTHORIZATION, request::Parts};
use thiserror::Error;
use wrenn_rpc::connectrpc::{ConnectError, ErrorCode};

use super::connections;
use crate::{
    agent::Agent,
    flags::Surroundings,
    guest::mmds::Metadata,
    http::{HttpError, signature},
    sandbox::Phase,
    standstill,
    users::User,
};

/// Whom a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    Everybody,
    /// Programs of the guest, by the loopback address: they may read, and little.
    Guest,
}

/// Where a request came from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    pub(crate) audience: Audience,
    pub(crate) connection: connections::Id,
}

/// The timeout of a call whose deadline is not the library's to enforce.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallTimeout(pub(crate) Duration);

/// What the metadata service said when a caller was found to be the host.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) metadata: Metadata,
    /// The standstill's round before it was asked: in another one it may be the word of another life.
    pub(crate) round: u64,
}

/// What a path needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Open,
    HostOnly,
    Files,
    Token,
}

const ACCESS_TOKEN: &str = "x-access-token";
const HOST_KEY: &str = "x-wrenn-host-key";
const INIT: &str = "/init";
const START: &str = "/process.Process/Start";
const CONNECT_TIMEOUT: &str = "connect-timeout-ms";
const KEEPALIVE: &str = "keepalive-ping-interval";
const DEFAULT_KEEPALIVE: u64 = 90;
const GRPC_TIMEOUT: &str = "grpc-timeout";

fn classify(path: &str) -> Class {
    match path {
        "/health" => Class::Open,
        INIT | "/freeze" | "/unfreeze" | "/snapshot/prepare" => Class::HostOnly,
        "/files" => Class::Files,
        _ => Class::Token,
    }
}

/// Whether a path belongs to one of the RPC services.
pub(crate) fn is_rpc(path: &str) -> bool {
    path.starts_with("/process.Process/") || path.starts_with("/filesystem.Filesystem/")
}

/// The middleware: answers what may not pass.
pub(crate) async fn check(
    State(agent): State<Arc<Agent>>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let rpc = is_rpc(parts.uri.path());
    let round = standstill::round(&agent);
    match admit(&agent, &parts).await {
        Ok(None) => {}
        Ok(Some(metadata)) => drop(parts.extensions.insert(Shown { metadata, round })),
        Err(refusal) if rpc => return refusal.for_rpc(),
        Err(refusal) => return refusal.into_response(),
    }
    if rpc && let Err(fault) = take_timeout(&mut parts) {
        return fault.into_http_response(&parts.headers).map(Body::new);
    }
    next.run(Request::from_parts(parts, body)).await
}

/// What the metadata service says, where it had to be asked.
async fn admit(agent: &Agent, request: &Parts) -> Result<Option<Metadata>, HttpError> {
    let (path, headers) = (request.uri.path(), &request.headers);
    let caller = request.extensions.get::<Caller>();
    let guest_only = caller.is_none_or(|caller| caller.audience == Audience::Guest);
    if guest_only && !(request.method == Method::GET && matches!(path, "/health" | "/envs")) {
        return Err(HttpError::NOT_FOUND);
    }
    let class = classify(path);
    match class {
        Class::Open => return Ok(None),
        Class::HostOnly => return host(agent, path, headers).await,
        Class::Files | Class::Token => {}
    }
    let (phase, sealed, token) = {
        let state = agent.sandbox.state();
        (state.phase, state.sealed, state.token.clone())
    };
    if sealed {
        return Err(HttpError::fixed(503, "sandbox is being snapshotted"));
    }
    if phase == Phase::Waiting {
        return Err(HttpError::fixed(503, "sandbox is not initialized"));
    }
    let Some(token) = token else { return Ok(None) };
    match headers.get(ACCESS_TOKEN) {
        Some(offered) if token.matches(offered.as_bytes()) => Ok(None),
        Some(_) => Err(HttpError::fixed(401, "invalid access token")),
        None if class == Class::Files => {
            let query = request.uri.query().unwrap_or_default();
            signature::check(&request.method, query, &token, jiff::Timestamp::now())?;
            Ok(None)
        }
        None => Err(HttpError::fixed(401, "missing access token")),
    }
}

async fn host(
    agent: &Agent,
    path: &str,
    headers: &HeaderMap,
) -> Result<Option<Metadata>, HttpError> {
    if agent.surroundings == Surroundings::Machine {
        return Ok(None);
    }
    let for_the_host = HttpError::fixed(401, "this is for the host only");
    let Some(offered) = headers.get(HOST_KEY) else {
        return Err(for_the_host);
    };
    // Sealed, this may be another life of the VM, restored a moment after it was sealed, with another key.
    let anew = path == INIT || agent.sandbox.state().sealed;
    match agent.host_key.admits(offered.as_bytes(), anew).await {
        Ok(Some(metadata)) => Ok(Some(metadata)),
        Ok(None) => Err(for_the_host),
        Err(fault) => {
            let fault: &dyn std::error::Error = &fault;
            tracing::warn!(fault, "cannot tell the host from others");
            Err(HttpError::fixed(
                503,
                "the metadata service does not answer",
            ))
        }
    }
}

/// Checks the timeout of a call. That of `Start` belongs to the process and not to the stream, so it is
/// taken from the headers; a timeout of zero is none.
fn take_timeout(request: &mut Parts) -> Result<(), ConnectError> {
    let headers = &mut request.headers;
    let timeout = match (headers.get(CONNECT_TIMEOUT), headers.get(GRPC_TIMEOUT)) {
        (None, None) => return Ok(()),
        (Some(value), _) => value.to_str().ok().and_then(connect_timeout),
        (None, Some(value)) => value.to_str().ok().and_then(grpc_timeout),
    };
    let timeout =
        timeout.ok_or_else(|| ConnectError::invalid_argument("cannot read the timeout"))?;
    let start = request.uri.path() == START;
    if start || timeout.is_zero() {
        headers.remove(CONNECT_TIMEOUT);
        headers.remove(GRPC_TIMEOUT);
    }
    if start && !timeout.is_zero() {
        request.extensions.insert(CallTimeout(timeout));
    }
    Ok(())
}

/// Milliseconds in at most ten digits.
fn connect_timeout(text: &str) -> Option<Duration> {
    let digits = (1..=10).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok().map(Duration::from_millis))?
}

/// At most eight digits and a unit.
fn grpc_timeout(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let digits = text.strip_suffix(unit)?;
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        'H' => Some(Duration::from_secs(count * 3600)),
        'M' => Some(Duration::from_secs(count * 60)),
        'S' => Some(Duration::from_secs(count)),
        'm' => Some(Duration::from_millis(count)),
        'u' => Some(Duration::from_micros(count)),
        'n' => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

/// Finds the user that a request acts for: the one it names, else the sandbox's default.
pub(crate) fn user(agent: &Agent, headers: &HeaderMap) -> Result<User, UserError> {
    let named = headers
        .get(AUTHORIZATION)
        .map(|value| basic_user(value.as_bytes()));
    let name = match named {
        Some(Some(name)) if !name.is_empty() => name,
        Some(None) => {
            return Err(UserError::Unreadable);
        }
        _ => agent.sandbox.state().default_user.clone(),
    };
    if name.is_empty() {
        return Err(UserError::Missing);
    }
    find_user(agent, &name)
}

/// Finds a user by name.
pub(crate) fn find_user(agent: &Agent, name: &str) -> Result<User, UserError> {
    let found = agent.users.find(name);
    found.ok_or_else(|| UserError::Unknown(short(name)))
}

/// Why a request has no user.
#[derive(Debug, Error)]
pub(crate) enum UserError {
    #[error("no user given")]
    Missing,
    #[error("cannot read the authorization header")]
    Unreadable,
    #[error("unknown user '{0}'")]
    Unknown(String),
}

impl From<UserError> for ConnectError {
    fn from(fault: UserError) -> Self {
        Self::unauthenticated(fault.to_string())
    }
}

/// The name of `Basic base64("name:password")`; the password means nothing here.
fn basic_user(value: &[u8]) -> Option<String> {
    let (scheme, encoded) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let decoded = STANDARD.decode(encoded.trim_ascii()).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    text.split_once(':').map(|(name, _)| name.to_owned())
}

/// Any bytes are a header.
#[cfg(feature = "fuzzing")]
pub(crate) fn fuzz(data: &[u8]) {
    let _ = basic_user(data);
    let text = String::from_utf8_lossy(data);
    if let Some(timeout) = connect_timeout(&text) {
        assert!(timeout.as_millis() < 10_000_000_000);
    }
    let _ = grpc_timeout(&text);
}

/// Text of a caller, cut for a message, which is at most a kilobyte.
pub(crate) fn short(text: &str) -> String {
    const MOST: usize = 768;
    text[..text.floor_char_boundary(MOST)].to_owned()
}

impl HttpError {
    /// The same refusal in the shape of a Connect error, with its own HTTP status also for streams.
    fn for_rpc(&self) -> Response {
        let code = match self.status {
            StatusCode::UNAUTHORIZED => ErrorCode::Unauthenticated,
            StatusCode::SERVICE_UNAVAILABLE => ErrorCode::Unavailable,
            StatusCode::NOT_FOUND => ErrorCode::NotFound,
            _ => ErrorCode::Internal,
        };
        ConnectError::new(code, self.message.clone()).into_response()
    }
}

/// How long a stream may be silent: 1–3600 s, else 90 s.
pub(crate) fn keepalive(headers: &HeaderMap) -> Duration {
    let asked = headers
        .get(KEEPALIVE)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    Duration::from_secs(
        asked
            .filter(|seconds| (1..=3600).contains(seconds))
            .unwrap_or(DEFAULT_KEEPALIVE),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_basic(value: &str, expected: Option<&str>) {
        assert_eq!(basic_user(value.as_bytes()).as_deref(), expected, "{value}");
    }

    #[test]
    fn the_user_of_a_basic_header_is_read() {
        check_basic("Basic cm9vdDo=", Some("root"));
        check_basic("basic dXNlcjpwYXNzOndvcmQ=", Some("user"));
        check_basic("Basic Og==", Some(""));
    }

    #[test]
    fn broken_basic_headers_are_refused() {
        for value in [
            "",
            "Basic",
            "Basic ",
            "Basic !!!",
            "Bearer cm9vdDo=",
            "Basic cm9vdA==",
            "Basic //8=",
            "é",
        ] {
            check_basic(value, None);
        }
    }

    #[test]
    fn timeouts_are_digits_and_few() {
        for (text, expected) in [
            ("0", Some(0)),
            ("1500", Some(1500)),
            ("9999999999", Some(9_999_999_999)),
        ] {
            assert_eq!(
                connect_timeout(text),
                expected.map(Duration::from_millis),
                "{text}"
            );
        }
        for text in ["", "-1", "1.5", "abc", "12345678901", "+1", " 1"] {
            assert_eq!(connect_timeout(text), None, "{text}");
        }
        assert_eq!(grpc_timeout("30S"), Some(Duration::from_secs(30)));
        assert_eq!(grpc_timeout("250m"), Some(Duration::from_millis(250)));
        for text in ["", "S", "123456789S", "5X", "-5S", "5é"] {
            assert_eq!(grpc_timeout(text), None, "{text}");
        }
    }

    #[test]
    fn paths_have_their_class() {
        assert_eq!(classify("/health"), Class::Open);
        assert_eq!(classify("/init"), Class::HostOnly);
        assert_eq!(classify("/files"), Class::Files);
        assert_eq!(classify("/files/compose"), Class::Token);
        assert_eq!(classify("//init"), Class::Token);
        assert_eq!(classify("/process.Process/List"), Class::Token);
    }

    fn check_keepalive(header: &str, expected: u64) {
        let headers = [(
            http::HeaderName::from_static(KEEPALIVE),
            header.parse().unwrap(),
        )];
        assert_eq!(
            keepalive(&headers.into_iter().collect()).as_secs(),
            expected,
            "{header}"
        );
    }

    #[test]
    fn keepalive_is_within_bounds_or_the_default() {
        check_keepalive("1", 1);
        check_keepalive("3600", 3600);
        check_keepalive("0", 90);
        check_keepalive("3601", 90);
        check_keepalive("soon", 90);
        assert_eq!(keepalive(&HeaderMap::new()).as_secs(), 90);
    }
}
