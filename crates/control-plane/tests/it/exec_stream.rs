//! Programs over a WebSocket.

use std::time::{Duration, Instant};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest},
};
use wrenn_ids::SandboxId;

use crate::setup::Setup;

pub(crate) struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

/// The answer to an upgrade that was refused.
pub(crate) fn refused(error: Error) -> u16 {
    match error {
        Error::Http(answer) => answer.status().as_u16(),
        other => panic!("{other}"),
    }
}

impl Socket {
    pub(crate) async fn open(
        setup: &Setup,
        id: SandboxId,
        key: Option<&str>,
    ) -> Result<Self, Error> {
        Self::open_as(setup, id, "", key.map(|key| ("x-api-key", key))).await
    }

    /// Opens with this query and this header.
    pub(crate) async fn open_as(
        setup: &Setup,
        id: SandboxId,
        query: &str,
        header: Option<(&'static str, &str)>,
    ) -> Result<Self, Error> {
        let path = format!("/v1/sandboxes/{id}/exec/stream{query}");
        Self::open_at(setup, &path, header).await
    }

    /// Opens at this path, query included.
    pub(crate) async fn open_at(
        setup: &Setup,
        path: &str,
        header: Option<(&'static str, &str)>,
    ) -> Result<Self, Error> {
        let url = format!("ws://{}{path}", setup.replica.address());
        let mut request = url.into_client_request().unwrap();
        if let Some((name, value)) = header {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        Ok(Self(connect_async(request).await?.0))
    }

    pub(crate) async fn send(&mut self, frame: Value) {
        self.0.send(Message::text(frame.to_string())).await.unwrap();
    }

    /// The next frame, or the close code.
    pub(crate) async fn next(&mut self) -> Result<Value, u16> {
        loop {
            let message = tokio::time::timeout(Duration::from_secs(20), self.0.next())
                .await
                .unwrap();
            match message {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(frame))) => {
                    return Err(frame.map_or(1005, |frame| frame.code.into()));
                }
                Some(Ok(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// All frames up to the close, and its code.
    pub(crate) async fn rest(&mut self) -> (Vec<Value>, u16) {
        let mut frames = Vec::new();
        loop {
            match self.next().await {
                Ok(frame) => frames.push(frame),
                Err(code) => return (frames, code),
            }
        }
    }
}

pub(crate) fn joined(frames: &[Value], kind: &str) -> String {
    let of_kind = frames.iter().filter(|frame| frame["type"] == kind);
    of_kind
        .map(|frame| frame["data"].as_str().unwrap())
        .collect()
}

pub(crate) fn shell(script: &str) -> Value {
    json!({ "type": "start", "cmd": "/bin/sh", "args": ["-c", script] })
}

fn with(mut frame: Value, name: &str, value: Value) -> Value {
    frame[name] = value;
    frame
}

#[tokio::test]
async fn a_program_streams_its_output_takes_input_and_exits() {
    let setup = Setup::new().await;
    let id = setup.client.create().await.id;
    let key = Some(setup.world.api_key.as_str());

    let mut socket = Socket::open(&setup, id, key).await.unwrap();
    socket.send(shell("echo out; echo err >&2; exit 3")).await;
    let (frames, code) = socket.rest().await;
    assert!(
        frames[0]["pid"].as_u64().is_some_and(|pid| pid > 0),
        "{frames:?}"
    );
    assert_eq!(
        (joined(&frames, "stdout"), joined(&frames, "stderr")),
        ("out\n".to_owned(), "err\n".to_owned())
    );
    assert_eq!(
        (frames.last().unwrap(), code),
        (&json!({ "type": "exit", "exit_code": 3 }), 1000)
    );

    let mut socket = Socket::open(&setup, id, key).await.unwrap();
    socket.send(with(shell("cat"), "stdin", json!(true))).await;
    for text in ["one ", "two é\n"] {
        socket.send(json!({ "type": "stdin", "data": text })).await;
    }
    socket.send(json!({ "type": "stdin_close" })).await;
    let (frames, code) = socket.rest().await;
    assert_eq!(
        (joined(&frames, "stdout").as_str(), code),
        ("one two é\n", 1000),
        "{frames:?}"
    );

    // Byte-exact both ways.
    let mut socket = Socket::open(&setup, id, key).await.unwrap();
    let start = with(
        with(shell("cat"), "stdin", json!(true)),
        "encoding",
        json!("base64"),
    );
    socket.send(start).await;
    let bytes: Vec<u8> = (0..=255).collect();
    socket
        .send(json!({ "type": "stdin", "data": STANDARD.encode(&bytes) }))
        .await;
    socket.send(json!({ "type": "stdin_close" })).await;
    let (frames, _) = socket.rest().await;
    let pieces = frames.iter().filter(|frame| frame["type"] == "stdout");
    let echoed: Vec<u8> = pieces
        .flat_map(|frame| STANDARD.decode(frame["data"].as_str().unwrap()).unwrap())
        .collect();
    assert_eq!(echoed, bytes);

    let mut socket = Socket::open(&setup, id, key).await.unwrap();
    socket
        .send(json!({ "type": "start", "cmd": "/no/such/program" }))
        .await;
    let (frames, code) = socket.rest().await;
    assert!(!joined(&frames, "stderr").is_empty());
    assert_eq!(
        (&frames.last().unwrap()["exit_code"], code),
        (&json!(127), 1000),
        "{frames:?}"
    );
}

#[tokio::test]
async fn stop_and_disconnect_end_the_program() {
    let setup = Setup::new().await;
    let id = setup.client.create().await.id;
    let key = Some(setup.world.api_key.as_str());
    let mut socket = Socket::open(&setup, id, key).await.unwrap();
    socket.send(shell("echo ready; sleep 300")).await;
    while socket.next().await.unwrap()["type"] != "stdout" {}
    socket.send(json!({ "type": "stop" })).await;
    let begun = Instant::now();
    let (frames, code) = socket.rest().await;
    assert_eq!(
        (&frames.last().unwrap()["exit_code"], code),
        (&json!(143), 1000),
        "{frames:?}"
    );
    assert!(begun.elapsed() < Duration::from_secs(5));

    let mut socket = Socket::open(&setup, id, key).await.unwrap();
    socket.send(shell("echo $$; sleep 300")).await;
    let pid = loop {
        let frame = socket.next().await.unwrap();
        if frame["type"] == "stdout" {
            break frame["data"].as_str().unwrap().trim().to_owned();
        }
    };
    drop(socket);
    let process = std::path::PathBuf::from(format!("/proc/{pid}/exe"));
    wrenn_testkit::control_plane::eventually("the program is gone", async || !process.exists())
        .await
        .unwrap();
}

#[tokio::test]
async fn who_still_sends_when_the_program_ends_is_told_its_exit_code() {
    let setup = Setup::new().await;
    let id = setup.client.create().await.id;
    let key = Some(setup.world.api_key.as_str());
    let mut socket = Socket::open(&setup, id, key).await.unwrap();
    socket
        .send(with(shell("exit 7"), "stdin", json!(true)))
        .await;
    // More than the sockets hold, so that the program has ended before all of it is read.
    let data = "x".repeat(64 << 10);
    for _ in 0..256 {
        socket.send(json!({ "type": "stdin", "data": data })).await;
    }
    let (frames, code) = socket.rest().await;
    let exit = json!({ "type": "exit", "exit_code": 7 });
    assert_eq!((frames.last(), code), (Some(&exit), 1000));
}

#[tokio::test]
async fn a_socket_opens_with_a_credential_only() {
    let setup = Setup::new().await;
    let id = setup.client.create().await.id;
    let key = setup.world.api_key.clone();
    let wrong = format!("wrn_{}", "0".repeat(32));
    assert_eq!(
        refused(Socket::open(&setup, id, Some(&wrong)).await.err().unwrap()),
        401
    );
    let unknown = Socket::open(&setup, SandboxId::new(), Some(&key))
        .await
        .err()
        .unwrap();
    assert_eq!(refused(unknown), 404);

    // Without a header the first frame is the credential.
    let mut socket = Socket::open(&setup, id, None).await.unwrap();
    socket.send(json!({ "type": "auth", "api_key": key })).await;
    socket.send(shell("echo hi")).await;
    assert_eq!(joined(&socket.rest().await.0, "stdout"), "hi\n");

    for first in [
        shell("echo hi"),
        json!({ "type": "auth", "api_key": wrong }),
        json!({ "type": "auth", "token": "a.b.c" }),
    ] {
        let mut socket = Socket::open(&setup, id, None).await.unwrap();
        socket.send(first).await;
        let (frames, code) = socket.rest().await;
        assert_eq!(
            (&frames[0]["type"], &frames[0]["fatal"], code),
            (&json!("error"), &json!(true), 4401)
        );
    }
    // Silence is no credential.
    let mut socket = Socket::open(&setup, id, None).await.unwrap();
    assert_eq!(socket.rest().await.1, 4401);
}

#[tokio::test]
async fn odd_frames_end_the_socket() {
    let setup = Setup::new().await;
    let id = setup.client.create().await.id;
    let key = Some(setup.world.api_key.as_str());
    for first in [
        json!({ "type": "stdin", "data": "x" }),
        json!({ "type": "odd" }),
        json!([]),
        json!({ "type": "start", "cmd": "" }),
    ] {
        let mut socket = Socket::open(&setup, id, key).await.unwrap();
        socket.send(first.clone()).await;
        assert_eq!(socket.rest().await.1, 1008, "{first}");
    }
    let mut socket = Socket::open(&setup, id, key).await.unwrap();
    socket.0.send(Message::binary(vec![1, 2, 3])).await.unwrap();
    assert_eq!(socket.rest().await.1, 1008);
}

#[tokio::test]
async fn a_revoked_key_and_a_deleted_sandbox_close_the_socket() {
    let setup = Setup::new().await;
    let key = Some(setup.world.api_key.as_str());
    let (one, two) = (
        setup.client.create().await.id,
        setup.client.create().await.id,
    );
    let mut deleted = Socket::open(&setup, one, key).await.unwrap();
    let mut revoked = Socket::open(&setup, two, key).await.unwrap();
    for socket in [&mut deleted, &mut revoked] {
        socket.send(shell("echo ready; sleep 300")).await;
        while socket.next().await.unwrap()["type"] != "stdout" {}
    }
    assert_eq!(
        setup
            .client
            .delete(&format!("/v1/sandboxes/{one}"))
            .await
            .status,
        204
    );
    assert_eq!(deleted.rest().await.1, 4410);
    sqlx::query("UPDATE api_keys SET revoked_at = now()")
        .execute(&setup.world.db)
        .await
        .unwrap();
    let begun = Instant::now();
    assert_eq!(revoked.rest().await.1, 4401);
    assert!(begun.elapsed() < Duration::from_secs(6));
}
