//! What a process is to be: a checked request, made ready for the spawn where nothing may be allocated.

use std::{
    collections::BTreeMap,
    ffi::{CString, NulError},
    time::Duration,
};

use thiserror::Error;

use crate::users::User;

const MAX_TEXT: usize = 1 << 20;
const MAX_ONE: usize = 128 << 10;
const MAX_TAG: usize = 256;
const MAX_PATH: usize = 4096;
const MAX_SIDE: u32 = 10_000;

/// Columns and rows of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) columns: u16,
    pub(crate) rows: u16,
}

impl Size {
    /// Of a request: zero means the usual 80 × 24.
    pub(crate) fn new(columns: u32, rows: u32) -> Result<Self, CommandError> {
        let one = |asked: u32, usual| match asked {
            0 => Ok(usual),
            1..=MAX_SIDE => u16::try_from(asked).map_err(|_| CommandError::TooLarge),
            _ => Err(CommandError::TooLarge),
        };
        Ok(Self {
            columns: one(columns, 80)?,
            rows: one(rows, 24)?,
        })
    }
}

/// What standard input of a process without a terminal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    Pipe,
    Null,
}

/// The words of a request, as `List` tells them again.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Words {
    pub(crate) program: String,
    pub(crate) arguments: Vec<String>,
    pub(crate) variables: BTreeMap<String, String>,
    pub(crate) directory: Option<String>,
}

/// A process to start.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) words: Words,
    pub(crate) user: User,
    /// Absolute.
    pub(crate) directory: String,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) tag: Option<String>,
    pub(crate) input: Input,
    pub(crate) terminal: Option<Size>,
    pub(crate) timeout: Option<Duration>,
}

/// A request that no process can come of.
#[derive(Debug, Error, PartialEq)]
pub(crate) enum CommandError {
    #[error("cmd is empty")]
    NoProgram,
    #[error("the name of an environment variable is empty or has '='")]
    BadVariable,
    #[error("a NUL byte in {0}")]
    Nul(&'static str),
    #[error("{0} is longer than its limit")]
    TooLong(&'static str),
    #[error("a terminal has at most {MAX_SIDE} columns and rows")]
    TooLarge,
}

impl Words {
    /// Checks sizes and characters before anything is done with them.
    pub(crate) fn check(&self, tag: Option<&str>) -> Result<(), CommandError> {
        if self.program.is_empty() {
            return Err(CommandError::NoProgram);
        }
        let mut total = 0_usize;
        let mut one = |what, text: &str| {
            total = total.saturating_add(text.len() + 1);
            if text.contains('\0') {
                return Err(CommandError::Nul(what));
            }
            if text.len() > MAX_ONE || total > MAX_TEXT {
                return Err(CommandError::TooLong(what));
            }
            Ok(())
        };
        one("cmd", &self.program)?;
        for argument in &self.arguments {
            one("args", argument)?;
        }
        for (name, value) in &self.variables {
            if name.is_empty() || name.contains('=') {
                return Err(CommandError::BadVariable);
            }
            one("envs", name)?;
            one("envs", value)?;
        }
        for (what, text, limit) in [
            ("cwd", self.directory.as_deref(), MAX_PATH),
            ("tag", tag, MAX_TAG),
        ] {
            let text = text.unwrap_or_default();
            if text.len() > limit {
                return Err(CommandError::TooLong(what));
            }
            if text.contains('\0') {
                return Err(CommandError::Nul(what));
            }
        }
        Ok(())
    }
}

/// The environment of a process; of a name given twice the later source counts.
pub(crate) fn environment(
    user: &User,
    terminal: Option<Size>,
    sandbox: BTreeMap<String, String>,
    request: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    all.insert("PATH".into(), own_path());
    all.insert("HOME".into(), user.home.clone());
    all.insert("USER".into(), user.name.clone());
    all.insert("LOGNAME".into(), user.name.clone());
    if terminal.is_some() {
        all.insert("TERM".into(), "xterm-256color".into());
    }
    all.extend(sandbox);
    all.extend(
        request
            .iter()
            .map(|(name, value)| (name.clone(), value.clone())),
    );
    all
}

fn own_path() -> String {
    std::env::var("PATH")
        .unwrap_or_else(|_| "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into())
}

/// The strings of an `execve`, and where to look for the program.
#[derive(Debug)]
pub(super) struct Image {
    /// In the order of the child's own `PATH`.
    pub(super) candidates: Vec<CString>,
    pub(super) arguments: Vec<CString>,
    pub(super) environment: Vec<CString>,
    pub(super) directory: CString,
}

impl Command {
    pub(super) fn image(&self) -> Result<Image, NulError> {
        let mut arguments = vec![CString::new(self.words.program.as_str())?];
        for argument in &self.words.arguments {
            arguments.push(CString::new(argument.as_str())?);
        }
        let mut environment = Vec::with_capacity(self.environment.len());
        for (name, value) in &self.environment {
            environment.push(CString::new(format!("{name}={value}"))?);
        }
        let path = self.environment.get("PATH").map_or("", String::as_str);
        Ok(Image {
            candidates: candidates(&self.words.program, path)?,
            arguments,
            environment,
            directory: CString::new(self.directory.as_str())?,
        })
    }
}

/// A program with a slash is itself; else it is looked for in each directory of `path`, where an empty one
/// is the working directory.
fn candidates(program: &str, path: &str) -> Result<Vec<CString>, NulError> {
    if program.contains('/') {
        return Ok(vec![CString::new(program)?]);
    }
    path.split(':')
        .map(|directory| match directory {
            "" => CString::new(format!("./{program}")),
            directory => CString::new(format!("{directory}/{program}")),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(words: Words, expected: Result<(), CommandError>) {
        assert_eq!(words.check(None), expected);
    }

    fn words(program: &str) -> Words {
        Words {
            program: program.into(),
            ..Words::default()
        }
    }

    #[test]
    fn requests_that_no_kernel_would_take_are_refused() {
        check(words("true"), Ok(()));
        check(words(""), Err(CommandError::NoProgram));
        check(words("a\0b"), Err(CommandError::Nul("cmd")));
        check(
            words(&"a".repeat(MAX_ONE + 1)),
            Err(CommandError::TooLong("cmd")),
        );
        let many = vec!["a".repeat(MAX_ONE); 8];
        check(
            Words {
                arguments: many,
                ..words("x")
            },
            Err(CommandError::TooLong("args")),
        );
        let variables = [("a=b".to_owned(), String::new())].into();
        check(
            Words {
                variables,
                ..words("x")
            },
            Err(CommandError::BadVariable),
        );
        assert_eq!(
            words("x").check(Some(&"t".repeat(257))),
            Err(CommandError::TooLong("tag"))
        );
    }

    #[test]
    fn a_terminal_without_a_size_has_the_usual_one() {
        let size = |columns, rows| Size::new(columns, rows).map(|size| (size.columns, size.rows));
        assert_eq!(size(0, 0), Ok((80, 24)));
        assert_eq!(size(10_000, 1), Ok((10_000, 1)));
        assert_eq!(size(10_001, 1), Err(CommandError::TooLarge));
        assert_eq!(size(1, u32::MAX), Err(CommandError::TooLarge));
    }

    #[test]
    fn programs_are_looked_for_in_the_childs_own_path() {
        let seen = |program, path| {
            let all = candidates(program, path).unwrap();
            all.into_iter()
                .map(|one| one.into_string().unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(seen("ls", "/a:/b"), ["/a/ls", "/b/ls"]);
        assert_eq!(seen("ls", "/a::"), ["/a/ls", "./ls", "./ls"]);
        assert_eq!(seen("./ls", "/a"), ["./ls"]);
        assert_eq!(seen("ls", ""), ["./ls"]);
    }

    #[test]
    fn later_sources_of_the_environment_win() {
        let user = User {
            name: "u".into(),
            uid: 1,
            gid: 1,
            home: "/h".into(),
            groups: vec![1],
        };
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let sandbox = [pair("HOME", "/sandbox"), pair("A", "sandbox")].into();
        let request = [pair("A", "request")].into();
        let size = Size {
            columns: 80,
            rows: 24,
        };
        let all = environment(&user, Some(size), sandbox, &request);
        assert_eq!(all["HOME"], "/sandbox");
        assert_eq!(all["A"], "request");
        assert_eq!(all["USER"], "u");
        assert_eq!(all["TERM"], "xterm-256color");
        assert!(!environment(&user, None, BTreeMap::new(), &BTreeMap::new()).contains_key("TERM"));
    }
}
