//! Named places where a test makes the agent fail.
//!
//! A failpoint is armed by one line of the file that `WRENN_TEST_FAILPOINTS` names, read each time a
//! failpoint is passed, so that a test arms and disarms a running agent:
//!
//! ```text
//! create.after.slot=fail          the step fails, creation unwinds
//! create.after.slot=fail-twice    the same, and every undo is run twice
//! create.after.slot=abort         the agent dies on the spot, as by kill -9
//! create.after.slot=stop          the agent stands still until it is told to go on, by SIGCONT
//! ```
//!
//! Files that the agent writes have points too, `<what>.<file>`, where what is done to it is `write`, `sync`,
//! `link`, `take` or `remove`, and the file has its name, or `layer` or `disk` whichever of these it is:
//!
//! ```text
//! write.manifest.json=enospc      half of it is written, then the disk is full
//! sync.layer=eio                  the disk fails
//! ```
//!
//! Without the variable nothing is read and nothing can be armed: no request reaches this.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::OnceLock,
};

use rustix::process::Signal;

/// What an armed failpoint asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Armed {
    /// Fail here.
    Fail,
    /// Fail here and run every undo twice.
    FailTwice,
    /// Fail here as the file system does.
    Errno(i32),
}

/// What arms the points of files, which are passed where no agent is at hand.
static OF_FILES: OnceLock<Failpoints> = OnceLock::new();

/// The failpoint at what is done to a file.
///
/// # Errors
/// With what is armed.
pub(crate) fn at_file(what: &str, path: &Path) -> io::Result<()> {
    let Some(points) = OF_FILES.get() else {
        return Ok(());
    };
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let name = match &*file {
        file if file.ends_with(".layer") => "layer",
        file if file.starts_with("disk-") => "disk",
        file => file,
    };
    match points.reached(&format!("{what}.{name}")) {
        Some(Armed::Errno(errno)) => Err(io::Error::from_raw_os_error(errno)),
        _ => Ok(()),
    }
}

/// Writes all of it to `path`, or half of it where that is armed to fail.
///
/// # Errors
/// When the file system refuses.
pub(crate) fn write_all(file: &mut File, path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Err(error) = at_file("write", path) {
        file.write_all(&bytes[..bytes.len() / 2])?;
        return Err(error);
    }
    file.write_all(bytes)
}

/// Makes `path` durable.
///
/// # Errors
/// When the file system refuses.
pub(crate) fn sync(file: &File, path: &Path) -> io::Result<()> {
    at_file("sync", path)?;
    file.sync_all()
}

/// The failpoints of one agent.
#[derive(Debug, Clone, Default)]
pub struct Failpoints {
    file: Option<PathBuf>,
}

impl Failpoints {
    /// Failpoints armed by `file`; none when there is none.
    #[must_use]
    pub fn new(file: Option<PathBuf>) -> Self {
        if let Some(file) = &file {
            tracing::warn!(file = %file.display(), "failpoints can be armed: this agent is under test");
        }
        let points = Self { file };
        if points.file.is_some() {
            let _ = OF_FILES.set(points.clone()); // one agent a process
        }
        points
    }

    /// Whether `name` is armed now; dies here if it is armed to.
    #[must_use]
    pub fn reached(&self, name: &str) -> Option<Armed> {
        let text = fs::read_to_string(self.file.as_ref()?).ok()?;
        let action = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
        match action.trim() {
            "fail" => Some(Armed::Fail),
            "fail-twice" => Some(Armed::FailTwice),
            "enospc" => Some(Armed::Errno(rustix::io::Errno::NOSPC.raw_os_error())),
            "eio" => Some(Armed::Errno(rustix::io::Errno::IO.raw_os_error())),
            "abort" => std::process::abort(),
            "stop" => {
                // Cannot fail: a process may signal itself.
                let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::STOP);
                None
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_point_is_armed_and_only_while_the_file_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("failpoints");
        let points = Failpoints::new(Some(file.clone()));
        assert_eq!(points.reached("create.after.slot"), None);
        fs::write(
            &file,
            "create.after.slot=fail\ncreate.after.cow=fail-twice\n",
        )
        .unwrap();
        assert_eq!(points.reached("create.after.slot"), Some(Armed::Fail));
        assert_eq!(points.reached("create.after.cow"), Some(Armed::FailTwice));
        assert_eq!(points.reached("create.after.co"), None);
        fs::remove_file(&file).unwrap();
        assert_eq!(points.reached("create.after.slot"), None);
        fs::write(&file, "write.layer=enospc").unwrap();
        let full = points.reached("write.layer");
        assert_eq!(full, Some(Armed::Errno(28)));
        fs::remove_file(&file).unwrap();
        assert_eq!(Failpoints::default().reached("create.after.slot"), None);
    }
}
