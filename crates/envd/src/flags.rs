//! The command line of envd, read by hand: eight flags do not earn an argument library in a guest.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf};

use thiserror::Error;
use tracing::level_filters::LevelFilter;

/// What a wrong command line is answered with.
pub(crate) const USAGE: &str = "usage: envd [--listen ADDR:PORT]... [--no-vm] [--cgroup-root PATH] \
[--default-user NAME] [--default-workdir PATH] [--log-level LEVEL] [--version]";

/// The hierarchy of a guest. Another machine's is touched only when it is named.
const CGROUP_ROOT: &str = "/sys/fs/cgroup";

/// What the command line asks for.
#[derive(Debug, PartialEq)]
pub(crate) enum Command {
    Serve(Settings),
    Version,
}

/// Where envd runs, which decides what it may touch outside of its own process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Surroundings {
    /// A microVM of ours: MMDS, clock, host name and the rest belong to envd.
    Vm,
    /// `--no-vm`: a machine of somebody else, in tests and in debug mode. Its identity is left alone.
    Machine,
}

/// The settings of a serving envd.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    /// Empty: the guest's own addresses.
    pub(crate) listen: Vec<SocketAddr>,
    pub(crate) surroundings: Surroundings,
    /// Where processes are placed; absent: nowhere, they stay in the group of envd.
    pub(crate) cgroup_root: Option<PathBuf>,
    pub(crate) default_user: Option<String>,
    pub(crate) default_workdir: Option<String>,
    pub(crate) log_level: LevelFilter,
}

/// A command line that cannot be obeyed.
#[derive(Debug, Error, PartialEq)]
pub(crate) enum FlagError {
    #[error("unknown argument '{0}'")]
    Unknown(String),
    #[error("{0} needs a value")]
    NoValue(&'static str),
    #[error("{flag}: cannot use '{value}'")]
    BadValue { flag: &'static str, value: String },
}

/// Reads the arguments that follow the program's name.
pub(crate) fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Command, FlagError> {
    let mut settings = Settings {
        listen: Vec::new(),
        surroundings: Surroundings::Vm,
        cgroup_root: None,
        default_user: None,
        default_workdir: None,
        log_level: LevelFilter::INFO,
    };
    let mut arguments = arguments.map(|one| one.to_string_lossy().into_owned());
    while let Some(argument) = arguments.next() {
        let mut value = |flag| arguments.next().ok_or(FlagError::NoValue(flag));
        match argument.as_str() {
            "--listen" => settings
                .listen
                .push(parsed("--listen", value("--listen")?)?),
            "--no-vm" => settings.surroundings = Surroundings::Machine,
            "--cgroup-root" => settings.cgroup_root = Some(value("--cgroup-root")?.into()),
            "--default-user" => settings.default_user = Some(value("--default-user")?),
            "--default-workdir" => settings.default_workdir = Some(value("--default-workdir")?),
            "--log-level" => settings.log_level = parsed("--log-level", value("--log-level")?)?,
            "--version" => return Ok(Command::Version),
            _ => return Err(FlagError::Unknown(argument)),
        }
    }
    if settings.surroundings == Surroundings::Vm {
        settings
            .cgroup_root
            .get_or_insert_with(|| CGROUP_ROOT.into());
    }
    Ok(Command::Serve(settings))
}

fn parsed<T: std::str::FromStr>(flag: &'static str, value: String) -> Result<T, FlagError> {
    value
        .parse()
        .map_err(|_| FlagError::BadValue { flag, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Result<(usize, Surroundings), FlagError>) {
        let seen =
            parse(line.split_whitespace().map(OsString::from)).map(|command| match command {
                Command::Serve(settings) => (settings.listen.len(), settings.surroundings),
                Command::Version => panic!("not a version request"),
            });
        assert_eq!(seen, expected, "{line}");
    }

    #[test]
    fn flags_are_read_in_any_order() {
        check("", Ok((0, Surroundings::Vm)));
        check(
            "--no-vm --listen 127.0.0.1:1",
            Ok((1, Surroundings::Machine)),
        );
        check(
            "--listen 127.0.0.1:1 --listen [::1]:2",
            Ok((2, Surroundings::Vm)),
        );
    }

    #[test]
    fn faults_name_their_flag() {
        check("--listen", Err(FlagError::NoValue("--listen")));
        check(
            "--listen here",
            Err(FlagError::BadValue {
                flag: "--listen",
                value: "here".into(),
            }),
        );
        check("serve", Err(FlagError::Unknown("serve".into())));
    }

    #[test]
    fn a_version_request_wins() {
        let asked = parse(["--no-vm", "--version"].into_iter().map(OsString::from));
        assert_eq!(asked, Ok(Command::Version));
    }
}
