//! `POST /files/compose`: one file out of several, which are gone then.
//!
//! Written beside the destination and renamed, so that the destination is never half of it.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{OpenOptionsExt as _, fchown},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    Json,
    extract::{State, rejection::JsonRejection},
};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::{blocking, download, io_error, path, upload::Written, user_called};
use crate::{
    agent::Agent, filesystem::tree, http::HttpError, reason::Reason, server::gate::short,
    users::User,
};

#[derive(Deserialize)]
pub(crate) struct ComposeRequest {
    source_paths: Vec<String>,
    destination: String,
    username: Option<String>,
}

pub(crate) async fn compose(
    State(agent): State<Arc<Agent>>,
    headers: HeaderMap,
    body: Result<Json<ComposeRequest>, JsonRejection>,
) -> Result<Json<Written>, HttpError> {
    let Json(request) = body.map_err(|fault| match fault.status() {
        StatusCode::PAYLOAD_TOO_LARGE => HttpError::fixed(413, "the body is larger than 16 MiB"),
        _ => HttpError::new(400, fault.body_text()),
    })?;
    let user = user_called(&agent, &headers, request.username.as_deref())?;
    let destination = path(&agent, &user, &request.destination)?;
    let sources = request.source_paths.iter();
    let sources = sources.map(|source| path(&agent, &user, source));
    let sources: Vec<String> = sources.collect::<Result<_, _>>()?;
    if sources.is_empty() {
        return Err(HttpError::fixed(400, "there is nothing to compose"));
    }
    if sources.contains(&destination) {
        return Err(HttpError::fixed(
            400,
            "the destination is among the sources",
        ));
    }
    let target = destination.clone();
    blocking(move || join(&sources, &target, &user)).await?;
    Ok(Json(Written::new(destination)))
}

fn join(sources: &[String], destination: &str, user: &User) -> Result<(), HttpError> {
    let failed = |fault: io::Error| io_error("write", destination, &fault);
    if fs::symlink_metadata(destination).is_ok_and(|there| there.is_dir()) {
        return Err(
            HttpError::new(400, format!("'{}' is a directory", short(destination)))
                .because(Reason::IsADirectory),
        );
    }
    let parent = destination
        .rsplit_once('/')
        .map_or("", |(parent, _)| parent);
    tree::make_all(parent, user).map_err(|fault| failed(fault.into()))?;
    let (temporary, file) = create_in(parent).map_err(failed)?;
    let composed = append_all(sources, file, user, destination)
        .and_then(|()| fs::rename(&temporary, destination).map_err(failed));
    if composed.is_err() {
        // What was written is of no use to anybody.
        let _ = fs::remove_file(&temporary);
    }
    composed?;
    for source in sources {
        match fs::remove_file(source) {
            // Named twice, or gone by itself.
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => {}
            removed => removed.map_err(|fault| io_error("remove", source, &fault))?,
        }
    }
    Ok(())
}

/// A new file in a directory, under a name that nobody has.
fn create_in(directory: &str) -> io::Result<(String, File)> {
    static LAST: AtomicU64 = AtomicU64::new(0);
    loop {
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        let path = format!("{directory}/.wrenn-compose-{number}");
        let mut options = File::options();
        match options.write(true).create_new(true).mode(0o666).open(&path) {
            Err(fault) if fault.kind() == io::ErrorKind::AlreadyExists => {}
            opened => return Ok((path, opened?)),
        }
    }
}

fn append_all(
    sources: &[String],
    mut file: File,
    user: &User,
    destination: &str,
) -> Result<(), HttpError> {
    let failed = |fault: io::Error| io_error("write", destination, &fault);
    fchown(&file, Some(user.uid), Some(user.gid)).map_err(failed)?;
    for source in sources {
        let (mut source, _) = download::open(source)?;
        // By `copy_file_range` where the file system can.
        io::copy(&mut source, &mut file).map_err(failed)?;
    }
    Ok(())
}
