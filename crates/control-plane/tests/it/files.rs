//! Files through the API: byte-exact, streamed, refused where they should be.

use std::time::Duration;

use reqwest::{
    Body, Method,
    multipart::{Form, Part},
};
use serde_json::json;
use wrenn_testkit::client::Answer;

use crate::setup::Setup;

struct Files {
    setup: Setup,
    path: String,
}

impl Files {
    async fn new() -> Self {
        let setup = Setup::new().await;
        let sandbox = setup.client.create().await;
        Self {
            path: format!("/v1/sandboxes/{}/files", sandbox.id),
            setup,
        }
    }

    async fn write(&self, route: &str, path: &str, file: Part) -> Answer {
        let form = Form::new().text("path", path.to_owned()).part("file", file);
        let client = &self.setup.client;
        client
            .send(
                client
                    .request(Method::POST, &format!("{}/{route}", self.path))
                    .multipart(form),
            )
            .await
    }

    async fn read(&self, route: &str, path: &str) -> Answer {
        self.setup
            .client
            .post(&format!("{}/{route}", self.path), json!({ "path": path }))
            .await
    }
}

#[tokio::test]
async fn what_is_written_is_read_back() {
    let files = Files::new().await;
    for (number, size) in [0usize, 1, 65536, 65537, 3 << 20].into_iter().enumerate() {
        let bytes: Vec<u8> = (0..size).map(|index| (index * 31 + number) as u8).collect();
        let path = format!("/deep/er/{number}");
        let written = files
            .write("write", &path, Part::bytes(bytes.clone()))
            .await;
        assert_eq!(written.status, 204, "{written:?}");
        for route in ["read", "stream/read"] {
            let read = files.read(route, &path).await;
            assert_eq!(read.header("content-type"), "application/octet-stream");
            assert!(read.bytes == bytes, "{route} of {size} bytes");
        }
    }
}

#[tokio::test]
async fn sixty_four_mib_pass_in_chunks_of_unknown_number() {
    let files = Files::new().await;
    let chunk: bytes::Bytes = (0..1 << 20)
        .map(|index: u32| index as u8)
        .collect::<Vec<_>>()
        .into();
    let chunks = std::iter::repeat_n(chunk.clone(), 64).map(Ok::<_, std::io::Error>);
    let body = Part::stream(Body::wrap_stream(futures::stream::iter(chunks)));
    assert_eq!(files.write("stream/write", "/big", body).await.status, 204);
    let read = files.read("stream/read", "/big").await;
    assert_eq!(read.bytes.len(), 64 << 20);
    assert!(read.bytes.chunks(1 << 20).all(|piece| piece == chunk));
}

#[tokio::test]
async fn odd_paths_and_forms_are_refused() {
    let files = Files::new().await;
    let client = &files.setup.client;
    for route in ["read", "stream/read"] {
        assert_eq!(files.read(route, "/missing").await.code(), "not_found");
        let directory = files.read(route, "/root").await;
        assert_eq!(
            (directory.status, directory.code()),
            (400, "invalid_request"),
            "{directory:?}"
        );
        assert_eq!(files.read(route, "").await.code(), "invalid_request");
        assert_eq!(files.read(route, "a\0b").await.code(), "invalid_request");
    }
    for route in ["write", "stream/write"] {
        let directory = files.write(route, "/root", Part::bytes(vec![1])).await;
        assert_eq!(
            (directory.status, directory.code()),
            (409, "conflict"),
            "{directory:?}"
        );
        let path = format!("{}/{route}", files.path);
        let backwards = Form::new()
            .part("file", Part::bytes(vec![1]))
            .text("path", "/x");
        let backwards = client
            .send(client.request(Method::POST, &path).multipart(backwards))
            .await;
        assert_eq!(
            backwards.json["error"]["details"]["field"], "path",
            "{backwards:?}"
        );
        let half = Form::new().text("path", "/x");
        let half = client
            .send(client.request(Method::POST, &path).multipart(half))
            .await;
        assert_eq!(half.json["error"]["details"]["field"], "file", "{half:?}");
        assert_eq!(
            client.post(&path, json!({})).await.code(),
            "unsupported_media_type"
        );
        let long = files
            .write(route, &"x".repeat(5000), Part::bytes(vec![1]))
            .await;
        assert_eq!(long.code(), "invalid_request");
    }
    assert_eq!(files.read("read", "/x").await.code(), "not_found");
}

#[tokio::test]
async fn an_upload_over_the_limit_is_413() {
    let files = Files::new().await;
    let chunk: bytes::Bytes = vec![0u8; 1 << 20].into();
    let chunks = std::iter::repeat_n(chunk, 102).map(Ok::<_, std::io::Error>);
    let body = Part::stream(Body::wrap_stream(futures::stream::iter(chunks)));
    let form = Form::new().text("path", "/big").part("file", body);
    let client = &files.setup.client;
    let path = format!("{}/write", files.path);
    let answer = client
        .request(Method::POST, &path)
        .multipart(form)
        .timeout(Duration::from_secs(60))
        .send()
        .await;
    // The server may close before the client has written all; what it answers is 413.
    if let Ok(answer) = answer {
        assert_eq!(answer.status(), 413);
    }
}
