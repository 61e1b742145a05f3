//! Commands in the machine through the system's ssh client: for tests and people, never on a
//! request path.
//!
//! Both ends' keys are made once per machine, so no host key is ever trusted at first sight.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::MachineError;
use crate::tool::Tool;
use crate::{Captured, FileError, ToolError};

const KEYGEN_DEADLINE: Duration = Duration::from_secs(30);
const PUT_DEADLINE: Duration = Duration::from_secs(300);
/// The machine's name in `known_hosts`, whatever its port.
const ALIAS: &str = "wrenn-host";

/// What the machine needs to know of the keys.
#[derive(Debug)]
pub(crate) struct Keys {
    /// Who may log in.
    pub(crate) public: String,
    /// The server's own key.
    pub(crate) host_private: String,
}

impl Keys {
    /// The keys in `dir`, made where they are missing.
    pub(crate) fn ensure(dir: &Path) -> Result<Self, MachineError> {
        fs::create_dir_all(dir).map_err(FileError::at("making", dir))?;
        let read = |name: &str| {
            let path = dir.join(name);
            fs::read_to_string(&path).map_err(FileError::at("reading", &path))
        };
        for name in ["client", "host"] {
            if !dir.join(name).exists() {
                Tool::new("ssh-keygen", KEYGEN_DEADLINE)
                    .args(["-q", "-t", "ed25519", "-N", "", "-C", "wrenn", "-f"])
                    .arg(dir.join(name))
                    .run()?;
            }
        }
        let known = dir.join("known_hosts");
        fs::write(&known, format!("{ALIAS} {}", read("host.pub")?))
            .map_err(FileError::at("writing", &known))?;
        Ok(Self {
            public: read("client.pub")?,
            host_private: read("host")?,
        })
    }
}

/// The way into one machine.
#[derive(Debug)]
pub(crate) struct Ssh {
    options: Vec<String>,
    /// Holds the socket of the shared connection: made here because a socket's path must be short.
    control: Option<tempfile::TempDir>,
}

impl Ssh {
    pub(crate) fn new(keys: &Path, port: u16) -> Self {
        let path = |name: &str| -> PathBuf { keys.join(name) };
        let mut options = vec![
            "BatchMode=yes".to_owned(),
            "IdentitiesOnly=yes".to_owned(),
            format!("IdentityFile=\"{}\"", path("client").display()),
            format!("UserKnownHostsFile=\"{}\"", path("known_hosts").display()),
            format!("HostKeyAlias={ALIAS}"),
            "StrictHostKeyChecking=yes".to_owned(),
            "ConnectTimeout=30".to_owned(),
            "LogLevel=ERROR".to_owned(),
            format!("Port={port}"),
        ];
        // One connection for all commands: a new one costs an emulated machine half a second.
        let control = tempfile::Builder::new().prefix("wrenn-ssh-").tempdir().ok();
        if let Some(control) = &control {
            options.push("ControlMaster=auto".to_owned());
            options.push("ControlPersist=60".to_owned());
            options.push(format!(
                "ControlPath=\"{}\"",
                control.path().join("s").display()
            ));
        }
        Self { options, control }
    }

    pub(crate) fn exec(
        &self,
        command: &str,
        stdin: Vec<u8>,
        deadline: Duration,
    ) -> Result<Captured, ToolError> {
        Tool::new("ssh", deadline)
            .args(self.arguments())
            .arg("--")
            .arg(command)
            .stdin(stdin)
            .output()
    }

    pub(crate) fn put(&self, path: &str, bytes: &[u8]) -> Result<(), ToolError> {
        let quoted = quote(path);
        // Written beside and renamed, so a running program can be replaced.
        let command = format!(
            "set -e; p={quoted}; mkdir -p \"$(dirname \"$p\")\"; cat > \"$p.new\"; \
             chmod 755 \"$p.new\"; mv \"$p.new\" \"$p\""
        );
        let done = self.exec(&command, bytes.to_vec(), PUT_DEADLINE)?;
        if done.code != 0 {
            return Err(ToolError::Failed {
                program: format!("writing {path} in the virtual host"),
                code: done.code,
                message: String::from_utf8_lossy(&done.stderr).trim().to_owned(),
            });
        }
        Ok(())
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new("ssh");
        command.args(self.arguments());
        command
    }

    /// Ends the shared connection, whose process would otherwise stay for its minute.
    pub(crate) fn disconnect(&self) {
        // Without a connection there is nothing to end.
        let _ = Tool::new("ssh", KEYGEN_DEADLINE)
            .args(["-O", "exit"])
            .args(self.arguments())
            .output();
    }

    fn arguments(&self) -> Vec<&str> {
        let mut arguments = vec!["-F", "/dev/null"];
        for option in &self.options {
            arguments.extend(["-o", option]);
        }
        arguments.push("root@127.0.0.1");
        arguments
    }
}

impl Drop for Ssh {
    fn drop(&mut self) {
        if self
            .control
            .as_ref()
            .is_some_and(|dir| dir.path().join("s").exists())
        {
            self.disconnect();
        }
    }
}

/// `text` as one word of a POSIX shell.
pub(crate) fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let first = Keys::ensure(dir.path()).unwrap();
        assert!(first.public.starts_with("ssh-ed25519 "));
        assert_eq!(
            Keys::ensure(dir.path()).unwrap().host_private,
            first.host_private
        );
        let known = fs::read_to_string(dir.path().join("known_hosts")).unwrap();
        assert!(known.starts_with("wrenn-host ssh-ed25519 "));
    }

    #[test]
    fn a_quoted_word_comes_out_of_a_shell_as_it_was() {
        for text in ["plain", "it's", "$HOME `x` \"y\"\n z", ""] {
            let script = format!("printf %s {}", quote(text));
            let output = Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), text);
        }
    }
}
