//! Units for systemd, for permanent set-ups.
//!
//! A unit is a file of ours as long as its first line says so; settings of the operator's own belong into drop-ins
//! (`systemctl edit`) and the environment files.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::error::{Attempt, CliError, Exit};

/// Where systemd looks for units of the operator.
pub(crate) const DIRECTORY: &str = "/etc/systemd/system";
const MARK: &str = "# Written by `wrenn admin systemd-units`.";

/// A unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) name: &'static str,
    pub(crate) text: String,
}

/// Every unit, for the binary at `program`.
pub(crate) fn all(program: &Path) -> Result<Vec<Unit>, CliError> {
    let program = program
        .to_str()
        .filter(|path| {
            !path.contains(char::is_whitespace) && !path.contains(['%', '"', '\'', '\\', '$'])
        })
        .ok_or_else(|| {
            CliError::local(format_args!(
                "{} cannot stand in a unit: its path has blanks or signs that systemd reads",
                program.display()
            ))
            .hint("put", "the binary into /usr/local/bin")
        })?;
    let unit = |name, description: &str, after: &str, service: &str| Unit {
        name,
        text: format!(
            "{MARK} Change it with `systemctl edit {name}`.\n\
             [Unit]\nDescription={description}\nDocumentation=man:wrenn(1)\n{after}\n\n\
             [Service]\nType=exec\n{service}\nRestart=on-failure\nRestartSec=2\n\n\
             [Install]\nWantedBy=multi-user.target\n"
        ),
    };
    let network = "Wants=network-online.target\nAfter=network-online.target";
    Ok(vec![
        // Everything on one machine: the supervisor stops its services in order.
        unit(
            "wrenn.service",
            "Wrenn, everything on one machine",
            &format!("{network}\nConflicts=wrenn-control-plane.service wrenn-host-agent.service"),
            &format!(
                "EnvironmentFile=-/etc/wrenn/wrenn.env\n\
                 ExecStart={program} up --foreground --no-first-run\nKillMode=mixed\nTimeoutStopSec=180\nLimitNOFILE=1048576\nDelegate=yes"
            ),
        ),
        unit(
            "wrenn-control-plane.service",
            "Wrenn control plane",
            &format!("{network} postgresql.service redis-server.service"),
            &format!(
                "EnvironmentFile=/etc/wrenn/control-plane.env\nExecStart={program} control-plane\nDynamicUser=yes\n\
                 NoNewPrivileges=yes\nProtectSystem=strict\nProtectHome=yes\nPrivateTmp=yes\nPrivateDevices=yes\n\
                 TimeoutStopSec=30\nLimitNOFILE=1048576"
            ),
        ),
        // The virtual machines outlive the agent, which finds them again.
        unit(
            "wrenn-host-agent.service",
            "Wrenn host agent",
            network,
            &format!(
                "EnvironmentFile=/etc/wrenn/host-agent.env\nExecStart={program} host-agent\nKillMode=process\n\
                 TimeoutStopSec=120\nLimitNOFILE=1048576\nDelegate=yes"
            ),
        ),
    ])
}

/// Writes `units` into `directory`; answers which files changed. A file of somebody else's stops it before anything
/// is written.
pub(crate) fn install(units: &[Unit], directory: &Path) -> Result<Vec<PathBuf>, CliError> {
    let mut changed = Vec::new();
    for unit in units {
        let path = directory.join(unit.name);
        match fs::read_to_string(&path) {
            Ok(text) if text == unit.text => {}
            Ok(text) if text.starts_with(MARK) => changed.push((path, unit)),
            Ok(_) => {
                return Err(CliError::new(
                    Exit::Conflict,
                    "exists",
                    format_args!("{} was not written by wrenn", path.display()),
                )
                .hint("move", "it away, then again")
                .hint("or", "wrenn admin systemd-units, which only prints"));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                changed.push((path, unit));
            }
            Err(error) => {
                return Err(CliError::local(format_args!(
                    "read {}: {error}",
                    path.display()
                )));
            }
        }
    }
    for (path, unit) in &changed {
        let partial = path.with_extension("service.partial");
        let written = fs::write(&partial, &unit.text).and_then(|()| fs::rename(&partial, path));
        if written.is_err() {
            let _ = fs::remove_file(&partial);
        }
        written
            .attempt(|| format!("write {}", path.display()))
            .map_err(|error| error.hint("try", "sudo wrenn admin systemd-units --install"))?;
    }
    Ok(changed.into_iter().map(|(path, _)| path).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units() -> Vec<Unit> {
        all(Path::new("/usr/local/bin/wrenn")).expect("units")
    }

    #[test]
    fn units_are_written_once_and_renewed() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(install(&units(), dir.path()).expect("written").len(), 3);
        assert!(install(&units(), dir.path()).expect("written").is_empty());
        let other = all(Path::new("/opt/wrenn")).expect("units");
        assert_eq!(install(&other, dir.path()).expect("renewed").len(), 3);
        let text = fs::read_to_string(dir.path().join("wrenn.service")).expect("read");
        assert!(
            text.contains("ExecStart=/opt/wrenn up --foreground"),
            "{text}"
        );
    }

    #[test]
    fn a_unit_of_somebody_else_stays_and_nothing_is_written() {
        let dir = tempfile::tempdir().expect("a directory");
        let theirs = dir.path().join("wrenn-host-agent.service");
        fs::write(&theirs, "[Service]\n").expect("written");
        assert_eq!(
            install(&units(), dir.path()).expect_err("refused").exit,
            Exit::Conflict
        );
        assert_eq!(fs::read_to_string(&theirs).expect("read"), "[Service]\n");
        assert_eq!(fs::read_dir(dir.path()).expect("read").count(), 1);
    }

    #[test]
    fn a_path_that_systemd_would_read_otherwise_is_refused() {
        for bad in ["/opt/my wrenn", "/opt/%i/wrenn", "/opt/$x"] {
            assert!(all(Path::new(bad)).is_err(), "{bad}");
        }
    }
}
