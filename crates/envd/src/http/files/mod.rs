//! `/files`: the content of files, down and up, as plain HTTP bodies.

mod body;
pub(crate) mod compose;
mod condition;
mod content;
pub(crate) mod download;
mod encoding;
mod metadata;
mod packed;
mod range;
pub(crate) mod upload;
mod writer;

use std::{borrow::Cow, io};

use http::HeaderMap;

use super::{HttpError, signature::FileQuery};
use crate::{
    agent::Agent,
    paths,
    reason::Reason,
    server::gate::{self, UserError},
    users::User,
};

/// The user that the query names, else the header, else the default.
fn user(agent: &Agent, headers: &HeaderMap, query: &FileQuery<'_>) -> Result<User, HttpError> {
    user_called(agent, headers, query.username.as_deref())
}

fn user_called(agent: &Agent, headers: &HeaderMap, name: Option<&str>) -> Result<User, HttpError> {
    let found = match name.filter(|name| !name.is_empty()) {
        Some(name) => gate::find_user(agent, name),
        None => gate::user(agent, headers),
    };
    found.map_err(|fault| {
        let status = match fault {
            UserError::Missing => 400,
            UserError::Unreadable | UserError::Unknown(_) => 401,
        };
        HttpError::new(status, fault.to_string())
    })
}

/// The absolute path that a request means.
fn path(agent: &Agent, user: &User, path: &str) -> Result<String, HttpError> {
    let workdir = agent.sandbox.state().default_workdir.clone();
    paths::expand(path, &user.home, workdir.as_deref())
        .map_err(|fault| HttpError::new(400, fault.to_string()).because(Reason::BadPath))
}

/// A failed step on a file, as the caller is told of it.
fn io_error(attempt: &str, path: &str, fault: &io::Error) -> HttpError {
    let (status, reason) = match fault.raw_os_error() {
        Some(libc::ENOENT) => (404, Some(Reason::NotFound)),
        Some(libc::EISDIR) => (400, Some(Reason::IsADirectory)),
        Some(libc::ENOTDIR) => (400, Some(Reason::NotADirectory)),
        Some(libc::ELOOP | libc::ENAMETOOLONG) => (400, Some(Reason::BadPath)),
        Some(libc::ENOSPC | libc::EDQUOT) => (507, Some(Reason::NoSpace)),
        _ => (500, None),
    };
    let word = word(fault);
    let text = format!("cannot {attempt} '{}': {word}", gate::short(path));
    HttpError {
        reason,
        ..HttpError::new(status, text)
    }
}

fn word(fault: &io::Error) -> Cow<'static, str> {
    match fault.raw_os_error() {
        Some(number) => {
            crate::process::service::word(rustix::io::Errno::from_raw_os_error(number)).into()
        }
        None => "input/output error".into(),
    }
}

/// Any headers choose an encoding, a verdict and a range within the file.
#[cfg(feature = "fuzzing")]
pub(crate) fn fuzz_headers(data: &[u8]) {
    use http::{HeaderValue, header};
    use range::Wanted;
    const SIZE: u64 = 1000;
    let names = [
        header::ACCEPT_ENCODING,
        header::RANGE,
        header::IF_RANGE,
        header::IF_MODIFIED_SINCE,
        header::IF_UNMODIFIED_SINCE,
        header::IF_NONE_MATCH,
        header::IF_MATCH,
    ];
    let lines = data.split(|byte| *byte == b'\n');
    let headers = names.into_iter().zip(lines);
    let headers: HeaderMap = headers
        .filter_map(|(name, value)| Some((name, HeaderValue::from_bytes(value).ok()?)))
        .collect();
    let _ = encoding::preferred(&headers);
    let _ = condition::judge(&headers, std::time::SystemTime::UNIX_EPOCH);
    if let Some(value) = headers.get(header::RANGE)
        && let Wanted::Part { start, length } = range::parse(value, SIZE)
    {
        assert!(length >= 1 && start + length <= SIZE);
    }
    let _ = metadata::wanted(&headers);
}

/// Any body is a form or broken, and nothing in it is longer than it: its contents together, and each name,
/// which may be found within another.
#[cfg(feature = "fuzzing")]
pub(crate) fn fuzz_form(data: &[u8]) {
    use axum::extract::{FromRequest as _, Multipart, Request};
    // The first byte says how the body is cut.
    let (size, body) = data.split_first().unwrap_or((&1, &[]));
    let chunks: Vec<_> = body
        .chunks(usize::from(*size).max(1))
        .map(|chunk| Ok::<_, io::Error>(bytes::Bytes::copy_from_slice(chunk)))
        .collect();
    let chunks = axum::body::Body::from_stream(futures::stream::iter(chunks));
    let kind = "multipart/form-data; boundary=b";
    let request = Request::builder().header(http::header::CONTENT_TYPE, kind);
    let Ok(request) = request.body(chunks) else {
        return;
    };
    let read = async {
        let mut form = Multipart::from_request(request, &()).await.ok()?;
        let mut length = 0;
        while let Some(mut field) = form.next_field().await.ok()? {
            for name in field.name().into_iter().chain(field.file_name()) {
                assert!(name.len() <= body.len());
            }
            while let Some(chunk) = field.chunk().await.ok()? {
                length += chunk.len();
            }
        }
        Some(length)
    };
    if let Some(length) = futures::executor::block_on(read) {
        assert!(length <= body.len());
    }
}

/// Runs a step that may block the thread it runs on.
async fn blocking<T: Send + 'static>(
    step: impl FnOnce() -> Result<T, HttpError> + Send + 'static,
) -> Result<T, HttpError> {
    tokio::task::spawn_blocking(step)
        .await
        .unwrap_or_else(|_| Err(HttpError::fixed(500, "the operation panicked")))
}
