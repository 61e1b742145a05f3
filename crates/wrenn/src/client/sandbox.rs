//! Sandboxes: create and wait, find by reference, remember the last one.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use wrenn_api::{CreateSandbox, ErrorCode, Sandbox, SandboxStatus};
use wrenn_ids::SandboxId;

use super::Client;
use crate::{
    config::{home_dir, write_private},
    error::{CliError, Exit},
};

/// Between two looks at a sandbox that is starting, as published clients do.
const POLL: Duration = Duration::from_millis(500);
/// How long a sandbox may take to run: a first boot under emulation is slow.
const START_LIMIT: Duration = Duration::from_secs(180);

fn no_template(name: &str, error: CliError) -> CliError {
    CliError {
        message: format!("there is no template `{name}`"),
        hints: Vec::new(),
        ..error
    }
    .hint("use", "--template minimal, which is always there")
}

impl Client {
    /// Asks for a sandbox; it may still be starting.
    pub(crate) async fn sandbox_create(
        &self,
        request: &CreateSandbox,
    ) -> Result<Sandbox, CliError> {
        let made: Result<Sandbox, CliError> = self.post("/v1/sandboxes", request).await;
        let sandbox = made.map_err(|error| match &request.template {
            // All that a create can fail to find.
            Some(template) if error.exit == Exit::NotFound => no_template(template, error),
            _ => error,
        })?;
        self.remember(sandbox.id);
        Ok(sandbox)
    }

    /// One sandbox.
    pub(crate) async fn sandbox_get(&self, id: SandboxId) -> Result<Sandbox, CliError> {
        self.get(&format!("/v1/sandboxes/{id}")).await
    }

    /// Waits until `sandbox` runs.
    pub(crate) async fn sandbox_wait_running(
        &self,
        mut sandbox: Sandbox,
    ) -> Result<Sandbox, CliError> {
        let begun = Instant::now();
        loop {
            match sandbox.status {
                SandboxStatus::Running => return Ok(sandbox),
                SandboxStatus::Pending | SandboxStatus::Starting => {}
                status => {
                    let reason = sandbox
                        .reason
                        .map(|reason| format!(" ({reason})"))
                        .unwrap_or_default();
                    return Err(CliError::new(
                        Exit::Unavailable,
                        "create_failed",
                        format_args!(
                            "sandbox {} did not start: it is {status}{reason}",
                            sandbox.id
                        ),
                    )
                    .hint("logs", "wrenn logs host-agent control-plane --tail 50")
                    .hint("see", "wrenn status"));
                }
            }
            if begun.elapsed() > START_LIMIT {
                return Err(CliError::new(
                    Exit::Deadline,
                    "deadline",
                    format_args!(
                        "sandbox {} is still {} after {} s",
                        sandbox.id,
                        sandbox.status,
                        START_LIMIT.as_secs()
                    ),
                )
                .hint("look", format_args!("wrenn sandbox get {}", sandbox.id))
                .hint("drop", format_args!("wrenn sandbox rm {}", sandbox.id)));
            }
            tokio::time::sleep(POLL).await;
            sandbox = self.sandbox_get(sandbox.id).await?;
        }
    }

    /// Pauses a sandbox and waits until it is; one that is paused counts as done. Who asks again while it is being
    /// paused joins that, which has a deadline of its own.
    pub(crate) async fn sandbox_pause(&self, id: SandboxId) -> Result<Sandbox, CliError> {
        loop {
            match self.order(id, "pause").await {
                Err(error) if error.code == ErrorCode::DeadlineExceeded.as_str() => {}
                done => return done,
            }
        }
    }

    /// Resumes a sandbox; one that runs counts as done. It may still be starting.
    pub(crate) async fn sandbox_resume(&self, id: SandboxId) -> Result<Sandbox, CliError> {
        self.order(id, "resume").await
    }

    async fn order(&self, id: SandboxId, what: &str) -> Result<Sandbox, CliError> {
        let path = format!("/v1/sandboxes/{id}/{what}");
        let request = self.request(reqwest::Method::POST, &path)?;
        self.answer(self.send(request).await?).await
    }

    /// Destroys a sandbox; one that is gone already counts as done.
    pub(crate) async fn sandbox_destroy(&self, id: SandboxId) -> Result<(), CliError> {
        match self.delete(&format!("/v1/sandboxes/{id}")).await {
            Err(error) if error.exit == Exit::NotFound => Ok(()),
            result => result,
        }
    }

    /// Every sandbox that `query` (without `?`) selects, page by page.
    pub(crate) async fn sandbox_list<T: serde::de::DeserializeOwned>(
        &self,
        query: &str,
    ) -> Result<Vec<T>, CliError> {
        let mut all = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut path = format!("/v1/sandboxes?limit=1000&{query}");
            if let Some(cursor) = &cursor {
                path.push_str(&format!("&cursor={cursor}"));
            }
            let response = self
                .send(self.request(reqwest::Method::GET, &path)?)
                .await?;
            cursor = response
                .headers()
                .get("x-next-cursor")
                .and_then(|cursor| cursor.to_str().ok())
                .map(str::to_owned);
            all.extend(self.answer::<Vec<T>>(response).await?);
            if cursor.is_none() {
                return Ok(all);
            }
        }
    }

    /// The id that `reference` means: a full id, the unique beginning of one, or `@last`.
    pub(crate) async fn sandbox_find(&self, reference: &str) -> Result<SandboxId, CliError> {
        if reference == "@last" {
            return self.last().ok_or_else(|| {
                CliError::new(
                    Exit::NotFound,
                    "not_found",
                    format_args!("no sandbox was created in context `{}` yet", self.context()),
                )
                .hint("try", "wrenn sandbox create")
            });
        }
        if let Ok(id) = reference.parse() {
            return Ok(id);
        }
        if !is_beginning(reference) {
            return Err(CliError::usage(format_args!(
                "`{reference}` is no sandbox: write an id, at least 4 characters of one after `sb-`, or @last"
            ))
            .hint("see", "wrenn sandbox ls"));
        }
        let statuses = "status=pending,starting,running,paused,hibernated,stopped,missing,error";
        let all: Vec<Sandbox> = self.sandbox_list(statuses).await?;
        let fits: Vec<&Sandbox> = all
            .iter()
            .filter(|sandbox| sandbox.id.to_string().starts_with(reference))
            .collect();
        match fits[..] {
            [one] => Ok(one.id),
            [] => Err(CliError::new(
                Exit::NotFound,
                "not_found",
                format_args!("no sandbox begins with `{reference}`"),
            )
            .hint("see", "wrenn sandbox ls --all")),
            _ => {
                let names: Vec<String> = fits
                    .iter()
                    .take(5)
                    .map(|sandbox| format!("{} ({})", sandbox.id, sandbox.status))
                    .collect();
                Err(CliError::new(
                    Exit::NotFound,
                    "ambiguous",
                    format_args!(
                        "`{reference}` fits {} sandboxes: {}",
                        fits.len(),
                        names.join(", ")
                    ),
                )
                .hint("type", "more of the id"))
            }
        }
    }

    /// Remembers the sandbox last created in this context; losing that is no failure of the command.
    fn remember(&self, id: SandboxId) {
        if let Some(path) = self.last_path() {
            let _ = write_private(&path, format!("{id}\n").as_bytes());
        }
    }

    fn last(&self) -> Option<SandboxId> {
        std::fs::read_to_string(self.last_path()?)
            .ok()?
            .trim()
            .parse()
            .ok()
    }

    fn last_path(&self) -> Option<PathBuf> {
        let name: String = self
            .context()
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || c == '-' {
                    c
                } else {
                    '_'
                }
            })
            .collect();
        Some(
            home_dir("XDG_STATE_HOME", ".local/state")
                .ok()?
                .join("wrenn/last")
                .join(name),
        )
    }
}

/// Whether `text` is `sb-` and 4 or more characters of an id.
fn is_beginning(text: &str) -> bool {
    text.strip_prefix(SandboxId::PREFIX).is_some_and(|digits| {
        digits.len() >= 4
            && digits
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::TcpListener,
    };

    use super::*;
    use crate::{
        config::Target,
        out::{Out, OutFlags},
    };

    #[tokio::test]
    async fn a_pause_that_goes_on_is_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let base_url = format!("http://{}", listener.local_addr().expect("an address"));
        let answers = [
            ("504 Gateway Timeout", "deadline_exceeded"),
            ("409 Conflict", "invalid_state"),
        ];
        let server = std::thread::spawn(move || {
            for (status, code) in answers {
                let (mut stream, _) = listener.accept().expect("a request");
                let _ = stream.read(&mut [0; 4096]).expect("it is read");
                let body = format!(r#"{{"error":{{"code":"{code}","message":"why"}}}}"#);
                let length = body.len();
                let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n");
                let answer = format!("{head}connection: close\r\n\r\n{body}");
                stream.write_all(answer.as_bytes()).expect("it is answered");
            }
        });
        let target = Target {
            context: "test".to_owned(),
            base_url,
            api_key: Some("wrn_0".to_owned()),
            ..Target::default()
        };
        let out = Out::new(OutFlags::default());
        let client = Client::new(target, Duration::from_secs(30), out).expect("a client");
        let refused = client.sandbox_pause(SandboxId::new()).await;
        assert_eq!(refused.expect_err("refused").code, "invalid_state");
        server.join().expect("both were asked for");
    }

    #[test]
    fn a_beginning_needs_four_characters() {
        let check = |text: &str, expected: bool| assert_eq!(is_beginning(text), expected, "{text}");
        check("sb-0000", true);
        check("sb-000", false);
        check("0000", false);
        check("sb-../../..", false);
    }
}
