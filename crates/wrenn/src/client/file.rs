//! Files of a sandbox as streams of any length.

use futures::{Stream, TryStreamExt};
use reqwest::{Method, multipart};
use wrenn_api::file::FilePath;
use wrenn_ids::SandboxId;

use super::Client;
use crate::error::{CliError, chain};

impl Client {
    /// Writes `body` to `path`, as it comes.
    pub(crate) async fn file_write(
        &self,
        id: SandboxId,
        path: &str,
        body: reqwest::Body,
    ) -> Result<(), CliError> {
        // The server wants `path` before `file`.
        let form = multipart::Form::new()
            .text("path", path.to_owned())
            .part("file", multipart::Part::stream(body).file_name("file"));
        let request = self.streaming_request(
            Method::POST,
            &format!("/v1/sandboxes/{id}/files/stream/write"),
        )?;
        self.send(request.multipart(form)).await.map(drop)
    }

    /// The bytes of the file at `path`; a missing file fails before the first byte.
    pub(crate) async fn file_read(
        &self,
        id: SandboxId,
        path: &str,
    ) -> Result<impl Stream<Item = Result<bytes::Bytes, CliError>> + Unpin + use<>, CliError> {
        let request = self.streaming_request(
            Method::POST,
            &format!("/v1/sandboxes/{id}/files/stream/read"),
        )?;
        let response = self
            .send(request.json(&FilePath {
                path: path.to_owned(),
            }))
            .await?;
        Ok(Box::pin(response.bytes_stream().map_err(|error| {
            CliError::local(format_args!("the download broke off: {}", chain(&error)))
        })))
    }
}
