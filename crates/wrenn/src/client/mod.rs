//! The public API as the commands use it: one kept-alive connection, typed answers, errors with hints.
//!
//! Types are those of `wrenn-api`. Nothing here prints a result; `-v` shows requests, `-vv` bodies with
//! secrets masked. A key is sent to the configured server only.

mod error;
pub(crate) mod exec;
pub(crate) mod file;
pub(crate) mod login;
pub(crate) mod sandbox;
pub(crate) mod team;

use std::time::{Duration, Instant};

use reqwest::{
    Method, RequestBuilder, Response,
    header::{self, HeaderName, HeaderValue},
};
use serde::{Serialize, de::DeserializeOwned};

use self::login::Held;
use crate::{
    config::Target,
    error::{CliError, Exit, chain},
    out::Out,
};

/// A client of one server with one credential.
#[derive(Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    target: Target,
    timeout: Duration,
    out: Out,
    /// Set when requests carry no key.
    login: Option<Held>,
}

impl Client {
    /// A client of `target`; calls are given up after `timeout`.
    pub(crate) fn new(target: Target, timeout: Duration, out: Out) -> Result<Self, CliError> {
        let url = reqwest::Url::parse(&target.base_url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let Some(url) = url else {
            return Err(CliError::usage(format_args!(
                "`{}` is not an http:// or https:// address",
                target.base_url
            ))
            .hint("try", "--base-url http://127.0.0.1:8080"));
        };
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("wrenn-cli/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(10))
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true);
        if is_loopback(&url) {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| {
            CliError::local(format_args!("set up the HTTP client: {}", chain(&error)))
        })?;
        // A key in the environment is the nearer choice; a login can do more than a stored key.
        let by_key = target.api_key.is_some()
            && (target.login.is_none() || std::env::var_os("WRENN_API_KEY").is_some());
        let login = target.login.clone().filter(|_| !by_key);
        let login = login.map(|login| Held::new(login, target.team.clone()));
        Ok(Self {
            http,
            login,
            target,
            timeout,
            out,
        })
    }

    /// The server's address, without a trailing slash.
    pub(crate) fn base_url(&self) -> &str {
        &self.target.base_url
    }

    /// The context that named the server.
    pub(crate) fn context(&self) -> &str {
        &self.target.context
    }

    /// Whether a person asks, and no key.
    pub(crate) fn is_login(&self) -> bool {
        self.login.is_some()
    }

    /// The header that says who asks.
    pub(crate) async fn credential(&self) -> Result<(HeaderName, HeaderValue), CliError> {
        let (name, text) = match &self.login {
            Some(held) => {
                let token = held.token(self).await?;
                (header::AUTHORIZATION, format!("Bearer {token}"))
            }
            None => (
                HeaderName::from_static("x-api-key"),
                self.api_key()?.to_owned(),
            ),
        };
        let mut value = HeaderValue::from_str(&text)
            .map_err(|_| CliError::usage("the API key has characters that a header cannot hold"))?;
        value.set_sensitive(true);
        Ok((name, value))
    }

    /// The key, or the error that says how to get one.
    fn api_key(&self) -> Result<&str, CliError> {
        self.target.api_key.as_deref().ok_or_else(|| {
            CliError::new(
                Exit::Credentials,
                "unauthorized",
                format_args!("no API key is known for {}", self.target.base_url),
            )
            .hint("run", "wrenn login")
            .hint("or", "WRENN_API_KEY=wrn_… wrenn …")
            .hint("or", "wrenn up")
        })
    }

    /// GETs `path`.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CliError> {
        self.answer(self.send(self.request(Method::GET, path)?).await?)
            .await
    }

    /// POSTs `body` to `path`.
    pub(crate) async fn post<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, CliError> {
        self.answer(
            self.send(self.request(Method::POST, path)?.json(body))
                .await?,
        )
        .await
    }

    /// Sends `body` to `path` for an answer that has none.
    pub(crate) async fn tell<B: Serialize>(
        &self,
        method: Method,
        path: &str,
        body: &B,
    ) -> Result<(), CliError> {
        let request = self.request(method, path)?.json(body);
        self.send(request).await.map(drop)
    }

    /// DELETEs `path`.
    pub(crate) async fn delete(&self, path: &str) -> Result<(), CliError> {
        self.send(self.request(Method::DELETE, path)?)
            .await
            .map(drop)
    }

    /// A request of `path` with the credential and the deadline.
    pub(crate) fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, CliError> {
        Ok(self.streaming_request(method, path)?.timeout(self.timeout))
    }

    /// A request of `path` with the credential and without a deadline for its whole.
    pub(crate) fn streaming_request(
        &self,
        method: Method,
        path: &str,
    ) -> Result<RequestBuilder, CliError> {
        // Told before anything is read or asked: a credential is missing.
        if self.login.is_none() {
            self.api_key()?;
        }
        let url = format!("{}{path}", self.target.base_url);
        Ok(self
            .http
            .request(method, url)
            .header(header::ACCEPT, "application/json"))
    }

    /// A request of `path` as nobody, with the deadline.
    pub(crate) fn open_request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.target.base_url);
        self.http
            .request(method, url)
            .header(header::ACCEPT, "application/json")
            .timeout(self.timeout)
    }

    /// Sends `request` with the credential; an answer that is no success becomes its error.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Response, CliError> {
        let (name, value) = self.credential().await?;
        self.dispatch(request.header(name, value)).await
    }

    /// Sends `request` as it is.
    pub(crate) async fn dispatch(&self, request: RequestBuilder) -> Result<Response, CliError> {
        let request = request
            .build()
            .map_err(|error| self.transport_error(&error))?;
        let path = request.url().path().to_owned();
        let label = format!("{} {}", request.method(), request.url());
        if let Some(body) = request.body().and_then(reqwest::Body::as_bytes) {
            self.out
                .detail(2, &format!("> {}", mask(&String::from_utf8_lossy(body))));
        }
        let begun = Instant::now();
        let response = self
            .http
            .execute(request)
            .await
            .map_err(|error| self.transport_error(&error))?;
        let status = response.status();
        self.out.detail(
            1,
            &format!(
                "{label} → {} in {} ms",
                status.as_u16(),
                begun.elapsed().as_millis()
            ),
        );
        if status.is_success() || status == reqwest::StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response);
        }
        let request_id = response
            .headers()
            .get("x-request-id")
            .and_then(|id| id.to_str().ok())
            .map(str::to_owned);
        let body = response.bytes().await.unwrap_or_default();
        self.out
            .detail(2, &format!("< {}", String::from_utf8_lossy(&body)));
        let error = error::from_answer(status.as_u16(), &body, request_id);
        Err(error::about(error, &path))
    }

    /// The object of an answer.
    pub(crate) async fn answer<T: DeserializeOwned>(
        &self,
        response: Response,
    ) -> Result<T, CliError> {
        let bytes = response
            .bytes()
            .await
            .map_err(|error| self.transport_error(&error))?;
        self.out
            .detail(2, &format!("< {}", mask(&String::from_utf8_lossy(&bytes))));
        serde_json::from_slice(&bytes).map_err(|error| {
            CliError::new(
                Exit::Failure,
                "bad_answer",
                format_args!(
                    "{} sent an answer that is no API answer: {error}",
                    self.target.base_url
                ),
            )
        })
    }

    /// The error of a call that got no answer.
    pub(crate) fn transport_error(&self, error: &reqwest::Error) -> CliError {
        let base = &self.target.base_url;
        if error.is_timeout() {
            return CliError::new(
                Exit::Deadline,
                "deadline",
                format_args!("{base} did not answer in time"),
            )
            .hint("try", "the same with --timeout 5m")
            .hint("see", "wrenn status");
        }
        let why = std::iter::successors(Some(error as &dyn std::error::Error), |error| {
            error.source()
        })
        .last()
        .map_or_else(String::new, ToString::to_string);
        no_connection(base, &why)
    }
}

/// The error for a server that cannot be reached.
pub(crate) fn no_connection(base: &str, why: &str) -> CliError {
    CliError::new(
        Exit::Unavailable,
        "no_connection",
        format_args!("cannot reach {base}: {why}"),
    )
    .hint("start", "wrenn up")
    .hint("see", "wrenn status")
}

fn is_loopback(url: &reqwest::Url) -> bool {
    url.host_str().is_some_and(|host| {
        host == "localhost"
            || host.ends_with(".localhost")
            || host
                .trim_matches(['[', ']'])
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    })
}

/// `body` with the values of its secret fields hidden.
fn mask(body: &str) -> String {
    let Ok(mut value) = serde_json::from_str::<serde_json::Value>(body) else {
        return format!("({} bytes)", body.len());
    };
    mask_value(&mut value);
    value.to_string()
}

fn mask_value(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(object) => {
            for (name, value) in object {
                let secret = matches!(
                    name.as_str(),
                    "key" | "api_key" | "secret" | "envs" | "device_code" | "code_verifier"
                ) || name.ends_with("password")
                    || name.ends_with("token");
                if secret {
                    *value = serde_json::Value::String("…".to_owned());
                } else {
                    mask_value(value);
                }
            }
        }
        serde_json::Value::Array(values) => values.iter_mut().for_each(mask_value),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_never_stand_in_a_shown_body() {
        let shown =
            mask(r#"{"name":"a","key":"wrn_1","deep":[{"refresh_token":"t","envs":{"A":"b"}}]}"#);
        assert!(
            !shown.contains("wrn_1") && !shown.contains("\"t\"") && !shown.contains("\"b\""),
            "{shown}"
        );
        assert!(shown.contains("\"name\":\"a\""), "{shown}");
    }

    #[test]
    fn only_loopback_addresses_skip_the_proxy() {
        let check = |url: &str, expected: bool| {
            assert_eq!(
                is_loopback(&reqwest::Url::parse(url).expect("a URL")),
                expected,
                "{url}"
            );
        };
        check("http://127.0.0.1:8080", true);
        check("http://[::1]:8080", true);
        check("http://localhost", true);
        check("https://wrenn.localhost:8443", true);
        check("https://example.com", false);
        check("https://127.0.0.1.example.com", false);
    }
}
