//! The person signs in at the server's page in a browser, which hands them on to this process.
//!
//! The page is told where this process listens (127.0.0.1, a port of the moment) and the challenge of a verifier
//! that never leaves it; it comes back with a code. Whoever reads the code on its way can do nothing with it
//! (RFC 7636), and a page that did not come from here is known by its state (RFC 8252).

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::Stdio,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures::{StreamExt, stream::FuturesUnordered};
use reqwest::Url;
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use wrenn_api::{AuthResponse, account::CliExchange};

use super::sign_in;
use crate::{
    client::Client,
    context::Context,
    error::{Attempt, CliError, Exit},
    local::program::find,
};

/// How long the person may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long a browser may take to say what it wants.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// Largest request of a browser.
const REQUEST_SIZE: usize = 16 << 10;
/// Connections at a time: browsers open some ahead.
const CONNECTIONS: usize = 16;

/// What opens an address in a browser.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Opener(Vec<String>);

impl Opener {
    /// What `BROWSER` names, else the desktop's own.
    ///
    /// # Errors
    /// The reason why there is none.
    pub(super) fn find() -> Result<Self, &'static str> {
        Self::choose(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn choose(variable: impl Fn(&str) -> Option<String>) -> Result<Self, &'static str> {
        if let Some(browsers) = variable("BROWSER") {
            let first = browsers.split(':').next().unwrap_or_default();
            return Ok(Self(first.split_whitespace().map(str::to_owned).collect()));
        }
        if cfg!(target_os = "macos") {
            return Ok(Self(vec!["open".to_owned()]));
        }
        if variable("SSH_CONNECTION").is_some() {
            return Err("a browser that this machine opened would not be in front of you");
        }
        if variable("DISPLAY").is_none() && variable("WAYLAND_DISPLAY").is_none() {
            return Err("there is no display to open a browser on");
        }
        let program = ["xdg-open", "sensible-browser", "wslview"]
            .into_iter()
            .find(|name| find(name).is_some());
        program
            .map(|program| Self(vec![program.to_owned()]))
            .ok_or("nothing here opens a browser (xdg-open is not installed)")
    }

    /// Opens `url`; whether a page shows up only the person knows.
    fn open(&self, url: &Url) -> std::io::Result<()> {
        let (program, words) = self.0.split_first().ok_or(std::io::ErrorKind::NotFound)?;
        let mut command = tokio::process::Command::new(program);
        let named = words.iter().any(|word| word.contains("%s"));
        command.args(words.iter().map(|word| word.replace("%s", url.as_str())));
        if !named {
            command.arg(url.as_str());
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map(drop)
    }
}

/// Opens the page and waits until it comes back.
pub(super) async fn by_browser(
    context: &Context,
    client: &Client,
    opener: &Opener,
) -> Result<AuthResponse, CliError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .attempt(|| "listen for the browser")?;
    let address = listener.local_addr().attempt(|| "listen for the browser")?;
    let (verifier, state) = (random()?, random()?);
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()));
    let page = page(client.base_url(), address, &challenge, &state)?;
    if let Err(error) = opener.open(&page) {
        context
            .out
            .warning(&format!("the browser did not open: {error}"));
    }
    // Not a note: without it nobody can go on where nothing opened.
    context.out.ask_for(&format!(
        "Sign in in your browser. If it shows nothing, open this address on this machine, or: wrenn login --device\n\n  {page}\n"
    ));
    let back = tokio::time::timeout(PATIENCE, callback(&listener, &state));
    let (code, stream) = back.await.map_err(|_| {
        CliError::new(
            Exit::Deadline,
            "deadline",
            "nobody signed in in the browser within 5 minutes",
        )
        .hint("again", "wrenn login")
        .hint("or", "wrenn login --device")
    })??;
    let request = CliExchange {
        code,
        code_verifier: verifier,
    };
    let answer = sign_in(client, "/v1/auth/cli/exchange", &request).await;
    let (status, text) = match &answer {
        Ok(_) => ("200 OK", "You are signed in. Go back to the terminal."),
        Err(_) => (
            "502 Bad Gateway",
            "That did not work. The terminal says why.",
        ),
    };
    respond(stream, status, text).await;
    answer
}

fn page(
    base_url: &str,
    address: SocketAddr,
    challenge: &str,
    state: &str,
) -> Result<Url, CliError> {
    let mut page = Url::parse(&format!("{base_url}/cli")).attempt(|| format!("use {base_url}"))?;
    page.query_pairs_mut()
        .append_pair("redirect_uri", &format!("http://{address}/callback"))
        .append_pair("code_challenge", challenge)
        .append_pair("state", state);
    Ok(page)
}

/// 256 bits that nobody guesses.
fn random() -> Result<String, CliError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| CliError::local(format_args!("get random bytes: {error}")))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// Waits for the page; answers its code and whom to tell how that went.
async fn callback(listener: &TcpListener, state: &str) -> Result<(String, TcpStream), CliError> {
    let mut open = FuturesUnordered::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if open.len() < CONNECTIONS => {
                let (stream, _) = accepted.attempt(|| "accept the browser")?;
                open.push(tokio::time::timeout(REQUEST_LIMIT, request(stream, state)));
            }
            Some(asked) = open.next() => match asked {
                Ok(Some((Came::Code(code), stream))) => return Ok((code, stream)),
                Ok(Some((Came::Refused(why), stream))) => {
                    respond(stream, "200 OK", "You refused. Go back to the terminal.").await;
                    return Err(CliError::new(
                        Exit::Forbidden,
                        "denied",
                        format_args!("the browser did not sign in: {}", why.escape_default()),
                    )
                    .hint("again", "wrenn login"));
                }
                Ok(Some((Came::Astray(status), stream))) => {
                    respond(stream, status, "This is not the page that was opened from here.").await;
                }
                Ok(None) | Err(_) => {}
            },
        }
    }
}

/// What a request brought.
#[derive(Debug, PartialEq, Eq)]
enum Came {
    Code(String),
    Refused(String),
    Astray(&'static str),
}

async fn request(mut stream: TcpStream, state: &str) -> Option<(Came, TcpStream)> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = stream.read_buf(&mut head).await.ok()?;
        if read == 0 || head.len() > REQUEST_SIZE {
            return None;
        }
    }
    let came = judge(&String::from_utf8_lossy(&head), state);
    Some((came, stream))
}

fn judge(head: &str, state: &str) -> Came {
    let target = head
        .strip_prefix("GET ")
        .and_then(|rest| rest.split(' ').next());
    let Some(query) = target.and_then(|target| target.strip_prefix("/callback?")) else {
        return Came::Astray("404 Not Found");
    };
    let value = |wanted: &str| {
        form_urlencoded::parse(query.as_bytes())
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value.into_owned())
    };
    if value("state").as_deref() != Some(state) {
        return Came::Astray("400 Bad Request");
    }
    match (value("code"), value("error")) {
        (Some(code), _) => Came::Code(code),
        (None, Some(error)) => Came::Refused(error),
        (None, None) => Came::Astray("400 Bad Request"),
    }
}

/// Tells the browser; one that went away misses nothing.
async fn respond(mut stream: TcpStream, status: &str, text: &str) {
    let page = format!("<!doctype html><meta charset=utf-8><title>Wrenn</title><p>{text}");
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: {}\r\n\
         referrer-policy: no-referrer\r\ncache-control: no-store\r\nconnection: close\r\n\r\n{page}",
        page.len()
    );
    let telling = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await
    };
    let _ = tokio::time::timeout(REQUEST_LIMIT, telling).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_page_that_was_opened_here_brings_a_code() {
        let check = |head: &str, expected: Came| assert_eq!(judge(head, "s1"), expected, "{head}");
        let code = |code: &str| Came::Code(code.to_owned());
        check("GET /callback?code=c&state=s1 HTTP/1.1\r\n", code("c"));
        check(
            "GET /callback?state=s1&code=a%2Bb HTTP/1.1\r\n",
            code("a+b"),
        );
        let astray = || Came::Astray("400 Bad Request");
        check("GET /callback?code=c&state=s2 HTTP/1.1\r\n", astray());
        check("GET /callback?code=c HTTP/1.1\r\n", astray());
        check("GET /callback?state=s1 HTTP/1.1\r\n", astray());
        let refused = Came::Refused("access_denied".to_owned());
        check(
            "GET /callback?error=access_denied&state=s1 HTTP/1.1\r\n",
            refused,
        );
        let unknown = || Came::Astray("404 Not Found");
        check("POST /callback?code=c&state=s1 HTTP/1.1\r\n", unknown());
        check("GET /favicon.ico HTTP/1.1\r\n", unknown());
    }

    #[test]
    fn a_browser_is_opened_where_somebody_sees_it() {
        let check = |set: &[(&str, &str)], expected: Result<&[&str], ()>| {
            let variable = |name: &str| {
                let found = set.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            let opener = Opener::choose(variable);
            let expected =
                expected.map(|words| Opener(words.iter().map(|&w| w.to_owned()).collect()));
            assert_eq!(opener.map_err(drop), expected, "{set:?}");
        };
        check(
            &[("BROWSER", "firefox --new-tab:chrome")],
            Ok(&["firefox", "--new-tab"]),
        );
        check(
            &[("BROWSER", "firefox"), ("SSH_CONNECTION", "x")],
            Ok(&["firefox"]),
        );
        if cfg!(target_os = "linux") {
            check(&[], Err(()));
            check(&[("DISPLAY", ":0"), ("SSH_CONNECTION", "x")], Err(()));
        }
    }
}
