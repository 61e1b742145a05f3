//! `/files`: the content of files, down and up, as plain HTTP bodies.

mod body;
pub(crate) mod compose;
mod condition;
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
use crate::{agent::Agent, paths, reason::Reason, server::gate, users::User};

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
        let message = fault.message.unwrap_or_default();
        if message == gate::NO_USER {
            HttpError::fixed(400, gate::NO_USER)
        } else {
            HttpError::new(401, message)
        }
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

/// Runs a step that may block the thread it runs on.
async fn blocking<T: Send + 'static>(
    step: impl FnOnce() -> Result<T, HttpError> + Send + 'static,
) -> Result<T, HttpError> {
    tokio::task::spawn_blocking(step)
        .await
        .unwrap_or_else(|_| Err(HttpError::fixed(500, "the operation panicked")))
}
