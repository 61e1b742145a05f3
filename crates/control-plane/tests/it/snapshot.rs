//! Sandboxes kept as templates.

use reqwest::{
    Method,
    multipart::{Form, Part},
};
use serde_json::{Value, json};
use wrenn_api::{Reason, SandboxStatus};
use wrenn_ids::SandboxId;
use wrenn_rpc::{connectrpc::ErrorCode, hostagent::error_detail::Reason as Why};
use wrenn_testkit::{client::Answer, control_plane::eventually, simulated_agent::Fault};

use crate::setup::Setup;

async fn snapshot(setup: &Setup, body: Value) -> Answer {
    setup.client.post("/v1/snapshots", body).await
}

async fn order(setup: &Setup, id: SandboxId, what: &str) {
    let path = format!("/v1/sandboxes/{id}/{what}");
    let request = setup.client.request(Method::POST, &path);
    assert_eq!(setup.client.send(request).await.status, 200);
}

#[tokio::test]
async fn a_sandbox_becomes_a_template_with_its_files_and_size() {
    let setup = Setup::new().await;
    let body = json!({ "vcpus": 2, "memory_mb": 1024, "disk_size_mb": 8192 });
    let id = setup.client.post("/v1/sandboxes", body).await.sandbox().id;
    let form = Form::new()
        .text("path", "/kept")
        .part("file", Part::bytes(b"here".to_vec()));
    let path = format!("/v1/sandboxes/{id}/files/write");
    let write = setup.client.request(Method::POST, &path).multipart(form);
    assert_eq!(setup.client.send(write).await.status, 204);

    let made = snapshot(&setup, json!({ "sandbox_id": id, "name": "mine" })).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(
        (
            &made.json["type"],
            &made.json["vcpus"],
            &made.json["memory_mb"]
        ),
        (&json!("snapshot"), &json!(2), &json!(1024))
    );
    assert_eq!(
        (&made.json["platform"], &made.json["used_by"]),
        (&json!(false), &json!(0))
    );
    assert_eq!(
        setup.client.sandbox(id).await.status,
        SandboxStatus::Running
    );

    // What is baked wins.
    let body = json!({ "template": "mine", "vcpus": 1, "memory_mb": 512 });
    let answer = setup.client.post("/v1/sandboxes", body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let child = answer.sandbox();
    assert_eq!(
        (child.vcpus, child.memory_mb, child.disk_size_mb),
        (2, 1024, 8192)
    );
    let path = format!("/v1/sandboxes/{}/files/read", child.id);
    let read = setup.client.post(&path, json!({ "path": "/kept" })).await;
    assert_eq!(read.bytes, b"here");

    let listed = setup.client.get("/v1/snapshots").await;
    let names: Vec<&str> = listed
        .json
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["mine", "minimal"]);
    let mine = setup.client.get("/v1/snapshots?type=snapshot").await;
    assert_eq!(
        (
            mine.json.as_array().unwrap().len(),
            &mine.json[0]["used_by"]
        ),
        (1, &json!(1))
    );
    let odd = setup.client.get("/v1/snapshots?type=odd").await;
    assert_eq!(odd.code(), "invalid_request");
}

#[tokio::test]
async fn the_source_ends_as_it_was_or_paused_when_asked() {
    let setup = Setup::new().await;
    let id = setup.client.create().await.id;
    let asked = json!({ "sandbox_id": id, "pause_source": true });
    let made = snapshot(&setup, asked).await;
    assert_eq!(made.status, 201, "{made:?}");
    let name = made.json["name"].as_str().unwrap();
    assert!(name.starts_with("template-") && name.len() == 17, "{name}");
    for _ in 0..2 {
        let source = setup.client.sandbox(id).await;
        assert_eq!(
            (source.status, source.reason),
            (SandboxStatus::Paused, Some(Reason::User))
        );
        let made = snapshot(&setup, json!({ "sandbox_id": id })).await;
        assert_eq!(made.status, 201, "{made:?}");
    }
    order(&setup, id, "resume").await;
}

#[tokio::test]
async fn names_are_taken_reserved_and_moved() {
    let setup = Setup::new().await;
    let id = setup.client.create().await.id;
    let check = async |path: &str, body: Value, status: u16, code: &str| {
        let answer = setup.client.post(path, body).await;
        assert_eq!((answer.status, answer.code()), (status, code), "{answer:?}");
        answer
    };
    let named = |name: &str| json!({ "sandbox_id": id, "name": name });
    let first = check("/v1/snapshots", named("a"), 201, "").await;
    check("/v1/snapshots", named("a"), 409, "template_name_taken").await;
    check("/v1/snapshots", named("minimal"), 409, "name_reserved").await;
    let over = "/v1/snapshots?overwrite=true";
    check(over, named("minimal"), 409, "name_reserved").await;
    check(over, named("../a"), 400, "invalid_request").await;
    let second = check(over, named("a"), 201, "").await;
    assert_ne!(first.json["id"], second.json["id"]);
    assert_eq!(setup.agent.snapshots().len(), 1);
    let unknown = json!({ "sandbox_id": SandboxId::new() });
    check("/v1/snapshots", unknown, 404, "not_found").await;
}

#[tokio::test]
async fn a_snapshot_that_fails_leaves_nothing_but_the_source() {
    let setup = Setup::new().await;
    let id = setup.client.create().await.id;
    for paused in [false, true] {
        if paused {
            order(&setup, id, "pause").await;
        }
        let full = Fault::RefuseFor(ErrorCode::ResourceExhausted, Why::HostDiskFull);
        setup.agent.faults().set("CreateSnapshot", full, 1);
        let body = json!({ "sandbox_id": id, "name": "a" });
        let failed = snapshot(&setup, body.clone()).await;
        assert_eq!(failed.code(), "host_unavailable", "{failed:?}");
        let expected = match paused {
            true => (SandboxStatus::Paused, Some(Reason::User)),
            false => (SandboxStatus::Running, None),
        };
        let source = setup.client.sandbox(id).await;
        assert_eq!((source.status, source.reason), expected);
        let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM templates")
            .fetch_one(&setup.world.db)
            .await
            .unwrap();
        assert_eq!((rows, setup.agent.snapshots().len()), (1, 0));
        // The name is free.
        setup
            .agent
            .faults()
            .set("CreateSnapshot", Fault::LoseReply, 1);
        assert_eq!(snapshot(&setup, body).await.status, 201);
        assert_eq!(setup.agent.snapshots().len(), 1);
        assert_eq!(setup.client.delete("/v1/snapshots/a").await.status, 204);
    }
}

#[tokio::test]
async fn a_template_is_deleted_from_its_host_now_or_when_that_is_back() {
    let setup = Setup::new().await;
    let id = setup.client.create().await.id;
    let make = async |name: &str| {
        let made = snapshot(&setup, json!({ "sandbox_id": id, "name": name })).await;
        assert_eq!(made.status, 201, "{made:?}");
        made.json["id"].as_str().unwrap().to_owned()
    };
    let delete = async |name: &str| {
        let answer = setup.client.delete(&format!("/v1/snapshots/{name}")).await;
        (answer.status, answer.code().to_owned())
    };
    make("a").await;
    let used = Fault::RefuseFor(ErrorCode::FailedPrecondition, Why::InUse);
    setup.agent.faults().set("DeleteSnapshot", used, 1);
    assert_eq!(delete("a").await, (409, "template_in_use".to_owned()));
    let broken = Fault::Refuse(ErrorCode::Internal);
    setup.agent.faults().set("DeleteSnapshot", broken, 1);
    assert_eq!(delete("a").await, (502, "agent_error".to_owned()));
    assert_eq!(setup.agent.snapshots().len(), 1);
    assert_eq!(delete("a").await.0, 204);
    assert_eq!(setup.agent.snapshots().len(), 0);
    assert_eq!(delete("a").await, (404, "not_found".to_owned()));
    assert_eq!(delete("minimal").await, (403, "forbidden".to_owned()));

    // By id; its host does not answer, and is asked again with its next report.
    let by_id = make("a").await;
    let away = Fault::Refuse(ErrorCode::Unavailable);
    setup.agent.faults().set("DeleteSnapshot", away, 1);
    assert_eq!(delete(&by_id).await.0, 204);
    assert_eq!(setup.agent.snapshots().len(), 1);
    // The name is free at once.
    make("a").await;
    eventually("the old one is gone", async || {
        setup.agent.snapshots().len() == 1
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn deleting_the_source_in_the_middle_frees_the_name() {
    let setup = Setup::new().await;
    let id = setup.client.create().await.id;
    let slow = Fault::Delay(std::time::Duration::from_millis(500));
    setup.agent.faults().set("CreateSnapshot", slow, 1);
    let body = json!({ "sandbox_id": id, "name": "mine" });
    let delete = async {
        eventually("it is under way", async || {
            setup.agent.calls("CreateSnapshot") > 0
        })
        .await
        .unwrap();
        setup.client.delete(&format!("/v1/sandboxes/{id}")).await
    };
    let (made, deleted) = tokio::join!(snapshot(&setup, body), delete);
    assert_eq!((made.code(), deleted.status), ("invalid_state", 204));
    eventually("nothing is left", async || {
        let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM templates")
            .fetch_one(&setup.world.db)
            .await
            .unwrap();
        (rows, setup.agent.snapshots().len()) == (1, 0)
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_repeated_request_answers_the_first_outcome() {
    let setup = Setup::new().await;
    let id = setup.client.create().await.id;
    let make = async |key: &str, name: &str| {
        let body = json!({ "sandbox_id": id, "name": name });
        let request = setup.client.request(Method::POST, "/v1/snapshots");
        let request = request.header("idempotency-key", key).json(&body);
        setup.client.send(request).await
    };
    // One that failed is not remembered.
    let broken = Fault::Refuse(ErrorCode::Internal);
    setup.agent.faults().set("CreateSnapshot", broken, 1);
    assert_eq!(make("k", "a").await.code(), "agent_error");
    let (one, two) = tokio::join!(make("k", "a"), make("k", "a"));
    assert_eq!((one.status, two.status), (201, 201), "{one:?} {two:?}");
    assert_eq!(one.json["id"], two.json["id"]);
    let again = make("k", "a").await;
    assert_eq!(
        (again.header("idempotency-replayed"), &again.json["id"]),
        ("true", &one.json["id"])
    );
    assert_eq!(make("k", "b").await.code(), "idempotency_conflict");
    assert_eq!(setup.agent.snapshots().len(), 1);
}
