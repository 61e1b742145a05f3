//! What can go wrong with a guest, typed: its texts are never read.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use wrenn_rpc::connectrpc::{ConnectError, ErrorCode};

/// Header, and metadata key of a Connect error, by which envd says why.
const REASON: &str = "x-wrenn-reason";

/// Why a call to the guest agent gave no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection, or it broke.
    #[error("reach the guest agent")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No answer in time.
    #[error("wait {0:?} for the guest agent")]
    Deadline(Duration),
    /// It refused for a reason it named.
    #[error("the guest agent refused: {0:?}")]
    Refused(Reason),
    /// Its answer breaks the protocol.
    #[error("the guest agent answered {0}")]
    Protocol(&'static str),
    /// A token or user name that cannot stand in a header.
    #[error("put a user or token into a request header")]
    BadHeader,
}

/// Reasons a guest may name; anything else is [`Reason::Other`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// No such file or directory.
    NotFound,
    /// A directory where a file was expected.
    IsADirectory,
    /// A file where a directory was expected.
    NotADirectory,
    /// A path that cannot be one.
    BadPath,
    /// No such user in the guest.
    UnknownUser,
    /// The working directory cannot be entered.
    BadWorkingDirectory,
    /// The program does not exist.
    ProgramNotFound,
    /// The program cannot be executed.
    ProgramNotExecutable,
    /// No space or inodes.
    DiskFull,
    /// No live process of that pid.
    ProcessNotFound,
    /// A live process has that tag.
    TagInUse,
    /// The process takes no input any more.
    InputClosed,
    /// The request itself was refused.
    BadRequest,
    /// A limit of the guest agent is reached.
    Exhausted,
    /// Nothing more specific.
    Other,
}

impl Reason {
    fn parse(text: &[u8]) -> Option<Self> {
        Some(match text {
            b"not_found" => Self::NotFound,
            b"is_a_directory" => Self::IsADirectory,
            b"not_a_directory" => Self::NotADirectory,
            b"bad_path" => Self::BadPath,
            b"unknown_user" => Self::UnknownUser,
            b"bad_cwd" => Self::BadWorkingDirectory,
            b"program_not_found" => Self::ProgramNotFound,
            b"program_not_executable" => Self::ProgramNotExecutable,
            b"no_space" => Self::DiskFull,
            b"process_not_found" => Self::ProcessNotFound,
            b"tag_in_use" => Self::TagInUse,
            _ => return None,
        })
    }

    fn named(headers: &HeaderMap) -> Option<Self> {
        Self::parse(headers.get(REASON)?.as_bytes())
    }

    /// Of an HTTP answer: the named reason, else what its status means for files.
    pub(super) fn of_status(status: StatusCode, headers: &HeaderMap) -> Self {
        Self::named(headers).unwrap_or(match status {
            StatusCode::NOT_FOUND => Self::NotFound,
            StatusCode::BAD_REQUEST => Self::BadRequest,
            StatusCode::UNAUTHORIZED => Self::UnknownUser,
            StatusCode::INSUFFICIENT_STORAGE => Self::DiskFull,
            _ => Self::Other,
        })
    }
}

impl From<ConnectError> for Error {
    fn from(error: ConnectError) -> Self {
        let named =
            Reason::named(error.trailers()).or_else(|| Reason::named(error.response_headers()));
        let reason = named.unwrap_or(match error.code {
            ErrorCode::Unavailable => return Self::Unreachable(Box::new(error)),
            ErrorCode::Unauthenticated => Reason::UnknownUser,
            ErrorCode::NotFound => Reason::ProcessNotFound,
            ErrorCode::AlreadyExists => Reason::TagInUse,
            ErrorCode::InvalidArgument => Reason::BadRequest,
            ErrorCode::FailedPrecondition => Reason::InputClosed,
            ErrorCode::ResourceExhausted => Reason::Exhausted,
            _ => Reason::Other,
        });
        Self::Refused(reason)
    }
}
