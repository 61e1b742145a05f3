//! Running a program to its end, starting one in the background, and the processes that run.

use std::{collections::BTreeMap, str::FromStr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wrenn_ids::SandboxId;

use crate::{grammar, grammar::Invalid};

closed_set! {
    /// How bytes of a program stand in JSON.
    pub enum Encoding {
        /// As text.
        Utf8 = "utf-8",
        /// As base64 (standard alphabet, padded).
        Base64 = "base64",
    }
}

/// Request to run a program.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Exec {
    /// The program, looked up in the guest's PATH when it has no slash; at most 4 KiB.
    pub cmd: String,
    /// Its arguments; 256 KiB in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<Vec<String>>,
    /// Seconds until its process group is killed: 1–86400, default 30. Foreground only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_sec: Option<u32>,
    /// Answer at once and let it run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub background: Option<bool>,
    /// Name of the background process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Added to the sandbox's environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envs: Option<BTreeMap<String, String>>,
    /// Default: home of the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Default: the template's user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// Seconds a foreground program may run when the request does not say.
pub const DEFAULT_EXEC_TIMEOUT_SEC: u32 = 30;

impl Exec {
    /// Checks every field by its grammar.
    ///
    /// # Errors
    /// The first field at fault.
    pub fn validate(&self) -> Result<(), Invalid> {
        if let Some(timeout) = self.timeout_sec {
            grammar::exec_timeout_sec("timeout_sec", timeout)?;
        }
        if let Some(tag) = &self.tag {
            grammar::process_tag("tag", tag)?;
        }
        validate_command(
            &self.cmd,
            self.args.as_deref(),
            self.envs.as_ref(),
            self.cwd.as_deref(),
            self.user.as_deref(),
        )
    }
}

/// The parts that every way to start a program shares.
pub(crate) fn validate_command(
    cmd: &str,
    args: Option<&[String]>,
    envs: Option<&BTreeMap<String, String>>,
    cwd: Option<&str>,
    user: Option<&str>,
) -> Result<(), Invalid> {
    grammar::command("cmd", cmd)?;
    if let Some(args) = args {
        grammar::arguments("args", args)?;
    }
    if let Some(envs) = envs {
        grammar::envs("envs", envs)?;
    }
    if let Some(cwd) = cwd {
        grammar::guest_path("cwd", cwd)?;
    }
    if let Some(user) = user {
        grammar::guest_user("user", user)?;
    }
    Ok(())
}

/// How a foreground program ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExecResult {
    /// Where it ran.
    #[schema(value_type = String)]
    pub sandbox_id: SandboxId,
    /// The program.
    pub cmd: String,
    /// Standard output, as `encoding` says.
    pub stdout: String,
    /// Standard error, as `encoding` says.
    pub stderr: String,
    /// 128 + n when signal n ended it; 127 not found; 126 not executable.
    pub exit_code: i32,
    /// Milliseconds from start to end.
    pub duration_ms: u64,
    /// `base64` for both streams when either is not valid UTF-8.
    pub encoding: Encoding,
    /// Present and true when output beyond the limit was discarded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

/// A program started in the background.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackgroundExec {
    /// Where it runs.
    #[schema(value_type = String)]
    pub sandbox_id: SandboxId,
    /// The program.
    pub cmd: String,
    /// Its process id in the guest.
    pub pid: u32,
    /// Its name.
    pub tag: String,
}

/// A process that was started through the API and lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Process {
    /// Its process id in the guest.
    pub pid: u32,
    /// Its name, when it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// The program.
    pub cmd: String,
    /// Its arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
}

/// The live processes of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Processes {
    /// By pid.
    pub processes: Vec<Process>,
}

/// Which process a path means: digits are a pid, all else is a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProcessSelector {
    /// A process id in the guest.
    Pid(u32),
    /// A name.
    Tag(String),
}

impl FromStr for ProcessSelector {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            let pid = text.parse();
            return pid
                .map(Self::Pid)
                .map_err(|_| Invalid::new("process", "is no process id"));
        }
        grammar::process_tag("process", text)?;
        Ok(Self::Tag(text.to_owned()))
    }
}

closed_set! {
    /// A signal that may be sent to a process.
    pub enum Signal {
        /// Asks it to end.
        Term = "SIGTERM",
        /// Ends it.
        Kill = "SIGKILL",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, expected: Result<(), &str>) {
        let request: Exec = serde_json::from_str(json).unwrap();
        let result = request.validate().map_err(|invalid| invalid.field);
        assert_eq!(result, expected.map_err(str::to_owned), "{json}");
    }

    #[test]
    fn a_selector_of_digits_is_a_pid_and_all_else_a_tag() {
        let check = |text: &str, expected| {
            assert_eq!(text.parse::<ProcessSelector>().ok(), expected, "{text}");
        };
        check("12", Some(ProcessSelector::Pid(12)));
        check("12a", Some(ProcessSelector::Tag("12a".to_owned())));
        check("4294967296", None);
        check("", None);
        check("a/b", None);
    }

    #[test]
    fn an_exec_is_refused_by_its_first_bad_field() {
        check(r#"{"cmd":"ls"}"#, Ok(()));
        check(
            r#"{"cmd":"ls","args":["-l"],"envs":{"A":"b"},"cwd":"/tmp","user":"root"}"#,
            Ok(()),
        );
        check(r#"{"cmd":""}"#, Err("cmd"));
        check(r#"{"cmd":"a\u0000b"}"#, Err("cmd"));
        check(r#"{"cmd":"ls","args":["\u0000"]}"#, Err("args"));
        check(r#"{"cmd":"ls","timeout_sec":0}"#, Err("timeout_sec"));
        check(r#"{"cmd":"ls","timeout_sec":86401}"#, Err("timeout_sec"));
        check(r#"{"cmd":"ls","envs":{"1A":"b"}}"#, Err("envs"));
        check(r#"{"cmd":"ls","tag":"123"}"#, Err("tag"));
        check(r#"{"cmd":"ls","cwd":""}"#, Err("cwd"));
        check(r#"{"cmd":"ls","user":"a b"}"#, Err("user"));
    }
}
