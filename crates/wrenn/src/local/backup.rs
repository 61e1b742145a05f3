//! The file of a backup: what it is, the dump, and a checksum over both.
//!
//! ```text
//! wrenn backup 1\n
//! {"version":…,"schema":…,…}\n          one line of JSON
//! …                                     what pg_dump wrote (custom format)
//! \nsha256 <64 hex digits>\n            over everything before it
//! ```
//!
//! It is written beside its place and renamed, so that what bears its name is whole. It holds all that the database
//! holds: only its owner may read it.

use std::{
    fs::{self, File, OpenOptions},
    io::{BufRead, BufReader, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Attempt, CliError, Exit};

const MAGIC: &str = "wrenn backup ";
/// The format that is written, and the newest that is read.
const FORMAT: u32 = 1;
/// Longest line of the head.
const LINE: u64 = 64 << 10;
/// Bytes of the last line with the line end before it.
const TRAILER: u64 = 8 + 64 + 1;

/// What a backup says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    /// Version of the binary that made it.
    pub(crate) version: String,
    /// Number of the newest migration that the database had.
    pub(crate) schema: i64,
    /// RFC 3339.
    pub(crate) created_at: String,
    /// Major version of the server.
    pub(crate) postgres: i32,
    /// A known text under the encryption key: tells whether its sealed values can be opened.
    pub(crate) key_check: String,
}

/// A backup that is being written. Dropped before its end it leaves nothing.
#[derive(Debug)]
pub(crate) struct Writer {
    file: File,
    hash: Sha256,
    bytes: u64,
    partial: PathBuf,
    path: PathBuf,
}

impl Writer {
    /// Begins the backup at `path`, where nothing may be yet.
    pub(crate) fn create(path: &Path, header: &Header) -> Result<Self, CliError> {
        if path.symlink_metadata().is_ok() {
            return Err(CliError::new(
                Exit::Conflict,
                "exists",
                format_args!("{} is there already", path.display()),
            )
            .hint("name", "another file; backups are not overwritten"));
        }
        let mut partial = path.as_os_str().to_owned();
        partial.push(format!(".{}.partial", std::process::id()));
        let partial = PathBuf::from(partial);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&partial)
            .attempt(|| format!("write {}", partial.display()))?;
        let mut writer = Self {
            file,
            hash: Sha256::new(),
            bytes: 0,
            partial,
            path: path.to_owned(),
        };
        let json = serde_json::to_string(header).attempt(|| "write the backup's head")?;
        writer.write(format!("{MAGIC}{FORMAT}\n{json}\n").as_bytes())?;
        Ok(writer)
    }

    /// Adds a piece of the dump.
    pub(crate) fn write(&mut self, piece: &[u8]) -> Result<(), CliError> {
        self.hash.update(piece);
        self.bytes += piece.len() as u64;
        let written = self.file.write_all(piece);
        written.attempt(|| format!("write {}", self.partial.display()))
    }

    /// Closes it with its checksum and gives it its name; answers its size in bytes.
    pub(crate) fn finish(mut self) -> Result<u64, CliError> {
        let sum = hex::encode(self.hash.clone().finalize());
        let closed = self
            .file
            .write_all(format!("\nsha256 {sum}\n").as_bytes())
            .and_then(|()| self.file.sync_all())
            // Unlike a rename, a link does not replace what came there meanwhile.
            .and_then(|()| fs::hard_link(&self.partial, &self.path));
        closed.attempt(|| format!("write {}", self.path.display()))?;
        Ok(self.bytes + TRAILER)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.partial);
    }
}

/// A backup whose checksum was found right.
#[derive(Debug)]
pub(crate) struct Backup {
    pub(crate) header: Header,
    file: File,
    dump: std::ops::Range<u64>,
}

impl Backup {
    /// Opens the backup at `path` and reads all of it once, to see that it is whole.
    pub(crate) fn open(path: &Path) -> Result<Self, CliError> {
        let shown = path.display();
        let file = File::open(path).attempt(|| format!("read {shown}"))?;
        let size = file.metadata().attempt(|| format!("read {shown}"))?.len();
        let mut reader = BufReader::with_capacity(1 << 20, file);
        let mut line = || -> Result<Vec<u8>, CliError> {
            let mut line = Vec::new();
            let mut limited = reader.by_ref().take(LINE);
            limited
                .read_until(b'\n', &mut line)
                .attempt(|| format!("read {shown}"))?;
            Ok(line)
        };
        let first = line()?;
        let format = std::str::from_utf8(&first)
            .ok()
            .and_then(|text| text.strip_prefix(MAGIC)?.strip_suffix('\n')?.parse().ok());
        let format: u32 = format.ok_or_else(|| {
            CliError::usage(format_args!("{shown} is no backup of Wrenn"))
                .hint("make one", "wrenn admin backup FILE")
        })?;
        if format > FORMAT {
            return Err(CliError::local(format_args!(
                "{shown} has format {format}, and this version of Wrenn reads formats up to {FORMAT}"
            ))
            .hint("use", "the version of Wrenn that made it, or a newer one"));
        }
        let second = line()?;
        let damaged = |how: &str| {
            CliError::local(format_args!("{shown} is damaged: {how}"))
                .hint("use", "another copy; nothing was changed")
        };
        let start = (first.len() + second.len()) as u64;
        let end = size.checked_sub(TRAILER).filter(|end| *end >= start);
        let end = end.ok_or_else(|| damaged("its end is missing"))?;
        let mut hash = Sha256::new();
        hash.update(&first);
        hash.update(&second);
        let mut body = reader.by_ref().take(end - start);
        let copied = std::io::copy(&mut body, &mut HashWriter(&mut hash));
        copied.attempt(|| format!("read {shown}"))?;
        let mut trailer = String::new();
        let read = reader.by_ref().take(TRAILER).read_to_string(&mut trailer);
        let sum = trailer
            .strip_prefix("\nsha256 ")
            .and_then(|rest| rest.strip_suffix('\n'));
        let Some(sum) = sum.filter(|_| read.is_ok()) else {
            return Err(damaged("its end is missing"));
        };
        if sum != hex::encode(hash.finalize()) {
            return Err(damaged("its checksum does not fit what it holds"));
        }
        let header = serde_json::from_slice(&second).map_err(|_| damaged("its head is no head"))?;
        Ok(Self {
            header,
            file: reader.into_inner(),
            dump: start..end,
        })
    }

    /// The dump.
    pub(crate) fn dump(&mut self) -> Result<impl Read + '_, CliError> {
        self.file
            .seek(SeekFrom::Start(self.dump.start))
            .attempt(|| "read the backup")?;
        Ok(Read::by_ref(&mut self.file).take(self.dump.end - self.dump.start))
    }
}

struct HashWriter<'a>(&'a mut Sha256);

impl Write for HashWriter<'_> {
    fn write(&mut self, piece: &[u8]) -> std::io::Result<usize> {
        self.0.update(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn header() -> Header {
        Header {
            version: "0.1.0".to_owned(),
            schema: 7,
            created_at: "2026-01-31T00:00:00Z".to_owned(),
            postgres: 15,
            key_check: "v1:0:00:00".to_owned(),
        }
    }

    fn written(dir: &Path) -> PathBuf {
        let path = dir.join("b");
        let mut writer = Writer::create(&path, &header()).expect("begun");
        writer.write(b"one").expect("written");
        writer.write(b"\nsha256 two").expect("written");
        let size = writer.finish().expect("finished");
        assert_eq!(fs::metadata(&path).expect("meta").len(), size);
        path
    }

    #[test]
    fn what_was_written_is_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = written(dir.path());
        let mut backup = Backup::open(&path).expect("whole");
        assert_eq!(backup.header, header());
        let mut dump = String::new();
        backup
            .dump()
            .expect("there")
            .read_to_string(&mut dump)
            .expect("read");
        assert_eq!(dump, "one\nsha256 two");
        let mode = fs::metadata(&path).expect("meta").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // Nothing lies beside it, and it is not overwritten.
        assert_eq!(fs::read_dir(dir.path()).expect("read").count(), 1);
        assert!(Writer::create(&path, &header()).is_err());
        drop(Writer::create(&dir.path().join("c"), &header()).expect("begun"));
        assert_eq!(fs::read_dir(dir.path()).expect("read").count(), 1);
    }

    #[test]
    fn every_damage_is_seen() {
        let dir = tempfile::tempdir().expect("a directory");
        let whole = fs::read(written(dir.path())).expect("read");
        let path = dir.path().join("damaged");
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).expect("written");
            assert!(Backup::open(&path).is_err(), "cut at {cut}");
        }
        for place in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[place] ^= 1;
            fs::write(&path, &bytes).expect("written");
            assert!(Backup::open(&path).is_err(), "changed at {place}");
        }
        fs::write(&path, [&whole[..], b"x"].concat()).expect("written");
        assert!(Backup::open(&path).is_err(), "longer");
    }
}
