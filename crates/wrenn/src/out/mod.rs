//! The only place that writes to stdout and stderr.
//!
//! stdout carries the result, stderr everything else. Invariant: with stdout piped nothing but the result
//! reaches it; a closed pipe ends the command quietly. Colour and width are decided here, once.

mod progress;
mod table;

use std::io::{IsTerminal, Write};

use serde::Serialize;

pub(crate) use self::{
    progress::{Progress, StepEvent, seconds},
    table::Table,
};
use crate::error::{CliError, Exit};

/// How a piece of text stands out on a colour terminal.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Style {
    Good,
    Warning,
    Bad,
    Dim,
    Bold,
}

/// What the command line and the terminals say about output.
#[derive(Debug, Clone)]
pub(crate) struct Out {
    json: bool,
    quiet: bool,
    verbose: u8,
    colour: bool,
    stdout_terminal: bool,
    stderr_terminal: bool,
    width: usize,
}

/// The flags that concern output.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct OutFlags {
    pub(crate) json: bool,
    pub(crate) quiet: bool,
    pub(crate) verbose: u8,
    pub(crate) no_color: bool,
}

impl Out {
    pub(crate) fn new(flags: OutFlags) -> Self {
        let stderr_terminal = std::io::stderr().is_terminal();
        let set =
            |name| std::env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0");
        let colour =
            !flags.no_color && !set("NO_COLOR") && (stderr_terminal || set("CLICOLOR_FORCE"));
        let stdout_terminal = std::io::stdout().is_terminal();
        let width = if stdout_terminal {
            rustix::termios::tcgetwinsize(std::io::stdout())
                .map_or(80, |size| usize::from(size.ws_col))
        } else {
            usize::MAX
        };
        Self {
            json: flags.json,
            quiet: flags.quiet,
            verbose: flags.verbose,
            colour,
            stdout_terminal,
            stderr_terminal,
            width: width.max(40),
        }
    }

    /// Whether the result is to be JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether notes, hints and progress are unwanted.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Whether a question may be asked.
    pub(crate) fn may_ask(&self) -> bool {
        self.stderr_terminal && std::io::stdin().is_terminal()
    }

    /// Whether `-v` was given this often or more.
    pub(crate) fn is_verbose(&self, level: u8) -> bool {
        self.verbose >= level
    }

    /// One line of the result.
    pub(crate) fn line(&self, text: &str) -> Result<(), CliError> {
        self.bytes(format!("{text}\n").as_bytes())
    }

    /// A piece of the result, unchanged.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Result<(), CliError> {
        let mut stdout = std::io::stdout().lock();
        stdout
            .write_all(bytes)
            .and_then(|()| stdout.flush())
            .map_err(|error| {
                if error.kind() == std::io::ErrorKind::BrokenPipe {
                    CliError::silent(Exit::Code(0))
                } else {
                    CliError::local(format_args!("write to stdout: {error}"))
                }
            })
    }

    /// An API object: pretty on a terminal, one line when piped.
    pub(crate) fn json<T: Serialize>(&self, value: &T) -> Result<(), CliError> {
        let text = if self.stdout_terminal {
            serde_json::to_string_pretty(value)
        } else {
            serde_json::to_string(value)
        };
        self.line(&text.map_err(|error| CliError::local(format_args!("write JSON: {error}")))?)
    }

    /// One object of a stream: always one line.
    pub(crate) fn json_line<T: Serialize>(&self, value: &T) -> Result<(), CliError> {
        let text = serde_json::to_string(value)
            .map_err(|error| CliError::local(format_args!("write JSON: {error}")))?;
        self.line(&text)
    }

    /// A table for people, cut to the terminal's width.
    pub(crate) fn table(&self, table: &Table) -> Result<(), CliError> {
        self.bytes(table.render(self.width).as_bytes())
    }

    /// `key  value` lines of one object; pairs with an empty value are left out.
    pub(crate) fn pairs(&self, pairs: &[(&str, String)]) -> Result<(), CliError> {
        let wide = pairs.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
        let mut text = String::new();
        for (key, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
            text.push_str(&format!("{key:wide$}  {value}\n"));
        }
        self.bytes(text.as_bytes())
    }

    /// A sentence beside the result, on stderr; `--quiet` drops it.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            self.to_stderr(text);
        }
    }

    /// A warning on stderr, also with `--quiet`.
    pub(crate) fn warning(&self, text: &str) {
        self.to_stderr(&format!(
            "{} {text}",
            self.paint(Style::Warning, "warning:")
        ));
    }

    /// Something that only `-v` (level 1) or `-vv` (level 2) shows, on stderr.
    pub(crate) fn detail(&self, level: u8, text: &str) {
        if self.is_verbose(level) {
            self.to_stderr(&self.paint(Style::Dim, text));
        }
    }

    /// The error of a command that failed.
    pub(crate) fn error(&self, error: &CliError) {
        if error.silent {
            return;
        }
        if self.json {
            let hint = error.hints.first().map(|hint| &hint.command);
            let body = serde_json::json!({"error": {
                "code": error.code,
                "message": error.message,
                "hint": hint,
                "request_id": error.request_id,
            }});
            self.to_stderr(&body.to_string());
            return;
        }
        let mut text = format!("{} {}", self.paint(Style::Bad, "error:"), error.message);
        let hints = if self.quiet {
            &[][..]
        } else {
            &error.hints[..error.hints.len().min(3)]
        };
        let wide = hints.iter().map(|hint| hint.verb.len()).max().unwrap_or(0);
        for hint in hints {
            text.push_str(&format!(
                "\n  {}  {}",
                self.paint(Style::Bold, &format!("{:wide$}", hint.verb)),
                hint.command
            ));
        }
        if let Some(id) = &error.request_id {
            text.push_str(&self.paint(Style::Dim, &format!("\n  request {id}")));
        }
        self.to_stderr(&text);
    }

    /// Asks on the terminal and returns the answer without its line end.
    pub(crate) fn ask(&self, question: &str) -> Result<String, CliError> {
        let mut stderr = std::io::stderr().lock();
        let _ = write!(stderr, "{question} ");
        let _ = stderr.flush();
        drop(stderr);
        let mut answer = String::new();
        std::io::stdin()
            .read_line(&mut answer)
            .map_err(|error| CliError::local(format_args!("read the answer: {error}")))?;
        Ok(answer.trim().to_owned())
    }

    /// Tells what the person must do before the command can go on; also when notes are unwanted.
    pub(crate) fn ask_for(&self, text: &str) {
        self.to_stderr(text);
    }

    /// As [`Self::ask`]; what is typed is not shown.
    pub(crate) fn ask_secret(&self, question: &str) -> Result<String, CliError> {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let stdin = std::io::stdin();
        let before = tcgetattr(&stdin).ok();
        if let Some(before) = &before {
            let mut hidden = before.clone();
            hidden.local_modes.remove(LocalModes::ECHO);
            let _ = tcsetattr(&stdin, OptionalActions::Now, &hidden);
        }
        let answer = self.ask(question);
        if let Some(before) = &before {
            let _ = tcsetattr(&stdin, OptionalActions::Now, before);
            // The line end was not shown either.
            self.to_stderr("");
        }
        answer
    }

    /// `text` in `style`, where colours are wanted.
    pub(crate) fn paint(&self, style: Style, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match style {
            Style::Good => "32",
            Style::Warning => "33",
            Style::Bad => "31",
            Style::Dim => "2",
            Style::Bold => "1",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// Shows the steps of a longer work.
    pub(crate) fn progress(&self) -> Progress {
        Progress::start(self.clone())
    }

    fn to_stderr(&self, text: &str) {
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }
}
