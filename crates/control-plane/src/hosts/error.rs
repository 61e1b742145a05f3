//! From an agent's error to a code of the contract: one table, on typed errors only.
//!
//! No text of the agent or the guest is inspected or passed on; the typed reason in the error's detail
//! refines what its code says.

use wrenn_api::ErrorCode;
use wrenn_rpc::{
    buffa::Message as _,
    connectrpc::{ConnectError, ErrorCode as RpcCode},
    hostagent::{ErrorDetail, error_detail::Reason},
};

use crate::app::Error;

/// What a call was about: a few codes depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// Life of a sandbox.
    Lifecycle,
    /// Running a program.
    Process,
    /// Reading a file.
    ReadFile,
    /// Writing a file.
    WriteFile,
}

/// The typed reason of an agent's error, when it carries one.
pub(crate) fn reason(error: &ConnectError) -> Option<Reason> {
    use base64::{
        Engine as _,
        engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
    };
    error
        .details
        .iter()
        .filter(|detail| detail.type_url.ends_with("wrenn.hostagent.v1.ErrorDetail"))
        .find_map(|detail| {
            let text = detail.value.as_deref()?;
            let bytes = STANDARD_NO_PAD
                .decode(text)
                .or_else(|_| STANDARD.decode(text))
                .ok()?;
            ErrorDetail::decode_from_slice(&bytes)
                .ok()?
                .reason
                .as_known()
        })
        .filter(|reason| *reason != Reason::ReasonUnspecified)
}

/// Whether a call failed because there was no connection to send it on: then nobody can have accepted it. Anything else
/// that breaks a connection may have done so after the call went out.
pub(crate) fn never_sent(error: &ConnectError) -> bool {
    use std::io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
    let mut cause = std::error::Error::source(error);
    while let Some(link) = cause {
        if let Some(error) = link.downcast_ref::<std::io::Error>() {
            return matches!(
                error.kind(),
                ConnectionRefused | HostUnreachable | NetworkUnreachable
            );
        }
        cause = link.source();
    }
    false
}

/// The table.
pub(crate) fn from_rpc(error: ConnectError, call: Call) -> Error {
    let (code, message) = match reason(&error) {
        Some(reason) => by_reason(reason, call),
        None => by_code(error.code, call),
    };
    Error::new(code, message).because(error)
}

fn by_reason(reason: Reason, call: Call) -> (ErrorCode, &'static str) {
    use ErrorCode as E;
    match reason {
        Reason::SandboxNotFound => (E::NotFound, "the sandbox is not on its host any more"),
        Reason::TemplateNotFound => (E::NotFound, "no such template"),
        Reason::FileNotFound => (E::NotFound, "no such file"),
        Reason::IsADirectory if call == Call::WriteFile => (E::Conflict, "the path is a directory"),
        Reason::IsADirectory => (E::InvalidRequest, "the path is a directory"),
        Reason::NotADirectory => (E::InvalidRequest, "a part of the path is not a directory"),
        Reason::BadPath => (E::InvalidRequest, "the path cannot be used"),
        Reason::UnknownUser => (E::InvalidRequest, "no such user in the sandbox"),
        Reason::BadWorkingDirectory => (
            E::InvalidRequest,
            "the working directory does not exist in the sandbox",
        ),
        Reason::WrongState | Reason::StaleGeneration => {
            (E::InvalidState, "the sandbox's state does not allow this")
        }
        Reason::WrongHost | Reason::NoCapacity => {
            (E::HostUnavailable, "the sandbox's host cannot do this now")
        }
        Reason::GuestDiskFull => (E::TooLarge, "the sandbox's disk is full"),
        Reason::GuestUnreachable => (E::AgentError, "the sandbox does not answer"),
        Reason::ExecTimeout => (E::ExecTimeout, "the program ran into its time limit"),
        Reason::BootFailed => (E::AgentError, "the sandbox could not be started"),
        Reason::ProcessNotFound => (E::NotFound, "no such process"),
        Reason::ProgramNotFound => (E::InvalidRequest, "no such program in the sandbox"),
        Reason::ProgramNotExecutable => (E::InvalidRequest, "the program cannot be executed"),
        Reason::TagInUse => (E::Conflict, "the tag is in use"),
        Reason::SnapshotDamaged => (
            E::AgentError,
            "the sandbox's snapshot is damaged; it stays paused",
        ),
        Reason::HostDiskFull => (E::HostUnavailable, "the disk of the sandbox's host is full"),
        Reason::InUse => (E::TemplateInUse, "a paused sandbox needs the snapshot"),
        Reason::ReasonUnspecified => (E::AgentError, "the sandbox's host failed"),
    }
}

fn by_code(code: RpcCode, call: Call) -> (ErrorCode, &'static str) {
    use ErrorCode as E;
    match code {
        RpcCode::NotFound => (E::NotFound, "not found in the sandbox"),
        RpcCode::InvalidArgument | RpcCode::OutOfRange => (
            E::InvalidRequest,
            "the sandbox's host refused the request as malformed",
        ),
        RpcCode::FailedPrecondition => (E::InvalidState, "the sandbox's state does not allow this"),
        RpcCode::AlreadyExists => (E::Conflict, "it exists already"),
        RpcCode::PermissionDenied => (E::Forbidden, "the sandbox's host refused this"),
        RpcCode::ResourceExhausted if matches!(call, Call::WriteFile | Call::ReadFile) => {
            (E::TooLarge, "too large for the sandbox")
        }
        RpcCode::ResourceExhausted => (
            E::HostUnavailable,
            "the sandbox's host has no room for this now",
        ),
        RpcCode::Unavailable => (E::HostUnavailable, "the sandbox's host cannot be reached"),
        RpcCode::DeadlineExceeded => (
            E::DeadlineExceeded,
            "the sandbox's host did not answer in time",
        ),
        RpcCode::Unimplemented => (E::NotImplemented, "the sandbox's host cannot do this"),
        _ => (E::AgentError, "the sandbox's host failed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(code: RpcCode, call: Call, expected: ErrorCode) {
        let error = from_rpc(ConnectError::new(code, "/secret/path"), call);
        assert_eq!(error.code, expected, "{code:?}");
        assert!(!error.message.contains("secret"));
    }

    #[test]
    fn every_code_of_an_agent_has_one_of_ours() {
        check(RpcCode::NotFound, Call::ReadFile, ErrorCode::NotFound);
        check(
            RpcCode::InvalidArgument,
            Call::Process,
            ErrorCode::InvalidRequest,
        );
        check(
            RpcCode::FailedPrecondition,
            Call::Process,
            ErrorCode::InvalidState,
        );
        check(RpcCode::AlreadyExists, Call::Process, ErrorCode::Conflict);
        check(
            RpcCode::PermissionDenied,
            Call::Process,
            ErrorCode::Forbidden,
        );
        check(
            RpcCode::ResourceExhausted,
            Call::WriteFile,
            ErrorCode::TooLarge,
        );
        check(
            RpcCode::ResourceExhausted,
            Call::Lifecycle,
            ErrorCode::HostUnavailable,
        );
        check(
            RpcCode::Unavailable,
            Call::Lifecycle,
            ErrorCode::HostUnavailable,
        );
        check(
            RpcCode::DeadlineExceeded,
            Call::Lifecycle,
            ErrorCode::DeadlineExceeded,
        );
        check(
            RpcCode::Unimplemented,
            Call::Process,
            ErrorCode::NotImplemented,
        );
        check(RpcCode::Internal, Call::Process, ErrorCode::AgentError);
        check(RpcCode::Unknown, Call::Process, ErrorCode::AgentError);
    }

    #[test]
    fn only_a_connection_that_never_was_sent_nothing() {
        use std::io::{Error, ErrorKind};
        let sent = |kind: ErrorKind| {
            never_sent(&ConnectError::unavailable_from_transport(
                "connect",
                Error::from(kind),
            ))
        };
        assert!(sent(ErrorKind::ConnectionRefused));
        assert!(sent(ErrorKind::HostUnreachable));
        assert!(!sent(ErrorKind::ConnectionReset));
        assert!(!sent(ErrorKind::TimedOut));
        assert!(!never_sent(&ConnectError::unavailable(
            "connection refused"
        )));
    }

    #[test]
    fn a_typed_reason_refines_the_code() {
        let detail = ErrorDetail {
            reason: Reason::GuestDiskFull.into(),
            ..ErrorDetail::default()
        };
        let error = ConnectError::new(RpcCode::ResourceExhausted, "").with_detail(
            wrenn_rpc::connectrpc::ErrorDetail::from_message(
                "wrenn.hostagent.v1.ErrorDetail",
                &detail,
            ),
        );
        assert_eq!(reason(&error), Some(Reason::GuestDiskFull));
        assert_eq!(from_rpc(error, Call::Process).code, ErrorCode::TooLarge);
    }
}
