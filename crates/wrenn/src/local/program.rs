//! Programs of the system: where they lie, and the user a service runs as.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::error::{Attempt, CliError};

/// The first `name` in PATH and the system's own directories.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

/// The error for a program that is missing, with the packages that bring it.
pub(crate) fn missing(what: &str, packages: &str) -> CliError {
    CliError::local(format_args!("{what} is not installed")).hint(
        "install",
        format_args!("sudo apt-get install -y {packages}"),
    )
}

/// A user of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl User {
    /// The user `name`, if there is one.
    pub(crate) fn named(name: &str) -> Result<Option<Self>, CliError> {
        let passwd = std::fs::read_to_string("/etc/passwd").attempt(|| "read /etc/passwd")?;
        Ok(Self::parse(&passwd, name))
    }

    fn parse(passwd: &str, name: &str) -> Option<Self> {
        let line = passwd
            .lines()
            .find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some(Self {
            name: name.to_owned(),
            uid: fields.next()?.parse().ok()?,
            gid: fields.next()?.parse().ok()?,
        })
    }

    /// Makes `dir` for this user alone.
    pub(crate) fn make_dir(&self, dir: &Path) -> Result<(), CliError> {
        super::state::make_dir(dir, 0o700)?;
        std::os::unix::fs::chown(dir, Some(self.uid), Some(self.gid))
            .attempt(|| format!("give {} to {}", dir.display(), self.name))
    }
}

/// The user that a service runs as: `preferred` when the caller is root, else the caller (`None`).
pub(crate) fn service_user(preferred: &str, packages: &str) -> Result<Option<User>, CliError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    match User::named(preferred)? {
        Some(user) => Ok(Some(user)),
        None => Err(missing(&format!("the system user `{preferred}`"), packages)),
    }
}

/// `program` as `user`, receiving `death_signal` when its parent dies.
///
/// `setpriv` sets both, in the right order and without code of ours between fork and exec.
pub(crate) fn as_user(program: &Path, user: Option<&User>, death_signal: Option<&str>) -> Command {
    let mut command = Command::new("setpriv");
    if let Some(user) = user {
        command
            .arg(format!("--reuid={}", user.uid))
            .arg(format!("--regid={}", user.gid))
            .arg("--init-groups");
    }
    if let Some(signal) = death_signal {
        command.arg(format!("--pdeathsig={signal}"));
    }
    command.arg("--").arg(program);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_their_whole_name() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\npostgres:x:101:103:,,,:/var/lib/postgresql:/bin/bash\n";
        let check = |name: &str, expected: Option<(u32, u32)>| {
            assert_eq!(
                User::parse(passwd, name).map(|user| (user.uid, user.gid)),
                expected,
                "{name}"
            );
        };
        check("postgres", Some((101, 103)));
        check("post", None);
        check("root", Some((0, 0)));
    }

    #[test]
    fn programs_are_found_beyond_path() {
        assert!(find("sh").is_some());
        assert!(find("no-such-program-anywhere").is_none());
    }
}
