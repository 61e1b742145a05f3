//! As much HTTP as Firecracker's own server speaks: a request with a body of known length, an answer.

use std::{fmt, io};

use tokio::{io::AsyncReadExt as _, net::UnixStream};

/// For head and body together.
const LIMIT: usize = 1 << 20;

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// `GET`, `PUT`, `PATCH`.
    pub method: String,
    /// With its leading slash.
    pub path: String,
    /// As sent.
    pub body: Vec<u8>,
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

/// The next request of a connection; none when the client has closed it.
pub(super) async fn read(stream: &mut UnixStream) -> io::Result<Option<Asked>> {
    let mut bytes = Vec::new();
    loop {
        if let Some(asked) = parse(&bytes) {
            return Ok(Some(asked));
        }
        if bytes.len() > LIMIT {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    }
}

/// A request that is whole.
fn parse(bytes: &[u8]) -> Option<Asked> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let body = &bytes[end + 4..];
    let mut lines = head.lines();
    let mut words = lines.next()?.split(' ');
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let found = name.eq_ignore_ascii_case("content-length");
        found.then(|| value.trim().parse().ok())?
    });
    Some(Asked {
        method: words.next()?.to_owned(),
        path: words.next()?.to_owned(),
        body: body.get(..length.unwrap_or(0))?.to_vec(),
    })
}

/// An answer; 204 has no body.
pub(super) fn answer(status: &str, body: &str) -> Vec<u8> {
    let length = match body.len() {
        0 => String::new(),
        length => format!("Content-Type: application/json\r\nContent-Length: {length}\r\n"),
    };
    format!("HTTP/1.1 {status}\r\nServer: Firecracker API\r\n{length}\r\n{body}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &str, expected: Option<(&str, &str)>) {
        let asked = parse(bytes.as_bytes());
        let found = asked.map(|asked| {
            let body = String::from_utf8(asked.body.clone()).expect("it is text");
            (asked.to_string(), body)
        });
        let expected = expected.map(|(name, body)| (name.to_owned(), body.to_owned()));
        assert_eq!(found, expected, "{bytes:?}");
    }

    #[test]
    fn a_request_is_read_when_its_body_is_whole() {
        check("PUT /vm HTTP/1.1\r\nHost: x\r\n", None);
        check("GET / HTTP/1.1\r\nHost: x\r\n\r\n", Some(("GET /", "")));
        check("PUT /vm HTTP/1.1\r\nContent-Length: 2\r\n\r\n{", None);
        check(
            "PUT /vm HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}",
            Some(("PUT /vm", "{}")),
        );
    }
}
