//! The console: what the guest and the VMM print, in a bounded file.
//!
//! The VMM's standard output is a named pipe that it holds open for reading too and writes without
//! blocking. So a guest that prints never waits for anyone, never fills a disk, and never meets a closed
//! pipe: without a reader the last 64 KiB wait in the pipe, further output is dropped, and a reader that
//! comes back (after the agent was restarted) finds them. Console bytes are the guest's: hostile.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use super::error::JailError;

/// Name of the pipe in a jail's directory.
const PIPE: &str = "console";

/// Makes the pipe in a new jail.
pub(super) fn make_pipe(directory: &Path) -> Result<(), JailError> {
    let path = directory.join(PIPE);
    rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0)
        .map_err(|source| JailError::file("make the console pipe", &path, source.into()))
}

/// The end that the VMM gets as its standard output and error.
pub(super) fn writer(directory: &Path) -> Result<File, JailError> {
    let path = directory.join(PIPE);
    File::options()
        .read(true)
        .write(true)
        .custom_flags(OFlags::NONBLOCK.bits() as i32)
        .open(&path)
        .map_err(|source| JailError::file("open the console pipe", &path, source))
}

/// Opens the reading end. While no writer exists it reads as ended, of which there is no event.
pub(super) fn reader(directory: &Path) -> Result<pipe::Receiver, JailError> {
    let path = directory.join(PIPE);
    pipe::OpenOptions::new()
        .open_receiver(&path)
        .map_err(|source| JailError::file("open the console pipe", &path, source))
}

/// What waits in the pipe now, for error messages: at most 4 KiB, made printable.
pub(super) fn pending(writer: &File) -> String {
    let mut bytes = [0; 4096];
    let read = rustix::io::read(writer, &mut bytes).unwrap_or(0);
    printable(&bytes[..read])
}

/// Copies a console into a log file of bounded size, with one predecessor (`<path>.1`).
#[derive(Debug)]
pub struct ConsoleLog {
    pub(super) pipe: pipe::Receiver,
    pub(super) path: PathBuf,
    /// Bytes of the file and its predecessor together.
    pub(super) limit: u64,
}

impl ConsoleLog {
    /// Runs until the VM has ended. Dropping it loses nothing that was written.
    pub async fn run(mut self) -> io::Result<()> {
        let mut chunk = vec![0; 16 << 10];
        let mut log = Rotating::open(&self.path, self.limit)?;
        // A VM that ended before the pipe was opened is told by a read alone, and by no event (Linux, `fifo_open`).
        match rustix::io::read(&self.pipe, &mut chunk) {
            Ok(0) => return Ok(()),
            Ok(read) => log.append(&chunk[..read])?,
            Err(Errno::AGAIN) => {}
            Err(error) => return Err(error.into()),
        }
        loop {
            let read = self.pipe.read(&mut chunk).await?;
            if read == 0 {
                return Ok(());
            }
            log.append(&chunk[..read])?;
        }
    }
}

/// The last `limit` bytes of a console log, its predecessor included, made printable.
pub fn console_tail(path: &Path, limit: usize) -> io::Result<String> {
    let mut bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(error),
    };
    if bytes.len() < limit {
        let mut before = std::fs::read(predecessor(path)).unwrap_or_default();
        before.extend(bytes);
        bytes = before;
    }
    Ok(printable(&bytes[bytes.len().saturating_sub(limit)..]))
}

#[derive(Debug)]
struct Rotating {
    path: PathBuf,
    file: File,
    length: u64,
    limit: u64,
}

impl Rotating {
    fn open(path: &Path, limit: u64) -> io::Result<Self> {
        let file = File::options()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path)?;
        let length = file.metadata()?.len();
        Ok(Self {
            path: path.to_owned(),
            file,
            length,
            limit,
        })
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.length + bytes.len() as u64 > self.limit / 2 {
            std::fs::rename(&self.path, predecessor(&self.path))?;
            *self = Self::open(&self.path, self.limit)?;
        }
        self.file.write_all_at(bytes, self.length)?;
        self.length += bytes.len() as u64;
        Ok(())
    }
}

fn predecessor(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

/// Keeps line ends; other control characters could steer a terminal.
fn printable(bytes: &[u8]) -> String {
    let legible = |c: char| {
        if c == '\n' || !c.is_control() {
            c
        } else {
            '\u{fffd}'
        }
    };
    String::from_utf8_lossy(bytes)
        .replace("\r\n", "\n")
        .chars()
        .map(legible)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[tokio::test]
    async fn a_console_reaches_its_log_and_ends_with_its_writer() {
        let dir = tempfile::tempdir().unwrap();
        make_pipe(dir.path()).unwrap();
        let mut writer = writer(dir.path()).unwrap();
        let path = dir.path().join("console.log");
        let log = ConsoleLog {
            pipe: reader(dir.path()).unwrap(),
            path: path.clone(),
            limit: 1 << 20,
        };
        writer.write_all(b"hello\r\n\x1b[2J").unwrap();
        drop(writer);
        log.run().await.unwrap();
        assert_eq!(console_tail(&path, 100).unwrap(), "hello\n\u{fffd}[2J");
        assert_eq!(console_tail(&path, 4).unwrap(), "\u{fffd}[2J");
        assert_eq!(console_tail(&dir.path().join("absent"), 4).unwrap(), "");
    }

    #[tokio::test]
    async fn a_console_whose_writer_is_gone_ends_at_once() {
        let dir = tempfile::tempdir().unwrap();
        make_pipe(dir.path()).unwrap();
        drop(writer(dir.path()).unwrap());
        let log = ConsoleLog {
            pipe: reader(dir.path()).unwrap(),
            path: dir.path().join("console.log"),
            limit: 1 << 20,
        };
        let ended = tokio::time::timeout(std::time::Duration::from_secs(10), log.run());
        ended.await.expect("it ends").unwrap();
    }

    #[test]
    fn a_guest_that_prints_without_a_reader_neither_blocks_nor_fails_the_pipe() {
        let dir = tempfile::tempdir().unwrap();
        make_pipe(dir.path()).unwrap();
        let mut writer = writer(dir.path()).unwrap();
        let error = loop {
            if let Err(error) = writer.write_all(&[b'x'; 4096]) {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(pending(&writer).len(), 4096);
    }

    #[test]
    fn a_log_never_exceeds_its_limit_and_keeps_the_newest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console.log");
        let mut log = Rotating::open(&path, 1000).unwrap();
        for i in 0..100u32 {
            log.append(format!("line {i:04}\n").as_bytes()).unwrap();
            let size = |path: &Path| std::fs::metadata(path).map_or(0, |stat| stat.len());
            assert!(size(&path) + size(&predecessor(&path)) <= 1000);
        }
        assert!(console_tail(&path, 20).unwrap().ends_with("line 0099\n"));
    }
}
