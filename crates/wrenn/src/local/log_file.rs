//! A log of one component: JSON lines, rotated at 50 MiB, five old files kept.
//!
//! Lines that are JSON objects already are written as they come; any other line is wrapped, so that `wrenn
//! logs` can merge by time. The last lines are kept in memory for the report of a component that gave up.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

/// Size at which a log is rotated.
const LIMIT: u64 = 50 << 20;
/// Old files that are kept.
const KEPT: u32 = 5;
/// Lines kept in memory.
const TAIL: usize = 20;

/// An open log.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    file: Option<File>,
    size: u64,
    limit: u64,
    tail: VecDeque<String>,
}

impl LogFile {
    /// The log at `path`, appended to.
    pub(crate) fn open(path: &Path) -> Self {
        let file = File::options().append(true).create(true).open(path).ok();
        let size = file
            .as_ref()
            .and_then(|file| file.metadata().ok())
            .map_or(0, |meta| meta.len());
        Self {
            path: path.to_owned(),
            file,
            size,
            limit: LIMIT,
            tail: VecDeque::new(),
        }
    }

    /// Appends a line. A log that cannot be written loses it: logging never stops a service.
    pub(crate) fn line(&mut self, line: &str) {
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(line.to_owned());
        let line = if is_json_object(line) {
            format!("{line}\n")
        } else {
            format!("{}\n", wrap(line))
        };
        if self.size + line.len() as u64 > self.limit {
            self.rotate();
        }
        if let Some(file) = &mut self.file
            && file.write_all(line.as_bytes()).is_ok()
        {
            self.size += line.len() as u64;
        }
    }

    /// The last lines, as they came.
    pub(crate) fn tail(&self) -> Vec<String> {
        self.tail.iter().cloned().collect()
    }

    fn rotate(&mut self) {
        let old = |number: u32| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        for number in (1..KEPT).rev() {
            let _ = fs::rename(old(number), old(number + 1));
        }
        let _ = fs::rename(&self.path, old(1));
        self.file = File::options()
            .append(true)
            .create(true)
            .open(&self.path)
            .ok();
        self.size = 0;
    }
}

fn is_json_object(line: &str) -> bool {
    line.starts_with('{') && serde_json::from_str::<serde::de::IgnoredAny>(line).is_ok()
}

fn wrap(line: &str) -> String {
    let now = jiff::Timestamp::now();
    serde_json::json!({ "timestamp": format!("{now:.6}"), "level": "INFO", "message": line })
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_json_and_the_file_rotates() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a.log");
        let mut log = LogFile::open(&path);
        log.limit = 400;
        log.line(r#"{"message":"as it is"}"#);
        log.line("plain \"text\" {");
        let text = fs::read_to_string(&path).expect("read");
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        assert_eq!(lines[0], serde_json::json!({"message": "as it is"}));
        assert_eq!(lines[1]["message"], "plain \"text\" {");
        for number in 0..100 {
            log.line(&format!("line {number}"));
        }
        assert!(fs::metadata(&path).expect("meta").len() <= 400);
        assert!(dir.path().join("a.log.5").exists() && !dir.path().join("a.log.6").exists());
        assert_eq!(log.tail().len(), TAIL);
        assert_eq!(log.tail().last().map(String::as_str), Some("line 99"));
    }
}
