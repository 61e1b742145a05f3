//! Named places where a test makes the agent fail.
//!
//! A failpoint is armed by one line of the file that `WRENN_TEST_FAILPOINTS` names, read each time a
//! failpoint is passed, so that a test arms and disarms a running agent:
//!
//! ```text
//! create.after.slot=fail          the step fails, creation unwinds
//! create.after.slot=fail-twice    the same, and every undo is run twice
//! create.after.slot=abort         the agent dies on the spot, as by kill -9
//! ```
//!
//! Without the variable nothing is read and nothing can be armed: no request reaches this.

use std::{fs, path::PathBuf};

/// What an armed failpoint asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Armed {
    /// Fail here.
    Fail,
    /// Fail here and run every undo twice.
    FailTwice,
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
        Self { file }
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
            "abort" => std::process::abort(),
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
        assert_eq!(Failpoints::default().reached("create.after.slot"), None);
    }
}
