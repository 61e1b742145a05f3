//! The metadata service of the microVM (MMDS, version 2), asked over a minimal HTTP client.
//!
//! What it answers is the host's word, but the address is one that anything on the guest's network could
//! pretend to be: sizes, times and characters are bounded, and what does not fit is an error.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use serde::Deserialize;
use thiserror::Error;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

const SERVICE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(169, 254, 169, 254), 80);
const CALL_TIME: Duration = Duration::from_secs(2);
const MAX_ANSWER: usize = 64 * 1024;
const MAX_VALUE: usize = 128;

/// What the host keeps for this guest. Absent keys are empty.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Metadata {
    #[serde(rename = "instanceID")]
    pub(crate) sandbox_id: String,
    #[serde(rename = "envID")]
    pub(crate) template_id: String,
    /// Lower-case hexadecimal SHA-256 of the host key.
    #[serde(rename = "hostKeyHash")]
    pub(crate) host_key_hash: String,
    /// Lower-case hexadecimal SHA-256 of the access token.
    #[serde(rename = "accessTokenHash")]
    pub(crate) access_token_hash: String,
}

/// A question that the service did not answer.
#[derive(Debug, Error)]
pub(crate) enum MmdsError {
    #[error("reach the metadata service")]
    Io(#[from] std::io::Error),
    #[error("the metadata service did not answer in time")]
    Late,
    #[error("the metadata service answered with status {0}")]
    Status(u16),
    #[error("the metadata service's answer is no HTTP response of at most 64 KiB")]
    Malformed,
    #[error("read the metadata")]
    Json(#[from] serde_json::Error),
    #[error("the metadata's {0} is not a plain word of at most 128 bytes")]
    BadValue(&'static str),
}

/// Asks for a token and with it for everything.
pub(crate) async fn fetch() -> Result<Metadata, MmdsError> {
    let mut connection = None;
    let ttl = "X-metadata-token-ttl-seconds: 60";
    let token = call(&mut connection, "PUT /latest/api/token", ttl).await?;
    let token = std::str::from_utf8(&token).map_err(|_| MmdsError::Malformed)?;
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(MmdsError::Malformed);
    }
    let headers = format!("X-metadata-token: {token}\r\nAccept: application/json");
    read_metadata(&call(&mut connection, "GET /", &headers).await?)
}

fn read_metadata(json: &[u8]) -> Result<Metadata, MmdsError> {
    let metadata: Metadata = serde_json::from_slice(json)?;
    for (name, value) in [
        ("instanceID", &metadata.sandbox_id),
        ("envID", &metadata.template_id),
        ("hostKeyHash", &metadata.host_key_hash),
        ("accessTokenHash", &metadata.access_token_hash),
    ] {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:/-".contains(&byte);
        if value.len() > MAX_VALUE || !value.bytes().all(plain) {
            return Err(MmdsError::BadValue(name));
        }
    }
    Ok(metadata)
}

/// Any bytes are an answer, a part of one or none; what is taken from it is plain words.
#[cfg(feature = "fuzzing")]
pub(crate) fn fuzz(data: &[u8]) {
    if let Ok(Some(body)) = body(data) {
        assert!(body.len() <= MAX_ANSWER);
    }
    if let Ok(metadata) = read_metadata(data) {
        assert!(metadata.sandbox_id.len() <= MAX_VALUE && metadata.host_key_hash.is_ascii());
    }
}

/// Asks on `connection`, or on a new one where there is none or the service has closed it.
async fn call(
    connection: &mut Option<TcpStream>,
    line: &str,
    headers: &str,
) -> Result<Vec<u8>, MmdsError> {
    let asked = async {
        if let Some(mut stream) = connection.take()
            && let Ok(body) = exchange(&mut stream, line, headers).await
        {
            *connection = Some(stream);
            return Ok(body);
        }
        let mut stream = TcpStream::connect(SERVICE).await?;
        let body = exchange(&mut stream, line, headers).await?;
        *connection = Some(stream);
        Ok(body)
    };
    timeout(CALL_TIME, asked)
        .await
        .map_err(|_| MmdsError::Late)?
}

async fn exchange(stream: &mut TcpStream, line: &str, headers: &str) -> Result<Vec<u8>, MmdsError> {
    let request = format!(
        "{line} HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\n{headers}\r\n\r\n",
        SERVICE.ip()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    loop {
        if let Some(body) = body(&answer)? {
            return Ok(body);
        }
        if answer.len() >= MAX_ANSWER || stream.read_buf(&mut answer).await? == 0 {
            return Err(MmdsError::Malformed);
        }
    }
}

/// The body of a whole response; nothing while more of it is to come.
fn body(answer: &[u8]) -> Result<Option<Vec<u8>>, MmdsError> {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&answer[..end]).map_err(|_| MmdsError::Malformed)?;
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.strip_prefix("HTTP/1."))
        .and_then(|line| line.split(' ').nth(1)?.parse().ok())
        .ok_or(MmdsError::Malformed)?;
    if status != 200 {
        return Err(MmdsError::Status(status));
    }
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok())
        .filter(|length| *length <= MAX_ANSWER)
        .ok_or(MmdsError::Malformed)?;
    Ok(answer[end + 4..].get(..length).map(<[u8]>::to_vec))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(answer: &str, expected: Result<Option<&str>, &str>) {
        let seen = body(answer.as_bytes()).map_err(|fault| fault.to_string());
        let seen = seen.map(|body| body.map(|bytes| String::from_utf8(bytes).unwrap()));
        let expected = expected
            .map(|body| body.map(String::from))
            .map_err(String::from);
        assert_eq!(seen, expected, "{answer:?}");
    }

    #[test]
    fn a_response_is_complete_at_its_announced_length() {
        check("HTTP/1.1 200 \r\nContent-Le", Ok(None));
        check("HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\nhel", Ok(None));
        check(
            "HTTP/1.1 200 OK\r\ncontent-length:5\r\n\r\nhello more",
            Ok(Some("hello")),
        );
    }

    #[test]
    fn rubbish_and_refusals_are_errors() {
        let malformed = Err("the metadata service's answer is no HTTP response of at most 64 KiB");
        check("\r\n\r\n", malformed);
        check("HTTP/1.1 yes\r\n\r\n", malformed);
        check("HTTP/1.1 200 \r\n\r\n", malformed);
        check(
            "HTTP/1.1 200 \r\nContent-Length: 99999999999999999999\r\n\r\n",
            malformed,
        );
        check("HTTP/1.1 200 \r\nContent-Length: 65537\r\n\r\n", malformed);
        check(
            "HTTP/1.1 401 no\r\n\r\n",
            Err("the metadata service answered with status 401"),
        );
    }

    #[test]
    fn values_are_plain_words() {
        let good = read_metadata(br#"{"instanceID":"abc","envID":"t:1","other":[1]}"#).unwrap();
        assert_eq!(good.sandbox_id, "abc");
        assert_eq!(good.host_key_hash, "");
        for bad in ["7", "{", r#"{"instanceID":"a b"}"#, r#"{"envID":7}"#] {
            assert!(read_metadata(bad.as_bytes()).is_err(), "{bad}");
        }
        let long = format!(r#"{{"hostKeyHash":"{}"}}"#, "a".repeat(MAX_VALUE + 1));
        assert!(read_metadata(long.as_bytes()).is_err());
    }
}
