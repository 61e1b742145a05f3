//! Errors of calls: one type with code, reason and a text for people; causes go to the log.

use wrenn_rpc::{
    connectrpc::{ConnectError, ErrorCode, ErrorDetail as Detail},
    hostagent::{ErrorDetail, error_detail::Reason},
};

use crate::{
    chain,
    envd::{self, Reason as Guest},
    sandbox::{BadSpec, FailureKind, Refused},
};

/// Type name of [`ErrorDetail`] on the wire.
const DETAIL: &str = "wrenn.hostagent.v1.ErrorDetail";

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct CallError {
    pub(crate) code: ErrorCode,
    pub(crate) reason: Reason,
    /// For people: no host path, address or cause.
    pub(crate) message: String,
}

impl CallError {
    pub(crate) fn new(code: ErrorCode, reason: Reason, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
        }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(
            ErrorCode::InvalidArgument,
            Reason::REASON_UNSPECIFIED,
            message,
        )
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Internal, Reason::REASON_UNSPECIFIED, message)
    }
}

impl From<CallError> for ConnectError {
    fn from(error: CallError) -> Self {
        let detail = ErrorDetail {
            reason: error.reason.into(),
            message: error.message.clone(),
            ..ErrorDetail::default()
        };
        Self::new(error.code, error.message).with_detail(Detail::from_message(DETAIL, &detail))
    }
}

impl From<BadSpec> for CallError {
    fn from(error: BadSpec) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<Refused> for CallError {
    fn from(refused: Refused) -> Self {
        use ErrorCode as Code;
        let message = refused.to_string();
        match refused {
            Refused::NotFound(_) => Self::new(Code::NotFound, Reason::SANDBOX_NOT_FOUND, message),
            Refused::WrongState(..) => {
                Self::new(Code::FailedPrecondition, Reason::WRONG_STATE, message)
            }
            Refused::StaleGeneration(_) => {
                Self::new(Code::FailedPrecondition, Reason::STALE_GENERATION, message)
            }
            Refused::Failed(_, failure) => {
                let (code, reason) = match failure.kind {
                    FailureKind::TemplateMissing => (Code::NotFound, Reason::TEMPLATE_NOT_FOUND),
                    FailureKind::NoCapacity => (Code::ResourceExhausted, Reason::NO_CAPACITY),
                    FailureKind::BadRequest => (Code::InvalidArgument, Reason::REASON_UNSPECIFIED),
                    FailureKind::BootFailed => (Code::Internal, Reason::BOOT_FAILED),
                    FailureKind::GuestUnreachable => (Code::Unavailable, Reason::GUEST_UNREACHABLE),
                    FailureKind::SnapshotDamaged => (Code::DataLoss, Reason::SNAPSHOT_DAMAGED),
                    FailureKind::HostDiskFull => (Code::ResourceExhausted, Reason::HOST_DISK_FULL),
                    FailureKind::Superseded => (Code::Aborted, Reason::WRONG_STATE),
                    FailureKind::Stopping => (Code::Unavailable, Reason::REASON_UNSPECIFIED),
                    FailureKind::Internal => (Code::Internal, Reason::REASON_UNSPECIFIED),
                };
                Self::new(code, reason, failure.message)
            }
            Refused::Memory(_, ref error) => {
                tracing::error!(error = %chain(error), "a durable record cannot be read");
                Self::internal(message)
            }
            Refused::Stopping => Self::new(Code::Unavailable, Reason::REASON_UNSPECIFIED, message),
        }
    }
}

/// What a guest's refusal means to the caller, in our words.
impl From<envd::Error> for CallError {
    fn from(error: envd::Error) -> Self {
        use ErrorCode as Code;
        let none = Reason::REASON_UNSPECIFIED;
        let (code, reason, message) = match &error {
            envd::Error::Refused(guest) => match guest {
                Guest::NotFound => (
                    Code::NotFound,
                    Reason::FILE_NOT_FOUND,
                    "no such file or directory",
                ),
                Guest::IsADirectory => (
                    Code::InvalidArgument,
                    Reason::IS_A_DIRECTORY,
                    "is a directory",
                ),
                Guest::NotADirectory => (
                    Code::InvalidArgument,
                    Reason::NOT_A_DIRECTORY,
                    "a part of the path is not a directory",
                ),
                Guest::BadPath => (Code::InvalidArgument, Reason::BAD_PATH, "not a usable path"),
                Guest::UnknownUser => (Code::InvalidArgument, Reason::UNKNOWN_USER, "no such user"),
                Guest::BadWorkingDirectory => (
                    Code::InvalidArgument,
                    Reason::BAD_WORKING_DIRECTORY,
                    "the working directory cannot be entered",
                ),
                Guest::DiskFull => (
                    Code::ResourceExhausted,
                    Reason::GUEST_DISK_FULL,
                    "the sandbox's disk is full",
                ),
                Guest::ProcessNotFound => {
                    (Code::NotFound, Reason::PROCESS_NOT_FOUND, "no such process")
                }
                Guest::TagInUse => (Code::AlreadyExists, Reason::TAG_IN_USE, "the tag is in use"),
                Guest::InputClosed => (
                    Code::FailedPrecondition,
                    none,
                    "the process takes no input any more",
                ),
                Guest::Exhausted => (
                    Code::ResourceExhausted,
                    none,
                    "a limit inside the sandbox is reached",
                ),
                Guest::ProgramNotFound => (
                    Code::InvalidArgument,
                    Reason::PROGRAM_NOT_FOUND,
                    "no such program",
                ),
                Guest::ProgramNotExecutable => (
                    Code::InvalidArgument,
                    Reason::PROGRAM_NOT_EXECUTABLE,
                    "the program cannot be executed",
                ),
                Guest::BadRequest => (
                    Code::InvalidArgument,
                    none,
                    "the sandbox refused the request",
                ),
                Guest::Other => (Code::Internal, none, "the sandbox failed to do it"),
            },
            envd::Error::Unreachable(_) => (
                Code::Unavailable,
                Reason::GUEST_UNREACHABLE,
                "the sandbox was not reached",
            ),
            envd::Error::Deadline(_) => (
                Code::DeadlineExceeded,
                Reason::GUEST_UNREACHABLE,
                "the sandbox did not answer in time",
            ),
            envd::Error::Protocol(_) => (
                Code::Internal,
                Reason::GUEST_UNREACHABLE,
                "the sandbox's agent misbehaves",
            ),
            envd::Error::BadHeader => (Code::InvalidArgument, none, "not a usable user name"),
        };
        tracing::debug!(error = %chain(&error), "a guest did not do as asked");
        Self::new(code, reason, message)
    }
}
