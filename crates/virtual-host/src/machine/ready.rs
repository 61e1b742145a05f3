//! Whether a port of the machine is served.
//!
//! QEMU's user network accepts every connection by itself, so only an answer counts. Each probe
//! waits for an answer or for the connection to end, at least [`PAUSE`], at most [`PROBE`].

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(100);
const PROBE: Duration = Duration::from_secs(5);

/// Whether the port greets as an ssh server does.
pub(crate) fn ssh(port: u16, until: Instant) -> bool {
    probe(port, until, b"", b"SSH-")
}

/// Whether the port answers with TLS: to what is no TLS it sends an alert (record type 21).
pub(crate) fn tls(port: u16, until: Instant) -> bool {
    probe(port, until, b"are you there?\r\n\r\n", &[21, 3])
}

fn probe(port: u16, until: Instant, question: &[u8], expected: &[u8]) -> bool {
    let began = Instant::now();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let answer = || -> std::io::Result<Vec<u8>> {
        let limit = PROBE.min(until.saturating_duration_since(began)).max(PAUSE);
        let mut stream = TcpStream::connect_timeout(&address, limit)?;
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;
        stream.write_all(question)?;
        let mut answer = vec![0; expected.len()];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    };
    let answered = answer().is_ok_and(|answer| answer == expected);
    if !answered {
        std::thread::sleep(PAUSE.saturating_sub(began.elapsed()));
    }
    answered
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn check(greeting: &'static [u8], probe: fn(u16, Instant) -> bool, expected: bool) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(greeting).unwrap();
        });
        assert_eq!(
            probe(port, Instant::now() + Duration::from_secs(5)),
            expected
        );
        server.join().unwrap();
    }

    #[test]
    fn an_answer_of_the_right_kind_counts() {
        check(b"SSH-2.0-x\r\n", ssh, true);
        check(&[21, 3, 3, 0, 2, 2, 50], tls, true);
    }

    #[test]
    fn a_connection_that_only_opens_does_not_count() {
        check(b"", ssh, false);
        check(b"", tls, false);
        check(b"HTTP/1.1 400", tls, false);
    }
}
