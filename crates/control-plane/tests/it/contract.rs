//! The shape of the surface: document, errors, aliases, request ids, pages.

use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};
use wrenn_api::ErrorCode;
use wrenn_testkit::client::Client;

use crate::setup::Setup;

/// Compares with a file; `WRENN_BLESS=1` writes it instead.
pub(crate) fn golden(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it/golden")
        .join(name);
    if std::env::var_os("WRENN_BLESS").is_some() {
        std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == actual,
        "{name} differs; look, then bless with WRENN_BLESS=1"
    );
}

#[test]
fn the_document_is_the_agreed_one() {
    golden(
        "openapi.json",
        &format!(
            "{}\n",
            wrenn_control_plane::openapi().to_pretty_json().unwrap()
        ),
    );
}

#[test]
fn no_two_operations_have_one_name() {
    let document = wrenn_control_plane::openapi().to_json().unwrap();
    let document: Value = serde_json::from_str(&document).unwrap();
    let paths = document["paths"].as_object().unwrap().values();
    let operations = paths.flat_map(|path| path.as_object().unwrap().values());
    let mut names: Vec<_> = operations
        .map(|operation| operation["operationId"].as_str().unwrap())
        .collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn every_error_code_has_its_status() {
    let lines: String = ErrorCode::ALL
        .iter()
        .map(|code| format!("{} {code}\n", code.http_status()))
        .collect();
    golden("errors.txt", &lines);
}

#[tokio::test]
async fn aliases_answer_the_same_bytes() {
    let setup = Setup::new().await;
    let sandbox = setup.client.create().await;
    let paths = [
        "/v1/sandboxes".to_owned(),
        "/v1/sandboxes?status=running".to_owned(),
        "/v1/sandboxes/sb-nonsense".to_owned(),
        format!("/v1/sandboxes/{}", wrenn_ids::SandboxId::new()),
    ];
    for path in paths {
        let canonical = setup.client.get(&path).await;
        let capsule = path.replace("/sandboxes", "/capsules");
        for alias in [
            capsule.clone(),
            format!("/api{path}"),
            format!("/api{capsule}"),
        ] {
            let answer = setup.client.get(&alias).await;
            assert_eq!(
                (answer.status, answer.bytes),
                (canonical.status, canonical.bytes.clone()),
                "{alias}"
            );
        }
    }
    // Through an alias it is the same sandbox, down to its end.
    assert_eq!(
        setup
            .client
            .delete(&format!("/api/v1/capsules/{}", sandbox.id))
            .await
            .status,
        204
    );
    assert_eq!(setup.census().await, (0, 0));
    for path in ["/health", "/healthz", "/api/healthz"] {
        assert_eq!(setup.client.get(path).await.json["status"], "ok", "{path}");
    }
}

#[tokio::test]
async fn errors_are_envelopes_and_carry_the_request_id() {
    let setup = Setup::new().await;
    let client = &setup.client;
    let check = async |request: reqwest::RequestBuilder, status: u16, code: &str| {
        let answer = client.send(request.header("x-request-id", "my-id.1")).await;
        assert_eq!((answer.status, answer.code()), (status, code), "{answer:?}");
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.header("x-request-id"), "my-id.1");
        assert!(!answer.json["error"]["message"].as_str().unwrap().is_empty());
    };
    check(client.request(Method::GET, "/v1/nothing"), 404, "not_found").await;
    check(
        client.request(Method::PUT, "/v1/sandboxes"),
        405,
        "method_not_allowed",
    )
    .await;
    let text = client.request(Method::POST, "/v1/sandboxes").body("x");
    check(
        text.header("content-type", "text/plain"),
        415,
        "unsupported_media_type",
    )
    .await;
    let broken = client.request(Method::POST, "/v1/sandboxes").body("{");
    check(
        broken.header("content-type", "application/json"),
        400,
        "invalid_request",
    )
    .await;
    check(
        client.request(Method::GET, "/v1/sandboxes/sb-x"),
        400,
        "invalid_request",
    )
    .await;
    check(
        client.request(Method::GET, "/v1/sandboxes?status=odd"),
        400,
        "invalid_request",
    )
    .await;
    check(
        client.request(Method::GET, "/v1/sandboxes?limit=1001"),
        400,
        "invalid_request",
    )
    .await;

    let fresh = client
        .send(
            client
                .request(Method::GET, "/healthz")
                .header("x-request-id", "bad id"),
        )
        .await;
    assert_eq!(fresh.header("x-request-id").len(), 36);
}

#[tokio::test]
async fn pages_documents_and_metrics_are_served_from_the_binary() {
    let setup = Setup::new().await;
    let nobody = Client::new(setup.replica.base_url(), None);
    let page = nobody.get("/").await;
    assert_eq!(page.status, 200);
    assert!(page.header("content-type").starts_with("text/html"));
    let page = String::from_utf8(page.bytes).unwrap();
    assert!(page.contains("Wrenn") && !page.contains("http://") && !page.contains("https://"));

    let unknown = nobody.request(Method::GET, "/some/client/path");
    assert_eq!(
        nobody
            .send(unknown.header("accept", "text/html"))
            .await
            .status,
        200
    );
    assert_eq!(nobody.get("/some/client/path").await.status, 404);

    let docs = nobody.get("/docs").await;
    assert_eq!(
        (docs.status, docs.header("location")),
        (303, "docs/index.html")
    );
    for file in ["index.html", "swagger-ui-bundle.js", "swagger-ui.css"] {
        assert_eq!(
            nobody.get(&format!("/docs/{file}")).await.status,
            200,
            "{file}"
        );
    }
    let start = nobody.get("/docs/swagger-initializer.js").await;
    assert!(
        String::from_utf8(start.bytes)
            .unwrap()
            .contains("../openapi.json")
    );
    assert_eq!(nobody.get("/docs/../Cargo.toml").await.status, 404);

    let document = nobody.get("/openapi.json").await;
    assert_eq!(document.json["openapi"], "3.1.0");
    assert_eq!(nobody.get("/openapi.yaml").await.status, 200);
    assert_eq!(
        nobody.get("/readyz").await.json,
        json!({ "checks": { "database": "ok", "redis": "ok", "migrations": "ok" } })
    );

    let metrics = nobody.get("/metrics").await;
    assert!(
        String::from_utf8(metrics.bytes)
            .unwrap()
            .contains("wrenn_http_seconds_bucket")
    );
    let proxied = nobody
        .request(Method::GET, "/metrics")
        .header("x-forwarded-for", "1.2.3.4");
    assert_eq!(nobody.send(proxied).await.status, 401);
}

#[tokio::test]
async fn a_list_is_paged_and_filtered() {
    let setup = Setup::new().await;
    let mut made = Vec::new();
    for number in 0..5 {
        let body = json!({ "metadata": { "n": number.to_string(), "all": "x" } });
        let answer = setup.client.post("/v1/sandboxes", body).await;
        made.insert(0, answer.sandbox().id.to_string());
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = setup
            .client
            .get(&format!("/v1/sandboxes?limit=2&cursor={cursor}"))
            .await;
        seen.extend(
            page.json
                .as_array()
                .unwrap()
                .iter()
                .map(|s| s["id"].as_str().unwrap().to_owned()),
        );
        page.header("x-next-cursor").clone_into(&mut cursor);
        if cursor.is_empty() {
            break;
        }
    }
    assert_eq!(seen, made);
    let check = async |query: &str, expected: usize| {
        let answer = setup.client.get(&format!("/v1/sandboxes?{query}")).await;
        assert_eq!(
            answer.json.as_array().map(Vec::len),
            Some(expected),
            "{query}"
        );
    };
    check("metadata=n:3", 1).await;
    check("metadata=n:3&metadata=all:x", 1).await;
    check("metadata=n:9", 0).await;
    check("template=minimal", 5).await;
    check("template=other", 0).await;
    check("status=running,paused", 5).await;
    check("status=paused&status=stopped", 0).await;
}

#[tokio::test]
async fn settings_of_a_sandbox_can_be_changed_until_it_stops() {
    let setup = Setup::new().await;
    let sandbox = setup.client.create().await;
    let path = format!("/v1/sandboxes/{}", sandbox.id);
    let patch = async |body: Value| {
        setup
            .client
            .send(setup.client.request(Method::PATCH, &path).json(&body))
            .await
    };
    let changed =
        patch(json!({ "metadata": { "a": "b" }, "timeout_sec": 60, "on_idle": "destroy" })).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    assert_eq!(
        (&changed.json["metadata"]["a"], &changed.json["timeout_sec"]),
        (&json!("b"), &json!(60))
    );
    assert_eq!(changed.json["on_idle"], "destroy");
    assert_eq!(
        patch(json!({ "metadata": { "vmm_version": "1" } }))
            .await
            .code(),
        "invalid_request"
    );
    setup.client.delete(&path).await;
    assert_eq!(
        patch(json!({ "timeout_sec": 1 })).await.code(),
        "invalid_state"
    );
}

#[tokio::test]
async fn a_repeated_create_answers_the_first_outcome() {
    let setup = Setup::new().await;
    let create = async |key: &str, body: Value| {
        let request = setup
            .client
            .request(Method::POST, "/v1/sandboxes")
            .json(&body);
        setup
            .client
            .send(request.header("idempotency-key", key))
            .await
    };
    let first = create("k", json!({ "vcpus": 2 })).await;
    let again = create("k", json!({ "vcpus": 2 })).await;
    assert_eq!((first.status, again.status), (201, 201));
    assert_eq!(
        (
            first.header("idempotency-replayed"),
            again.header("idempotency-replayed")
        ),
        ("", "true")
    );
    assert_eq!(first.sandbox().id, again.sandbox().id);
    assert_eq!(
        create("k", json!({ "vcpus": 1 })).await.code(),
        "idempotency_conflict"
    );
    assert_eq!(create("", json!({})).await.code(), "invalid_request");
    // Two at once are one as well.
    let (one, two) = tokio::join!(create("p", json!({})), create("p", json!({})));
    assert_eq!(one.sandbox().id, two.sandbox().id);
    assert_eq!(setup.census().await, (2, 2));
}
