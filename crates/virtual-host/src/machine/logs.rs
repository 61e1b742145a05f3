//! Keeps the machine's two logs bounded.
//!
//! QEMU appends to them, so a log past its limit is copied to `<name>.1` and cut to nothing. A line
//! that is written between the two steps is lost; nothing else is.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Kernel and boot messages.
pub(crate) const CONSOLE: &str = "console.log";
/// What the agent writes.
pub(crate) const AGENT: &str = "agent.log";
/// Bytes of a log before it is rotated.
const LIMIT: u64 = 32 << 20;
const PERIOD: Duration = Duration::from_secs(10);
const TAIL: u64 = 2000;

/// A thread that looks after the logs until it is dropped.
#[derive(Debug)]
pub(crate) struct LogKeeper {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl LogKeeper {
    pub(crate) fn watch(state_dir: &Path) -> io::Result<Self> {
        let logs = [CONSOLE, AGENT].map(|name| state_dir.join(name));
        let (stop, stopped) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("machine-logs".into())
            .spawn(move || {
                while stopped.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
                    for log in &logs {
                        if let Err(error) = rotate(log, LIMIT) {
                            tracing::warn!(%error, log = %log.display(), "rotating a log failed");
                        }
                    }
                }
            })?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for LogKeeper {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // It can only have panicked, which it has reported itself.
            let _ = thread.join();
        }
    }
}

fn rotate(log: &Path, limit: u64) -> io::Result<()> {
    match fs::metadata(log) {
        Ok(metadata) if metadata.len() > limit => {
            let mut old = log.as_os_str().to_owned();
            old.push(".1");
            fs::copy(log, PathBuf::from(old))?;
            File::options().write(true).open(log)?.set_len(0)
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// The last lines of a log, on one line, without control characters: it is foreign text.
pub(crate) fn tail(log: &Path) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        file.take(TAIL).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let text = String::from_utf8_lossy(&read().unwrap_or_default()).into_owned();
    let lines: Vec<String> = text
        .lines()
        .map(|line| line.chars().filter(|c| !c.is_control()).collect::<String>())
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(6)..].join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_log_past_its_limit_moves_aside_and_its_writer_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut writer = File::options()
            .append(true)
            .create(true)
            .open(&path)
            .unwrap();
        writer.write_all(b"one two three").unwrap();
        rotate(&path, 13).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 13);
        rotate(&path, 12).unwrap();
        writer.write_all(b"four").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"four");
        assert_eq!(
            fs::read(dir.path().join("log.1")).unwrap(),
            b"one two three"
        );
    }

    #[test]
    fn a_tail_is_the_last_lines_without_control_characters() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let lines: Vec<String> = (1..=9).map(|n| format!("\x1b[2Jline {n}\r\n")).collect();
        fs::write(&path, lines.concat()).unwrap();
        let expected = "[2Jline 4 | [2Jline 5 | [2Jline 6 | [2Jline 7 | [2Jline 8 | [2Jline 9";
        assert_eq!(tail(&path), expected);
        assert_eq!(tail(&dir.path().join("none")), "");
    }
}
