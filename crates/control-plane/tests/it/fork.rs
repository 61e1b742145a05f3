//! Many sandboxes from one.

use std::time::Duration;

use reqwest::{
    Method,
    multipart::{Form, Part},
};
use serde_json::{Value, json};
use wrenn_api::{Reason, Sandbox, SandboxStatus};
use wrenn_ids::SandboxId;
use wrenn_rpc::{connectrpc::ErrorCode, hostagent::error_detail::Reason as Why};
use wrenn_testkit::{
    client::Answer,
    control_plane::{Options, eventually},
    simulated_agent::{Capacity, Fault},
};

use crate::setup::Setup;

async fn fork(setup: &Setup, id: SandboxId, body: Value) -> Answer {
    setup
        .client
        .post(&format!("/v1/sandboxes/{id}/fork"), body)
        .await
}

fn children(answer: &Answer) -> Vec<Sandbox> {
    assert_eq!(answer.status, 201, "{answer:?}");
    serde_json::from_value(answer.json.clone()).unwrap()
}

#[tokio::test]
async fn children_have_its_files_and_settings_and_it_ends_as_it_was() {
    let setup = Setup::new().await;
    let body =
        json!({ "metadata": { "job": "42" }, "timeout_sec": 60, "envs": { "A": "from it" } });
    let id = setup.client.post("/v1/sandboxes", body).await.sandbox().id;
    let form = Form::new()
        .text("path", "/kept")
        .part("file", Part::bytes(b"here".to_vec()));
    let path = format!("/v1/sandboxes/{id}/files/write");
    let write = setup.client.request(Method::POST, &path).multipart(form);
    assert_eq!(setup.client.send(write).await.status, 204);

    let made = children(&fork(&setup, id, json!({ "count": 8 })).await);
    assert_eq!(made.len(), 8);
    for child in &made {
        assert_eq!(
            (
                child.status,
                child.timeout_sec,
                child.metadata["job"].as_str()
            ),
            (SandboxStatus::Running, 60, "42")
        );
        let exec = json!({ "cmd": "/bin/sh", "args": ["-c", "cat kept; printf %s \"$A\""] });
        let path = format!("/v1/sandboxes/{}/exec", child.id);
        let ran = setup.client.post(&path, exec).await;
        assert_eq!(ran.json["stdout"], "herefrom it", "{ran:?}");
    }
    assert_eq!(
        setup.client.sandbox(id).await.status,
        SandboxStatus::Running
    );

    // A paused one stays so; an empty body asks for one child.
    let path = format!("/v1/sandboxes/{id}/pause");
    setup
        .client
        .send(setup.client.request(Method::POST, &path))
        .await;
    let path = format!("/v1/sandboxes/{id}/fork");
    let one = setup.client.request(Method::POST, &path);
    assert_eq!(children(&setup.client.send(one).await).len(), 1);
    let changed = json!({ "timeout_sec": 0, "metadata": { "other": "1" } });
    let other = children(&fork(&setup, id, changed).await).remove(0);
    assert_eq!(
        (
            other.timeout_sec,
            other.metadata.get("job"),
            other.metadata["other"].as_str()
        ),
        (0, None, "1")
    );
    let source = setup.client.sandbox(id).await;
    assert_eq!(
        (source.status, source.reason),
        (SandboxStatus::Paused, Some(Reason::User))
    );
    assert_eq!(setup.census().await, (11, 11));
}

#[tokio::test]
async fn all_or_none() {
    let setup = Setup::new().await;
    let id = setup.client.create().await.id;
    let check = async |body: Value, status: u16, code: &str| {
        let answer = fork(&setup, id, body).await;
        assert_eq!((answer.status, answer.code()), (status, code), "{answer:?}");
        assert_eq!(setup.census().await, (1, 1));
    };
    check(json!({ "count": 0 }), 400, "invalid_request").await;
    check(json!({ "count": 21 }), 400, "invalid_request").await;
    let full = Fault::RefuseFor(ErrorCode::ResourceExhausted, Why::HostDiskFull);
    setup.agent.faults().set("ForkSandbox", full, 1);
    check(json!({ "count": 3 }), 503, "host_unavailable").await;
    let failed: i64 =
        sqlx::query_scalar("SELECT count(*) FROM sandboxes WHERE reason = 'create_failed'")
            .fetch_one(&setup.world.db)
            .await
            .unwrap();
    assert_eq!(failed, 3);
    sqlx::query("UPDATE teams SET max_sandboxes = 3")
        .execute(&setup.world.db)
        .await
        .unwrap();
    check(json!({ "count": 3 }), 429, "quota_exceeded").await;
    assert_eq!(
        setup.client.sandbox(id).await.status,
        SandboxStatus::Running
    );
    assert_eq!(
        children(&fork(&setup, id, json!({ "count": 2 })).await).len(),
        2
    );
}

#[tokio::test]
async fn children_fit_on_the_source_s_host_or_are_refused() {
    let capacity = Capacity {
        memory_mib: 512 * 4,
        ..Capacity::default()
    };
    let setup = Setup::with(Options::default(), capacity).await;
    let id = setup.client.create().await.id;
    let refused = fork(&setup, id, json!({ "count": 3 })).await;
    assert_eq!(
        (refused.code(), &refused.json["error"]["details"]["filter"]),
        ("host_unavailable", &json!("memory"))
    );
    children(&fork(&setup, id, json!({ "count": 2 })).await);
}

#[tokio::test]
async fn a_lost_reply_makes_each_child_once_and_other_orders_wait() {
    let setup = Setup::new().await;
    let id = setup.client.create().await.id;
    setup.agent.faults().set("ForkSandbox", Fault::LoseReply, 1);
    let forked = fork(&setup, id, json!({ "count": 4 }));
    let pause = async {
        eventually("it is under way", async || {
            setup.agent.calls("ForkSandbox") > 0
        })
        .await
        .unwrap();
        let path = format!("/v1/sandboxes/{id}/pause");
        let request = setup.client.request(Method::POST, &path);
        setup.client.send(request).await
    };
    let (forked, paused) = tokio::join!(forked, pause);
    assert_eq!(paused.code(), "invalid_state", "{paused:?}");
    let made = children(&forked);
    assert!(made.iter().all(|one| one.status == SandboxStatus::Running));
    assert_eq!(setup.census().await, (5, 5));
}

#[tokio::test]
async fn deleting_the_source_in_the_middle_leaves_nothing() {
    let setup = Setup::new().await;
    let id = setup.client.create().await.id;
    let slow = Fault::Delay(Duration::from_secs(1));
    setup.agent.faults().set("ForkSandbox", slow, 1);
    let forked = fork(&setup, id, json!({ "count": 3 }));
    let delete = async {
        eventually("it is under way", async || {
            setup.agent.calls("ForkSandbox") > 0
        })
        .await
        .unwrap();
        setup.client.delete(&format!("/v1/sandboxes/{id}")).await
    };
    let (forked, deleted) = tokio::join!(forked, delete);
    assert_eq!((forked.code(), deleted.status), ("invalid_state", 204));
    eventually("nothing is left", async || setup.census().await == (0, 0))
        .await
        .unwrap();
}
