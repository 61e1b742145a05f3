//! Every API error code as an exit code and next steps.
//!
//! The match over the closed set is exhaustive: a new code does not compile without its hints.

use wrenn_api::{ErrorBody, ErrorCode};

use crate::error::{CliError, Exit};

/// Verb and command of the next steps after `code`.
fn hints_for(code: ErrorCode) -> &'static [(&'static str, &'static str)] {
    use ErrorCode as C;
    match code {
        C::InvalidRequest => &[("see", "wrenn sandbox create --help")],
        C::InvalidToken => &[(
            "ask",
            "for a fresh token; this one is unknown, used or expired",
        )],
        C::AlreadyActivated => &[("run", "wrenn login; the account is active")],
        C::LastLoginMethod => &[("first", "add another way to sign in")],
        C::Unauthorized => &[
            ("run", "wrenn login"),
            ("or", "WRENN_API_KEY=wrn_… wrenn …"),
            ("local", "wrenn up"),
        ],
        C::WrongPassword => &[("try", "the current password again")],
        C::Forbidden => &[("ask", "an administrator of the team")],
        C::NoTeam => &[("set", "a key of a team in WRENN_API_KEY")],
        C::AccountNotActivated => &[("open", "the link in the activation mail")],
        C::AccountDisabled | C::AccountDeactivated => {
            &[("ask", "an administrator of the platform")]
        }
        C::SignupDisabled => &[("ask", "an administrator of the platform for an account")],
        C::NotFound => &[("see", "wrenn sandbox ls --all")],
        C::ProviderNotFound => &[("see", "which providers the server has configured")],
        C::MethodNotAllowed => &[("see", "the server's /docs for the methods of this path")],
        C::UnsupportedMediaType => &[("send", "application/json")],
        C::Conflict => &[("see", "wrenn sandbox get ID")],
        C::InvalidState => &[("see", "wrenn sandbox get ID")],
        C::EmailTaken => &[("run", "wrenn login --email ADDRESS")],
        C::SignupCooldown => &[("wait", "a moment, then try again")],
        C::NameReserved | C::TemplateNameTaken => {
            &[("try", "another name"), ("see", "wrenn template ls")]
        }
        C::TemplateInUse => &[("free", "wrenn sandbox ls --status paused")],
        C::OwnsTeamWithMembers => &[("first", "hand the team to somebody else")],
        C::HostHasSandboxes => &[("free", "wrenn sandbox ls --status running")],
        C::IdempotencyConflict => &[("use", "a fresh Idempotency-Key for a different request")],
        C::TooLarge => &[
            ("try", "a smaller body or file"),
            ("free", "space on the sandbox's disk"),
        ],
        C::RateLimited => &[("wait", "some seconds, then try again")],
        C::QuotaExceeded => &[
            ("free", "wrenn sandbox ls; wrenn sandbox rm ID"),
            ("ask", "an administrator for a larger quota"),
        ],
        C::InternalError => &[("see", "wrenn logs control-plane --tail 50")],
        C::NotImplemented => &[(
            "see",
            "wrenn version; this server is older or lacks the feature",
        )],
        C::AgentError => &[("see", "wrenn logs host-agent --tail 50")],
        C::NoHostsAvailable => &[
            ("free", "wrenn sandbox ls --status running"),
            ("see", "wrenn status"),
        ],
        C::HostUnavailable => &[
            ("see", "wrenn status"),
            ("logs", "wrenn logs host-agent --tail 50"),
        ],
        C::Unavailable => &[("see", "wrenn status"), ("repair", "wrenn up")],
        C::DeadlineExceeded => &[(
            "see",
            "wrenn sandbox ls; the work goes on in the background",
        )],
        C::ExecTimeout => &[("try", "a longer --time-limit")],
    }
}

/// The exit code of an HTTP status.
fn exit_for(status: u16) -> Exit {
    match status {
        400 => Exit::Usage,
        401 => Exit::Credentials,
        403 => Exit::Forbidden,
        404 => Exit::NotFound,
        409 => Exit::Conflict,
        504 => Exit::Deadline,
        500..=599 => Exit::Unavailable,
        _ => Exit::Failure,
    }
}

/// The error that the answer `body` with `status` carries.
pub(crate) fn from_answer(status: u16, body: &[u8], request_id: Option<String>) -> CliError {
    let mut error = match serde_json::from_slice::<ErrorBody>(body) {
        Ok(ErrorBody { error }) => hints_for(error.code).iter().fold(
            CliError::new(
                exit_for(error.code.http_status()),
                error.code.as_str(),
                error.message,
            ),
            |cli, (verb, command)| cli.hint(verb, command),
        ),
        Err(_) => CliError::new(
            exit_for(status),
            "bad_answer",
            format_args!("the server answered {status} without an error that this client knows"),
        )
        .hint("check", "the address: wrenn -v … shows what was asked"),
    };
    error.request_id = request_id;
    error
}

/// Next steps that fit what was asked about, where those of the code are about sandboxes.
fn hints_about(path: &str, code: &str) -> &'static [(&'static str, &'static str)] {
    let below = path.split_once("/v1/").map_or("", |(_, below)| below);
    let noun = below.split('/').next().unwrap_or_default();
    match (noun, code) {
        ("auth", "unauthorized") if below == "auth/login" => &[
            ("again", "wrenn login --email ADDRESS"),
            (
                "forgot",
                "wrenn admin reset-link ADDRESS, on the server's machine",
            ),
        ],
        ("auth" | "me", "invalid_request") => &[("see", "wrenn login --help")],
        ("teams", "not_found" | "conflict") => {
            &[("see", "wrenn team members"), ("or", "wrenn team ls")]
        }
        ("teams", "invalid_request") => &[("see", "wrenn team --help")],
        ("api-keys", "not_found" | "conflict") => &[("see", "wrenn key ls")],
        ("api-keys", "invalid_request") => &[("see", "wrenn key create --help")],
        ("hosts", "not_found" | "conflict" | "host_has_sandboxes") => &[("see", "wrenn host ls")],
        ("hosts", "invalid_request") => &[("see", "wrenn host --help")],
        ("audit-logs", "invalid_request") => &[("see", "wrenn audit --help")],
        ("templates" | "snapshots", "not_found") => &[("see", "wrenn template ls")],
        _ => &[],
    }
}

/// `error` with the next steps that fit the request of `path`.
pub(crate) fn about(error: CliError, path: &str) -> CliError {
    match hints_about(path, &error.code) {
        [] => error,
        hints => hints.iter().fold(
            CliError {
                hints: Vec::new(),
                ..error
            },
            |error, (verb, command)| error.hint(verb, command),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_steps_fit_what_was_asked_about() {
        let check = |path: &str, code: &str, expected: &str| {
            let body = format!(r#"{{"error":{{"code":"{code}","message":"because"}}}}"#);
            let error = about(from_answer(404, body.as_bytes(), None), path);
            assert_eq!(error.hints[0].command, expected, "{path} {code}");
        };
        check(
            "/v1/teams/team-1/members",
            "not_found",
            "wrenn team members",
        );
        check(
            "/api/v1/api-keys",
            "invalid_request",
            "wrenn key create --help",
        );
        check(
            "/v1/auth/login",
            "unauthorized",
            "wrenn login --email ADDRESS",
        );
        check("/v1/auth/refresh", "unauthorized", "wrenn login");
        check("/v1/sandboxes/sb-1", "not_found", "wrenn sandbox ls --all");
    }

    #[test]
    fn every_code_has_a_hint_and_its_exit_code() {
        for &code in ErrorCode::ALL {
            assert!(
                (1..=3).contains(&hints_for(code).len()),
                "{code} has no hint"
            );
            let body = format!(r#"{{"error":{{"code":"{code}","message":"because"}}}}"#);
            let error = from_answer(code.http_status(), body.as_bytes(), Some("r1".into()));
            assert_eq!(
                (error.code.as_str(), error.message.as_str()),
                (code.as_str(), "because")
            );
            assert_eq!(error.exit, exit_for(code.http_status()));
            assert_eq!(error.request_id.as_deref(), Some("r1"));
        }
    }

    #[test]
    fn statuses_have_the_exit_codes_of_the_manual() {
        let check =
            |status, expected: u8| assert_eq!(exit_for(status).code(), expected, "{status}");
        check(400, 2);
        check(401, 3);
        check(403, 4);
        check(404, 5);
        check(409, 6);
        check(429, 1);
        check(503, 7);
        check(504, 8);
    }

    #[test]
    fn a_page_of_some_other_server_is_no_api_error() {
        let error = from_answer(404, b"<html>", None);
        assert_eq!(
            (error.exit, error.code.as_str()),
            (Exit::NotFound, "bad_answer")
        );
    }
}
