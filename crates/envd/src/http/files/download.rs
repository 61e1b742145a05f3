//! `GET /files`: the bytes of a regular file, whole, packed, or one range of them.
//!
//! A file without a size (those of `/proc` have content all the same) is sent until its end. A range, and
//! whatever is asked for under a condition, is sent as it is.

use std::{
    fs::{File, Metadata},
    io::{Seek as _, SeekFrom},
    os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _},
    path::Path,
    sync::Arc,
    time::SystemTime,
};

use axum::{
    body::Body,
    extract::{RawQuery, State},
    response::{IntoResponse as _, Response},
};
use futures::{StreamExt as _, future, stream};
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{
        ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
        CONTENT_TYPE, LAST_MODIFIED, RANGE, VARY,
    },
};

use super::{
    blocking,
    condition::{self, Verdict},
    content,
    encoding::{self, Encoding},
    io_error, packed, path,
    range::{self, Wanted},
    user,
};
use crate::{
    agent::Agent, http::HttpError, http::signature::FileQuery, paths, reason::Reason,
    server::gate::short,
};

pub(crate) async fn download(
    State(agent): State<Arc<Agent>>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, HttpError> {
    let query = query.unwrap_or_default();
    let query = FileQuery::parse(&query)?;
    let user = user(&agent, &headers, &query)?;
    let path = path(&agent, &user, query.path.as_deref().unwrap_or_default())?;
    let opened = path.clone();
    let (mut file, metadata) = blocking(move || open(&opened)).await?;

    let size = metadata.len();
    let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    let mut response = Response::builder()
        .header(CONTENT_TYPE, content_type(&path))
        .header(CONTENT_DISPOSITION, disposition(&path))
        .header(LAST_MODIFIED, httpdate::fmt_http_date(modified))
        .header(VARY, "Accept-Encoding");
    let verdict = condition::judge(&headers, modified);
    match verdict {
        Verdict::NotModified => {
            return finish(response.status(StatusCode::NOT_MODIFIED), Body::empty());
        }
        Verdict::Failed => return Err(HttpError::fixed(412, "the file is another one")),
        Verdict::Whole | Verdict::Range => {}
    }
    if !condition::is_conditional(&headers) {
        match encoding::preferred(&headers) {
            Some(Encoding::Identity) => {}
            Some(Encoding::Gzip) => {
                let length = if size == 0 { u64::MAX } else { size };
                let response = response.header(CONTENT_ENCODING, "gzip");
                return finish(response, packed::body(file, length));
            }
            None => {
                return Err(HttpError::fixed(
                    406,
                    "neither identity nor gzip is acceptable",
                ));
            }
        }
    }
    if size == 0 {
        return unsized_answer(response, file, &path).await;
    }
    let wanted = match headers.get(RANGE).filter(|_| verdict == Verdict::Range) {
        Some(value) => range::parse(value, size),
        None => Wanted::Everything,
    };
    let (start, length) = match wanted {
        Wanted::Everything => (0, size),
        Wanted::Part { start, length } => {
            let last = start + length - 1;
            response = response
                .status(StatusCode::PARTIAL_CONTENT)
                .header(CONTENT_RANGE, format!("bytes {start}-{last}/{size}"));
            (start, length)
        }
        Wanted::Impossible => {
            let fault = HttpError::fixed(416, "the file has no such range");
            let size = HeaderValue::try_from(format!("bytes */{size}"));
            return Ok((size.ok().map(|size| [(CONTENT_RANGE, size)]), fault).into_response());
        }
    };
    if start > 0 {
        file.seek(SeekFrom::Start(start))
            .map_err(|fault| io_error("read", &path, &fault))?;
    }
    let body = Body::from_stream(content::pieces(Arc::new(file), length));
    finish(
        response
            .header(ACCEPT_RANGES, "bytes")
            .header(CONTENT_LENGTH, length),
        body,
    )
}

/// The answer for a file that claims to be empty, and of which only reading tells.
async fn unsized_answer(
    response: http::response::Builder,
    file: File,
    path: &str,
) -> Result<Response, HttpError> {
    let file = Arc::new(file);
    let first = content::piece(&file, u64::MAX).await;
    let first = first.map_err(|fault| io_error("read", path, &fault))?;
    if first.is_empty() {
        return finish(response.header(CONTENT_LENGTH, 0), Body::empty());
    }
    let rest = content::pieces(file, u64::MAX);
    let whole = stream::once(future::ready(Ok(first))).chain(rest);
    finish(response, Body::from_stream(whole))
}

fn finish(response: http::response::Builder, body: Body) -> Result<Response, HttpError> {
    response
        .body(body)
        .map_err(|_| HttpError::fixed(500, "cannot answer"))
}

/// Opens a regular file for reading.
pub(super) fn open(path: &str) -> Result<(File, Metadata), HttpError> {
    // Without blocking: a named pipe without a writer would hold the thread for ever.
    let opened = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path);
    let file = opened
        .map_err(paths::looked_up)
        .map_err(|fault| io_error("read", path, &fault))?;
    let metadata = file
        .metadata()
        .map_err(|fault| io_error("read", path, &fault))?;
    let kind = metadata.file_type();
    if kind.is_dir() {
        return Err(
            HttpError::new(400, format!("'{}' is a directory", short(path)))
                .because(Reason::IsADirectory),
        );
    }
    if kind.is_fifo() || kind.is_socket() || kind.is_block_device() || kind.is_char_device() {
        return Err(HttpError::new(
            400,
            format!("'{}' is not a regular file", short(path)),
        ));
    }
    Ok((file, metadata))
}

/// `inline` with the file's name; what a header cannot hold is percent-encoded (RFC 5987).
fn disposition(path: &str) -> HeaderValue {
    let name = path.rsplit('/').next().unwrap_or_default();
    let plain = name
        .bytes()
        .all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\');
    let text = if plain {
        format!("inline; filename=\"{name}\"")
    } else {
        let encoded: String = name
            .bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' => {
                    char::from(byte).to_string()
                }
                other => format!("%{other:02X}"),
            })
            .collect();
        format!("inline; filename*=UTF-8''{encoded}")
    };
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("inline"))
}

fn content_type(path: &str) -> &'static str {
    let extension = Path::new(path)
        .extension()
        .and_then(|one| one.to_str())
        .unwrap_or_default();
    match extension.to_ascii_lowercase().as_str() {
        "txt" | "log" | "md" | "py" | "rs" | "sh" | "toml" | "yaml" | "yml" => {
            "text/plain; charset=utf-8"
        }
        "html" | "htm" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "csv" => "text/csv; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "xml" => "text/xml; charset=utf-8",
        "json" => "application/json",
        "pdf" => "application/pdf",
        "wasm" => "application/wasm",
        "zip" => "application/zip",
        "gz" => "application/gzip",
        "tar" => "application/x-tar",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "svg" => "image/svg+xml",
        "webp" => "image/webp",
        "mp3" => "audio/mpeg",
        "wav" => "audio/wav",
        "mp4" => "video/mp4",
        "webm" => "video/webm",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, expected: &str) {
        assert_eq!(disposition(path).to_str().unwrap(), expected);
    }

    #[test]
    fn file_names_fit_into_a_header_whatever_they_are() {
        check("/a/b.txt", "inline; filename=\"b.txt\"");
        check("/a/ä b\".txt", "inline; filename*=UTF-8''%C3%A4%20b%22.txt");
        check("/a/x\ny", "inline; filename*=UTF-8''x%0Ay");
    }
}
