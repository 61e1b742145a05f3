//! `POST /files`: one file as the body, or several as the parts of a form.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use axum::{
    Json,
    extract::{FromRequest as _, Multipart, Request, State},
};
use futures::StreamExt as _;
use http::{HeaderMap, header::CONTENT_TYPE};
use serde::Serialize;

use super::{
    body, metadata, path, user,
    writer::{Owner, Writer},
};
use crate::{agent::Agent, http::HttpError, http::signature::FileQuery, users::User};

const KEEP_OWNER: &str = "x-wrenn-keep-owner";

/// One written file, as the answer tells of it.
#[derive(Debug, Serialize)]
pub(crate) struct Written {
    name: String,
    path: String,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
}

impl Written {
    pub(super) fn new(path: String) -> Self {
        Self {
            name: path.rsplit('/').next().unwrap_or_default().to_owned(),
            path,
            kind: "file",
            metadata: BTreeMap::new(),
        }
    }
}

pub(crate) async fn upload(
    State(agent): State<Arc<Agent>>,
    request: Request,
) -> Result<Json<Vec<Written>>, HttpError> {
    let (parts, body) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let query = FileQuery::parse(&query)?;
    let headers = &parts.headers;
    let files = Files {
        user: user(&agent, headers, &query)?,
        owner: owner(headers),
        metadata: metadata::wanted(headers)?,
        agent,
    };
    let target = query.path.as_deref().filter(|path| !path.is_empty());
    let body = body::unpacked(headers, body)?;
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let kind = kind
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    match kind.as_str() {
        "application/octet-stream" => {
            let target = target.ok_or_else(|| HttpError::fixed(400, "path is required"))?;
            let mut writer = files.open(path(&files.agent, &files.user, target)?).await?;
            let mut chunks = body.into_data_stream();
            while let Some(chunk) = chunks.next().await {
                writer.0.push(&chunk.map_err(|_| broken())?).await?;
            }
            Ok(Json(vec![files.finish(writer).await?]))
        }
        "multipart/form-data" => files
            .form(Request::from_parts(parts.clone(), body), target)
            .await
            .map(Json),
        _ => Err(HttpError::fixed(
            400,
            "the content type is neither multipart/form-data nor application/octet-stream",
        )),
    }
}

fn owner(headers: &HeaderMap) -> Owner {
    match headers.get(KEEP_OWNER) {
        Some(value) if value == "1" => Owner::Kept,
        _ => Owner::Uploader,
    }
}

fn broken() -> HttpError {
    HttpError::fixed(400, "the body is broken")
}

/// What all files of one request share.
struct Files {
    agent: Arc<Agent>,
    user: User,
    owner: Owner,
    metadata: BTreeMap<String, String>,
}

impl Files {
    async fn form(
        &self,
        request: Request,
        target: Option<&str>,
    ) -> Result<Vec<Written>, HttpError> {
        let form = Multipart::from_request(request, &()).await;
        let mut form = form.map_err(|_| HttpError::fixed(400, "the form has no boundary"))?;
        let mut seen = HashSet::new();
        let mut written = Vec::new();
        while let Some(mut field) = form.next_field().await.map_err(|_| broken())? {
            if field.name() != Some("file") {
                continue;
            }
            let name = target.or(field.file_name()).unwrap_or_default();
            if name.is_empty() {
                return Err(HttpError::fixed(
                    400,
                    "a file has neither a path nor a name",
                ));
            }
            let path = path(&self.agent, &self.user, name)?;
            if !seen.insert(path.clone()) {
                return Err(HttpError::fixed(400, "two files have the same path"));
            }
            let mut writer = self.open(path).await?;
            while let Some(chunk) = field.chunk().await.map_err(|_| broken())? {
                writer.0.push(&chunk).await?;
            }
            written.push(self.finish(writer).await?);
        }
        Ok(written)
    }

    async fn open(&self, path: String) -> Result<(Writer, String), HttpError> {
        Ok((
            Writer::open(path.clone(), self.user.clone(), self.owner).await?,
            path,
        ))
    }

    async fn finish(&self, (writer, path): (Writer, String)) -> Result<Written, HttpError> {
        writer.finish(self.metadata.clone()).await?;
        Ok(Written {
            metadata: self.metadata.clone(),
            ..Written::new(path)
        })
    }
}
