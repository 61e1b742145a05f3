//! What a command that failed says: one sentence, at most three next steps, the request id, an exit code.
//!
//! The same value crosses the supervisor's socket, so that a failure inside the supervisor reads as one of
//! the command. It prints nothing itself (`out` does) and knows nothing of HTTP (`client` fills it).

use std::fmt::Display;

use serde::{Deserialize, Serialize};

/// Exit codes of cli.md §2.5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Exit {
    /// A failure that has no code of its own.
    Failure,
    /// The command line was wrong.
    Usage,
    /// Not signed in.
    Credentials,
    /// Signed in, but not allowed.
    Forbidden,
    /// Not found, or an ambiguous reference.
    NotFound,
    /// A conflict, or the wrong state for this request.
    Conflict,
    /// No connection, no host, a failing server.
    Unavailable,
    /// The deadline passed.
    Deadline,
    /// A check found problems.
    Unhealthy,
    /// Ctrl-C.
    Interrupted,
    /// SIGTERM.
    Terminated,
    /// Any other code: that of a command that ran in a sandbox, or Wrenn's own 124–127 beside it.
    Code(u8),
}

impl Exit {
    /// The number that the shell sees.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Failure => 1,
            Self::Usage => 2,
            Self::Credentials => 3,
            Self::Forbidden => 4,
            Self::NotFound => 5,
            Self::Conflict => 6,
            Self::Unavailable => 7,
            Self::Deadline => 8,
            Self::Unhealthy => 9,
            Self::Interrupted => 130,
            Self::Terminated => 143,
            Self::Code(code) => code,
        }
    }
}

/// One next step: a short verb and the exact command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hint {
    pub(crate) verb: String,
    pub(crate) command: String,
}

/// A command that failed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CliError {
    pub(crate) exit: Exit,
    /// The API's error code, or one of ours (`usage`, `local`, `no_connection`, …).
    pub(crate) code: String,
    /// What failed and why, in one sentence.
    pub(crate) message: String,
    /// What to type next, most useful first.
    pub(crate) hints: Vec<Hint>,
    pub(crate) request_id: Option<String>,
    /// Nothing is printed: the message stands already on the screen, or nobody reads it.
    pub(crate) silent: bool,
}

impl CliError {
    /// A failure with exit code `exit` and the sentence `message`.
    pub(crate) fn new(exit: Exit, code: &str, message: impl Display) -> Self {
        Self {
            exit,
            code: code.to_owned(),
            message: message.to_string(),
            hints: Vec::new(),
            request_id: None,
            silent: false,
        }
    }

    /// A failure on this machine: a file, a process, a port.
    pub(crate) fn local(message: impl Display) -> Self {
        Self::new(Exit::Failure, "local", message)
    }

    /// A wrong command line.
    pub(crate) fn usage(message: impl Display) -> Self {
        Self::new(Exit::Usage, "usage", message)
    }

    /// Ends the command with `exit` and without a word.
    pub(crate) fn silent(exit: Exit) -> Self {
        Self {
            silent: true,
            ..Self::new(exit, "silent", "")
        }
    }

    /// Adds a next step.
    #[must_use]
    pub(crate) fn hint(mut self, verb: &str, command: impl Display) -> Self {
        self.hints.push(Hint {
            verb: verb.to_owned(),
            command: command.to_string(),
        });
        self
    }
}

/// The error and its sources on one line, each named once.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// Gives a failing standard-library or library call the sentence that a person needs.
pub(crate) trait Attempt<T> {
    /// `attempt` says what was being done: "read /etc/wrenn: permission denied".
    fn attempt<D: Display>(self, attempt: impl FnOnce() -> D) -> Result<T, CliError>;
}

impl<T, E: std::error::Error> Attempt<T> for Result<T, E> {
    fn attempt<D: Display>(self, attempt: impl FnOnce() -> D) -> Result<T, CliError> {
        self.map_err(|error| CliError::local(format_args!("{}: {}", attempt(), chain(&error))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exit_has_the_number_of_the_manual() {
        let all = [
            (Exit::Failure, 1),
            (Exit::Usage, 2),
            (Exit::Credentials, 3),
            (Exit::Forbidden, 4),
            (Exit::NotFound, 5),
            (Exit::Conflict, 6),
            (Exit::Unavailable, 7),
            (Exit::Deadline, 8),
            (Exit::Unhealthy, 9),
            (Exit::Interrupted, 130),
            (Exit::Terminated, 143),
            (Exit::Code(42), 42),
        ];
        for (exit, code) in all {
            assert_eq!(exit.code(), code, "{exit:?}");
        }
    }

    #[test]
    fn a_cause_is_named_once() {
        let error = std::io::Error::other(std::io::Error::other("disk full"));
        assert_eq!(chain(&error), "disk full");
    }
}
