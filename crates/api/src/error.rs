//! The error envelope and the closed set of error codes.
//!
//! `message` is written for the caller. Causes (SQL, RPC, paths, addresses) are logged under the request
//! id and never stand in a body.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

closed_set! {
    /// What went wrong, as a program reads it.
    pub enum ErrorCode {
        /// The request is malformed; `details.field` names the field when one is at fault.
        InvalidRequest = "invalid_request",
        /// A one-time token is unknown, used or expired.
        InvalidToken = "invalid_token",
        /// The account is active already.
        AlreadyActivated = "already_activated",
        /// The last way to log in cannot be removed.
        LastLoginMethod = "last_login_method",
        /// No valid credential.
        Unauthorized = "unauthorized",
        /// The current password is wrong.
        WrongPassword = "wrong_password",
        /// The credential is valid but does not allow this.
        Forbidden = "forbidden",
        /// The token names no team and the route needs one.
        NoTeam = "no_team",
        /// The account waits for its activation.
        AccountNotActivated = "account_not_activated",
        /// Login refused: the account is disabled.
        AccountDisabled = "account_disabled",
        /// The account was deactivated after login.
        AccountDeactivated = "account_deactivated",
        /// Sign-up is closed.
        SignupDisabled = "signup_disabled",
        /// Unknown, or not the caller's: the two are not told apart.
        NotFound = "not_found",
        /// No such OAuth provider.
        ProviderNotFound = "provider_not_found",
        /// The path exists, with other methods.
        MethodNotAllowed = "method_not_allowed",
        /// The route takes another content type.
        UnsupportedMediaType = "unsupported_media_type",
        /// The thing exists already or is in another shape than assumed.
        Conflict = "conflict",
        /// The sandbox's status does not allow this.
        InvalidState = "invalid_state",
        /// The address has an account.
        EmailTaken = "email_taken",
        /// The same address signed up a moment ago.
        SignupCooldown = "signup_cooldown",
        /// A platform template has this name.
        NameReserved = "name_reserved",
        /// A template of the team has this name.
        TemplateNameTaken = "template_name_taken",
        /// A paused sandbox needs the template.
        TemplateInUse = "template_in_use",
        /// The account owns a team with other members.
        OwnsTeamWithMembers = "owns_team_with_members",
        /// The host still has sandboxes.
        HostHasSandboxes = "host_has_sandboxes",
        /// The idempotency key was used with another body.
        IdempotencyConflict = "idempotency_conflict",
        /// A body, file or result is over its limit.
        TooLarge = "too_large",
        /// Too many requests; see `Retry-After`.
        RateLimited = "rate_limited",
        /// The team's quota is used up; details `quota, limit, used, requested`.
        QuotaExceeded = "quota_exceeded",
        /// A fault of the server.
        InternalError = "internal_error",
        /// Not available on this server.
        NotImplemented = "not_implemented",
        /// The host or the guest answered something unusable.
        AgentError = "agent_error",
        /// No host can take the sandbox; details `filter, asked, most_free, online`.
        NoHostsAvailable = "no_hosts_available",
        /// The sandbox's host cannot be reached.
        HostUnavailable = "host_unavailable",
        /// The database or Redis is down.
        Unavailable = "unavailable",
        /// The server's deadline passed.
        DeadlineExceeded = "deadline_exceeded",
        /// The program ran into its time limit; details `stdout, stderr, encoding, duration_ms`.
        ExecTimeout = "exec_timeout",
    }
}

impl ErrorCode {
    /// The HTTP status that carries this code.
    #[must_use]
    pub const fn http_status(self) -> u16 {
        match self {
            Self::InvalidRequest
            | Self::InvalidToken
            | Self::AlreadyActivated
            | Self::LastLoginMethod => 400,
            Self::Unauthorized | Self::WrongPassword => 401,
            Self::Forbidden
            | Self::NoTeam
            | Self::AccountNotActivated
            | Self::AccountDisabled
            | Self::AccountDeactivated
            | Self::SignupDisabled => 403,
            Self::NotFound | Self::ProviderNotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::Conflict
            | Self::InvalidState
            | Self::EmailTaken
            | Self::SignupCooldown
            | Self::NameReserved
            | Self::TemplateNameTaken
            | Self::TemplateInUse
            | Self::OwnsTeamWithMembers
            | Self::HostHasSandboxes
            | Self::IdempotencyConflict => 409,
            Self::TooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::RateLimited | Self::QuotaExceeded => 429,
            Self::InternalError => 500,
            Self::NotImplemented => 501,
            Self::AgentError => 502,
            Self::NoHostsAvailable | Self::HostUnavailable | Self::Unavailable => 503,
            Self::DeadlineExceeded | Self::ExecTimeout => 504,
        }
    }
}

/// Facts about an error, by name; numbers stay numbers.
pub type Details = BTreeMap<String, Detail>;

/// One fact about an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Detail {
    /// A count or an amount.
    Number(u64),
    /// A text.
    Text(String),
}

/// The body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// The error.
    pub error: ErrorInfo,
}

/// Code, text and facts of an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorInfo {
    /// For programs.
    pub code: ErrorCode,
    /// For people.
    pub message: String,
    /// Facts that some codes promise.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: Details,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_envelope_is_that_of_the_contract() {
        let body = ErrorBody {
            error: ErrorInfo {
                code: ErrorCode::QuotaExceeded,
                message: "no".to_owned(),
                details: Details::from([("limit".to_owned(), Detail::Number(50))]),
            },
        };
        assert_eq!(
            serde_json::to_string(&body).unwrap(),
            r#"{"error":{"code":"quota_exceeded","message":"no","details":{"limit":50}}}"#
        );
    }

    #[test]
    fn empty_details_are_omitted() {
        let info = ErrorInfo {
            code: ErrorCode::NotFound,
            message: "no".to_owned(),
            details: Details::new(),
        };
        assert_eq!(
            serde_json::to_string(&info).unwrap(),
            r#"{"code":"not_found","message":"no"}"#
        );
    }

    #[test]
    fn every_code_parses_back_from_its_text() {
        for code in ErrorCode::ALL {
            assert_eq!(code.as_str().parse::<ErrorCode>().unwrap(), *code);
            assert!((400..600).contains(&code.http_status()));
        }
    }
}
