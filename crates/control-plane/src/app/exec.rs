//! Running programs: to the end, or as a stream of what they print.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use wrenn_api::{
    BackgroundExec, Encoding, ErrorCode, Exec, ExecResult, ProcessSelector, Signal,
    exec::DEFAULT_EXEC_TIMEOUT_SEC, stream::Start,
};
use wrenn_database::SandboxRow;
use wrenn_rpc::hostagent::{
    Command, ExecRequest, ExecResponse, ExecStreamRequest, SendProcessInputRequest,
    StartBackgroundRequest,
};

use super::{Error, Result, processes, wake};
use crate::{
    auth::random_hex,
    hosts::{
        Client,
        error::{Call, from_rpc},
        pool::within,
    },
    state::App,
};

/// Bytes of each stream that a foreground program may print; the rest is discarded.
const OUTPUT_LIMIT: u32 = 16 << 20;
/// Bytes of each stream that an error carries.
const ERROR_LIMIT: usize = 64 << 10;
/// Time beyond the program's own limit.
const GRACE: Duration = Duration::from_secs(5);
/// How long the agent may take for a signal or input.
pub(super) const SIDE_CALL: Duration = Duration::from_secs(30);

/// Runs a program to its end.
///
/// # Errors
/// Bad fields, not running, host or guest fail, or the time limit passes.
pub(crate) async fn run(app: &Arc<App>, row: &SandboxRow, request: Exec) -> Result<ExecResult> {
    request.validate()?;
    let limit = request.timeout_sec.unwrap_or(DEFAULT_EXEC_TIMEOUT_SEC);
    let cmd = request.cmd.clone();
    let call = ExecRequest {
        sandbox_id: row.id().to_string(),
        command: command(request).into(),
        timeout_ms: limit.saturating_mul(1000),
        output_limit_bytes: OUTPUT_LIMIT,
        ..ExecRequest::default()
    };
    let time = Duration::from_secs(limit.into()) + GRACE;
    let answer = wake::call(app, row, wake::FOR_A_PROGRAM, |client: Client| {
        let call = call.clone();
        async move { client.exec_with_options(call, within(time)).await }
    });
    let answer = answer
        .await?
        .map_err(|error| from_rpc(error, Call::Process))?
        .into_owned();
    if answer.timed_out {
        return Err(timed_out(answer, limit));
    }
    let (encoding, stdout, stderr) = texts(answer.stdout, answer.stderr);
    Ok(ExecResult {
        sandbox_id: row.id(),
        cmd,
        stdout,
        stderr,
        exit_code: answer.exit_code,
        duration_ms: answer.duration_ms,
        encoding,
        truncated: answer.truncated,
    })
}

/// Starts a program and leaves it to itself.
///
/// # Errors
/// Bad fields, no such program, the tag is in use, not running, or host or guest fail.
pub(crate) async fn start_background(
    app: &Arc<App>,
    row: &SandboxRow,
    request: Exec,
) -> Result<BackgroundExec> {
    request.validate()?;
    let cmd = request.cmd.clone();
    let tag = match request.tag.clone() {
        Some(tag) => tag,
        None => automatic_tag()?,
    };
    let call = StartBackgroundRequest {
        sandbox_id: row.id().to_string(),
        command: command(request).into(),
        tag: tag.clone(),
        ..StartBackgroundRequest::default()
    };
    let answer = wake::call(app, row, wake::FOR_A_PROGRAM, |client: Client| {
        let call = call.clone();
        async move {
            client
                .start_background_with_options(call, within(SIDE_CALL))
                .await
        }
    });
    let answer = answer
        .await?
        .map_err(|error| from_rpc(error, Call::Process))?;
    Ok(BackgroundExec {
        sandbox_id: row.id(),
        cmd,
        pid: answer.into_owned().pid,
        tag,
    })
}

fn automatic_tag() -> Result<String> {
    let random = random_hex(4).map_err(|error| Error::internal(error.to_string()))?;
    Ok(format!("proc-{random}"))
}

fn command(request: Exec) -> Command {
    Command {
        cmd: request.cmd,
        args: request.args.unwrap_or_default(),
        envs: request.envs.unwrap_or_default().into_iter().collect(),
        cwd: request.cwd,
        user: request.user,
        ..Command::default()
    }
}

/// Both streams as text, or both as base64 when either is not valid UTF-8.
fn texts(stdout: Vec<u8>, stderr: Vec<u8>) -> (Encoding, String, String) {
    match (String::from_utf8(stdout), String::from_utf8(stderr)) {
        (Ok(stdout), Ok(stderr)) => (Encoding::Utf8, stdout, stderr),
        (stdout, stderr) => {
            let bytes = |text: Result<String, std::string::FromUtf8Error>| {
                STANDARD.encode(text.map_or_else(|error| error.into_bytes(), String::into_bytes))
            };
            (Encoding::Base64, bytes(stdout), bytes(stderr))
        }
    }
}

fn timed_out(answer: ExecResponse, limit: u32) -> Error {
    let cut = |mut bytes: Vec<u8>| {
        if bytes.len() > ERROR_LIMIT {
            bytes.truncate(ERROR_LIMIT);
            // Not in the middle of a character, or text would turn into base64.
            if let Err(error) = std::str::from_utf8(&bytes)
                && error.error_len().is_none()
            {
                bytes.truncate(error.valid_up_to());
            }
        }
        bytes
    };
    let (encoding, stdout, stderr) = texts(cut(answer.stdout), cut(answer.stderr));
    Error::new(
        ErrorCode::ExecTimeout,
        format!("the program was ended after {limit} s"),
    )
    .text("stdout", stdout)
    .text("stderr", stderr)
    .text("encoding", encoding.as_str())
    .number("duration_ms", answer.duration_ms)
}

/// A program whose output arrives as it comes.
pub(crate) struct Running {
    client: Client,
    sandbox_id: String,
    pub(crate) events: Events,
}

/// Events of a running program. Dropping it ends the program.
pub(crate) type Events = wrenn_rpc::connectrpc::ServerStream<
    crate::hosts::pool::ResponseBody,
    wrenn_rpc::hostagent::__buffa::view::ExecStreamResponseView<'static>,
>;

/// What may be sent to a running program, apart from its events.
#[derive(Clone)]
pub(crate) struct Control {
    client: Client,
    sandbox_id: String,
}

/// Starts a program.
///
/// # Errors
/// Bad fields, not running, or host or guest fail.
pub(crate) async fn start(app: &Arc<App>, row: &SandboxRow, start: Start) -> Result<Running> {
    start.validate()?;
    let request = ExecStreamRequest {
        sandbox_id: row.id().to_string(),
        command: Some(Command {
            cmd: start.cmd,
            args: start.args.unwrap_or_default(),
            envs: start.envs.unwrap_or_default().into_iter().collect(),
            cwd: start.cwd,
            user: start.user,
            ..Command::default()
        })
        .into(),
        timeout_ms: start.timeout_sec.unwrap_or(0).saturating_mul(1000),
        stdin: start.stdin.unwrap_or(false),
        ..ExecStreamRequest::default()
    };
    let started = wake::call(app, row, wake::FOR_A_PROGRAM, |client: Client| {
        let request = request.clone();
        async move { Ok((client.exec_stream(request).await?, client)) }
    });
    let (events, client) = started
        .await?
        .map_err(|error| from_rpc(error, Call::Process))?;
    Ok(Running {
        client,
        sandbox_id: row.id().to_string(),
        events,
    })
}

impl Running {
    /// A handle for input and signals.
    pub(crate) fn control(&self) -> Control {
        Control {
            client: self.client.clone(),
            sandbox_id: self.sandbox_id.clone(),
        }
    }
}

impl Control {
    /// Hands bytes to the program's standard input, or closes it.
    ///
    /// # Errors
    /// The program is gone, or host or guest fail.
    pub(crate) async fn input(&self, pid: u32, data: Vec<u8>, close: Close) -> Result<()> {
        let request = SendProcessInputRequest {
            sandbox_id: self.sandbox_id.clone(),
            pid,
            data,
            close: close == Close::After,
            ..SendProcessInputRequest::default()
        };
        self.client
            .send_process_input_with_options(request, within(SIDE_CALL))
            .await
            .map_err(|error| from_rpc(error, Call::Process))?;
        Ok(())
    }

    /// Sends a signal to the program's process group.
    ///
    /// # Errors
    /// The program is gone, or host or guest fail.
    pub(crate) async fn signal(&self, pid: u32, signal: Signal) -> Result<()> {
        let process = ProcessSelector::Pid(pid);
        processes::send_signal(&self.client, self.sandbox_id.clone(), process, signal).await
    }
}

/// Whether standard input stays open after these bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Close {
    Not,
    After,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(stdout: &[u8], stderr: &[u8], expected: (Encoding, &str, &str)) {
        let (encoding, out, err) = texts(stdout.to_vec(), stderr.to_vec());
        assert_eq!((encoding, out.as_str(), err.as_str()), expected);
    }

    #[test]
    fn one_bad_stream_makes_both_base64() {
        check(b"a", "é".as_bytes(), (Encoding::Utf8, "a", "é"));
        check(b"\xff", b"b", (Encoding::Base64, "/w==", "Yg=="));
        check(b"a", b"\xff", (Encoding::Base64, "YQ==", "/w=="));
    }
}
