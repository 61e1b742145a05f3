//! Input that must be refused with a typed error, or carried to a typed result, and leave nothing behind.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use wrenn_testkit::{control_plane::Options, simulated_agent::Capacity};

use crate::setup::Setup;

#[tokio::test]
async fn a_bad_create_is_refused_and_leaves_nothing() {
    let small = Capacity {
        memory_mib: 4096,
        ..Capacity::default()
    };
    let setup = Setup::with(Options::default(), small).await;
    let check = async |body: Value, status: u16, code: &str, detail: (&str, Value)| {
        let answer = setup.client.post("/v1/sandboxes", body.clone()).await;
        assert_eq!(
            (answer.status, answer.code()),
            (status, code),
            "{body}: {answer:?}"
        );
        assert_eq!(
            answer.json["error"]["details"][detail.0], detail.1,
            "{body}: {answer:?}"
        );
    };
    let field = |name: &str| ("field", json!(name));
    check(
        json!({ "template": "unknown" }),
        404,
        "not_found",
        ("field", Value::Null),
    )
    .await;
    check(
        json!({ "template": "../minimal" }),
        400,
        "invalid_request",
        field("template"),
    )
    .await;
    check(
        json!({ "template": "a..b" }),
        400,
        "invalid_request",
        field("template"),
    )
    .await;
    check(
        json!({ "template": 7 }),
        400,
        "invalid_request",
        field("template"),
    )
    .await;
    check(
        json!({ "vcpus": 0 }),
        400,
        "invalid_request",
        field("vcpus"),
    )
    .await;
    check(
        json!({ "vcpus": 33 }),
        400,
        "invalid_request",
        field("vcpus"),
    )
    .await;
    check(
        json!({ "vcpus": -1 }),
        400,
        "invalid_request",
        field("vcpus"),
    )
    .await;
    check(
        json!({ "memory_mb": 126 }),
        400,
        "invalid_request",
        field("memory_mb"),
    )
    .await;
    check(
        json!({ "disk_size_mb": 1 }),
        400,
        "invalid_request",
        field("disk_size_mb"),
    )
    .await;
    check(
        json!({ "envs": { "A B": "c" } }),
        400,
        "invalid_request",
        field("envs"),
    )
    .await;
    check(json!([]), 400, "invalid_request", ("field", Value::Null)).await;
    check(
        json!({ "memory_mb": 65536 }),
        503,
        "no_hosts_available",
        ("filter", json!("memory")),
    )
    .await;
    check(
        json!({ "vcpus": 32, "memory_mb": 8192 }),
        503,
        "no_hosts_available",
        ("most_free", json!(3584)),
    )
    .await;
    assert_eq!(setup.census().await, (0, 0));
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM sandboxes")
        .fetch_one(&setup.world.db)
        .await
        .unwrap();
    assert_eq!(rows, 0);
    // Empty bodies and the older name of the template are fine.
    let empty = setup.client.request(reqwest::Method::POST, "/v1/sandboxes");
    assert_eq!(setup.client.send(empty).await.status, 201);
    let alias = setup
        .client
        .post("/v1/sandboxes", json!({ "template": "minimal-ubuntu" }))
        .await;
    assert_eq!(alias.json["template"], "minimal");
}

#[tokio::test]
async fn a_body_of_200_mb_is_refused_without_being_read() {
    let setup = Setup::new().await;
    // With its length announced: refused at once.
    let head = |framing: &str| {
        format!(
            "POST /v1/sandboxes HTTP/1.1\r\nhost: x\r\nx-api-key: {}\r\n\
             content-type: application/json\r\n{framing}\r\n\r\n",
            setup.world.api_key
        )
    };
    let mut socket = TcpStream::connect(setup.replica.address()).await.unwrap();
    socket
        .write_all(head("content-length: 209715200").as_bytes())
        .await
        .unwrap();
    assert!(status_line(&mut socket).await.starts_with("HTTP/1.1 413"));

    // Streamed in chunks: refused after the limit, long before the end.
    let socket = TcpStream::connect(setup.replica.address()).await.unwrap();
    let (mut reader, mut writer) = socket.into_split();
    writer
        .write_all(head("transfer-encoding: chunked").as_bytes())
        .await
        .unwrap();
    let chunk = [b"10000\r\n".as_slice(), &[b' '; 0x10000], b"\r\n"].concat();
    let write = async {
        for sent in 0..3200 {
            if writer.write_all(&chunk).await.is_err() {
                return sent;
            }
        }
        3200
    };
    let answered = async {
        let mut line = [0; 12];
        reader.read_exact(&mut line).await.unwrap();
        assert_eq!(&line, b"HTTP/1.1 413");
        // The connection ends soon after, and with it the writing.
        let mut rest = Vec::new();
        let _ = reader.read_to_end(&mut rest).await;
    };
    let (chunks, ()) = tokio::time::timeout(Duration::from_secs(20), async {
        tokio::join!(write, answered)
    })
    .await
    .unwrap();
    assert!(chunks < 1600, "{chunks} chunks of 64 KiB were taken");
    assert_eq!(setup.census().await, (0, 0));
}

async fn status_line(socket: &mut TcpStream) -> String {
    let mut line = vec![0; 32];
    tokio::time::timeout(Duration::from_secs(5), socket.read_exact(&mut line))
        .await
        .unwrap()
        .unwrap();
    String::from_utf8(line).unwrap()
}

#[tokio::test]
async fn odd_programs_have_typed_results() {
    let setup = Setup::new().await;
    let sandbox = setup.client.create().await;
    let path = format!("/v1/sandboxes/{}/exec", sandbox.id);
    let exec = async |body: Value| setup.client.post(&path, body).await;
    let shell =
        async |script: &str| exec(json!({ "cmd": "/bin/sh", "args": ["-c", script] })).await;

    let missing = exec(json!({ "cmd": "/no/such/program" })).await;
    assert_eq!(
        (missing.status, &missing.json["exit_code"]),
        (200, &json!(127)),
        "{missing:?}"
    );
    assert!(!missing.json["stderr"].as_str().unwrap().is_empty());

    let much = shell("head -c 100000000 /dev/zero | tr '\\0' a").await;
    assert_eq!((much.status, &much.json["truncated"]), (200, &json!(true)));
    assert_eq!(much.json["stdout"].as_str().unwrap().len(), 16 << 20);

    let invalid = shell("printf '\\377\\376'; echo err >&2").await;
    assert_eq!(invalid.json["encoding"], "base64");
    assert_eq!(
        STANDARD
            .decode(invalid.json["stdout"].as_str().unwrap())
            .unwrap(),
        [0xff, 0xfe]
    );
    assert_eq!(
        STANDARD
            .decode(invalid.json["stderr"].as_str().unwrap())
            .unwrap(),
        b"err\n"
    );
    assert!(invalid.json.get("truncated").is_none());

    let late = exec(
        json!({ "cmd": "/bin/sh", "args": ["-c", "echo so far; sleep 60"], "timeout_sec": 1 }),
    )
    .await;
    assert_eq!((late.status, late.code()), (504, "exec_timeout"));
    assert_eq!(late.json["error"]["details"]["stdout"], "so far\n");

    assert_eq!(exec(json!({})).await.code(), "invalid_request");
    assert_eq!(
        exec(json!({ "cmd": "ls", "args": [1] })).await.json["error"]["details"]["field"],
        "args[0]"
    );

    setup
        .client
        .delete(&format!("/v1/sandboxes/{}", sandbox.id))
        .await;
    assert_eq!(exec(json!({ "cmd": "ls" })).await.code(), "invalid_state");
}
