//! Frames of the WebSocket `…/exec/stream`.
//!
//! Frames are JSON text objects with `type`; the set is closed. The first client frame (after `auth`,
//! where no credential came with the upgrade) is `start`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    Encoding,
    exec::validate_command,
    grammar::{self, Invalid},
};

/// Client → server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ClientFrame {
    /// Credential, when the upgrade carried none; must come first, within 5 s.
    Auth(Auth),
    /// Starts the program.
    Start(Start),
    /// Bytes for its standard input.
    Stdin {
        /// Text, or base64 when `start` said so.
        data: String,
    },
    /// Closes its standard input.
    StdinClose,
    /// Ends its process group: TERM, 2 s, KILL.
    Stop,
    /// Answer to a `ping`; ignored.
    Pong,
}

/// A credential as the first frame; exactly one field is set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Auth {
    /// User JWT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// API key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<String>,
}

/// What to run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// The program, looked up in the guest's PATH when it has no slash.
    pub cmd: String,
    /// Its arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<Vec<String>>,
    /// Added to the sandbox's environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envs: Option<BTreeMap<String, String>>,
    /// Default: home of the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Default: the template's user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Seconds until its process group is killed; default none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_sec: Option<u32>,
    /// How `data` is written in both directions; default `utf-8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<Encoding>,
    /// Whether `stdin` frames will come; default false gives it /dev/null.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<bool>,
}

impl Start {
    /// Checks every field by its grammar.
    ///
    /// # Errors
    /// The first field at fault.
    pub fn validate(&self) -> Result<(), Invalid> {
        if let Some(timeout) = self.timeout_sec {
            grammar::exec_timeout_sec("timeout_sec", timeout)?;
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

/// Server → client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerFrame {
    /// The program runs; `pid` is absent where unknown (it could not be started).
    Start {
        /// Process id in the guest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pid: Option<u32>,
    },
    /// Standard output.
    Stdout {
        /// Text, or base64 when `start` said so.
        data: String,
    },
    /// Standard error.
    Stderr {
        /// Text, or base64 when `start` said so.
        data: String,
    },
    /// It ended; the socket closes with 1000.
    Exit {
        /// As in [`crate::ExecResult`].
        exit_code: i32,
    },
    /// Something failed.
    Error {
        /// For people.
        data: String,
        /// Whether the socket closes after this frame.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        fatal: bool,
    },
}

/// Close codes beyond those of RFC 6455.
pub mod close_code {
    /// The credential is missing, wrong or lost its authority.
    pub const UNAUTHORIZED: u16 = 4401;
    /// The sandbox was paused.
    pub const PAUSED: u16 = 4409;
    /// The sandbox was deleted.
    pub const DELETED: u16 = 4410;
    /// The host was lost.
    pub const HOST_LOST: u16 = 4503;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_client(json: &str, expected: ClientFrame) {
        assert_eq!(serde_json::from_str::<ClientFrame>(json).unwrap(), expected);
    }

    fn check_server(frame: &ServerFrame, expected: &str) {
        assert_eq!(serde_json::to_string(frame).unwrap(), expected);
    }

    #[test]
    fn frames_are_written_as_the_contract_says() {
        check_client(
            r#"{"type":"start","cmd":"ls","encoding":"base64"}"#,
            ClientFrame::Start(Start {
                cmd: "ls".to_owned(),
                encoding: Some(Encoding::Base64),
                ..Start::default()
            }),
        );
        check_client(r#"{"type":"stdin_close"}"#, ClientFrame::StdinClose);
        check_client(r#"{"type":"stop","more":1}"#, ClientFrame::Stop);
        check_client(
            r#"{"type":"auth","api_key":"wrn_"}"#,
            ClientFrame::Auth(Auth {
                token: None,
                api_key: Some("wrn_".to_owned()),
            }),
        );
        check_server(&ServerFrame::Start { pid: None }, r#"{"type":"start"}"#);
        check_server(
            &ServerFrame::Exit { exit_code: 0 },
            r#"{"type":"exit","exit_code":0}"#,
        );
        check_server(
            &ServerFrame::Error {
                data: "x".to_owned(),
                fatal: true,
            },
            r#"{"type":"error","data":"x","fatal":true}"#,
        );
    }
}
