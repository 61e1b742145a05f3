//! Why a request failed, as one word for the host: it never reads the texts that are for people.
//!
//! Carried by the header `X-Wrenn-Reason` of an HTTP error, and under the same name in the metadata of a
//! Connect error.

use http::{HeaderMap, HeaderName, HeaderValue};
use wrenn_rpc::connectrpc::ConnectError;

/// Header and metadata key.
pub(crate) const REASON: HeaderName = HeaderName::from_static("x-wrenn-reason");

/// The words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    NotFound,
    IsADirectory,
    NotADirectory,
    BadPath,
    NoSpace,
    BadCwd,
    ProgramNotFound,
    ProgramNotExecutable,
}

impl Reason {
    /// As it stands in a header.
    pub(crate) fn value(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::NotFound => "not_found",
            Self::IsADirectory => "is_a_directory",
            Self::NotADirectory => "not_a_directory",
            Self::BadPath => "bad_path",
            Self::NoSpace => "no_space",
            Self::BadCwd => "bad_cwd",
            Self::ProgramNotFound => "program_not_found",
            Self::ProgramNotExecutable => "program_not_executable",
        })
    }

    /// Puts the word into a Connect error.
    pub(crate) fn mark(self, error: ConnectError) -> ConnectError {
        error.with_trailers(HeaderMap::from_iter([(REASON, self.value())]))
    }
}
