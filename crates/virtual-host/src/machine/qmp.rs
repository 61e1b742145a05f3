//! One command to a running QEMU through its QMP socket (docs/interop/qmp-spec.txt).

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use serde::Deserialize;

/// The longest line that is read; QEMU's are a few hundred bytes.
const LINE_LIMIT: u64 = 1 << 20;

/// A message of QEMU. Greeting and events have neither field.
#[derive(Debug, Deserialize)]
struct Message {
    #[serde(rename = "return")]
    done: Option<serde_json::Value>,
    error: Option<Failure>,
}

#[derive(Debug, Deserialize)]
struct Failure {
    desc: String,
}

/// Executes `command`, which takes no arguments, on the machine of `state_dir`.
pub(crate) fn execute(state_dir: &Path, command: &str, deadline: Duration) -> io::Result<()> {
    let until = Instant::now() + deadline;
    // The path of a socket is limited to 107 bytes: reach it through a descriptor.
    let dir = rustix::fs::open(state_dir, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let stream = UnixStream::connect(format!("/proc/self/fd/{}/qmp.sock", dir.as_raw_fd()))?;
    let mut lines = BufReader::new(stream);
    // The answer to the first command can only come after the greeting.
    for command in ["qmp_capabilities", command] {
        let line = format!("{{\"execute\":\"{command}\"}}\n");
        lines.get_mut().write_all(line.as_bytes())?;
        wait_for_answer(&mut lines, until)?;
    }
    Ok(())
}

fn wait_for_answer(lines: &mut BufReader<UnixStream>, until: Instant) -> io::Result<()> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        lines.get_ref().set_read_timeout(Some(left))?;
        let mut line = Vec::new();
        if lines.take(LINE_LIMIT).read_until(b'\n', &mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let message: Message = serde_json::from_slice(&line)?;
        if let Some(failure) = message.error {
            return Err(io::Error::other(failure.desc));
        }
        if message.done.is_some() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// Serves one connection with the given lines, each sent after a line was received.
    fn check(answers: &'static [&'static str]) -> io::Result<()> {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("qmp.sock")).unwrap();
        let server = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream);
            lines.get_mut().write_all(b"{\"QMP\":{}}\n").unwrap();
            for answer in answers {
                lines.read_line(&mut String::new()).unwrap();
                lines.get_mut().write_all(answer.as_bytes()).unwrap();
            }
        });
        let result = execute(dir.path(), "system_powerdown", Duration::from_secs(5));
        server.join().unwrap();
        result
    }

    #[test]
    fn events_before_the_answer_are_passed_over() {
        check(&[
            "{\"return\":{}}\n",
            "{\"event\":\"POWERDOWN\"}\n{\"return\":{}}\n",
        ])
        .unwrap();
    }

    #[test]
    fn a_refusal_carries_what_qemu_said() {
        let error = check(&["{\"return\":{}}\n", "{\"error\":{\"desc\":\"no\"}}\n"]).unwrap_err();
        assert_eq!(error.to_string(), "no");
    }

    #[test]
    fn a_closed_connection_and_nonsense_are_errors() {
        check(&["{\"return\":{}}\n"]).unwrap_err();
        check(&["nonsense\n"]).unwrap_err();
    }
}
